"""Each template's own tests pass in a user's environment, which has no hotloop and none of its dependencies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hotloop.cli.new import scaffold, template_names

PACKAGE = Path(__file__).parent.parent.parent / "src" / "hotloop"


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("template", template_names())
def test_the_functions_work_without_a_server(tmp_path: Path, user_python: Path, template: str) -> None:
    scaffold(template, tmp_path / "project")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "hotloop").symlink_to(PACKAGE)

    done = subprocess.run(
        [user_python, "-m", "unittest"],
        cwd=tmp_path / "project",
        # More threads than free cores would spin: 24 s of the processor in place of 10.
        env={**os.environ, "PYTHONPATH": str(tmp_path / "only"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert "Ran 2 tests" in done.stderr
