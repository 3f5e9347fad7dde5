"""In CI a test that is skipped for a reason nobody expected fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"
IN_A_TEST = "import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n"
IN_A_FILE = "import pytest\n\npytest.skip({reason!r}, allow_module_level=True)\n"
BESIDE_IT = "def test_that_passes():\n    pass\n"


def exit_code(folder: Path, text: str, ci: str) -> int:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_one.py").write_text(text)
    (folder / "test_two.py").write_text(BESIDE_IT)
    done = subprocess.run(
        # In the common folder it would first remove what whole runs of the tests left there, for a minute.
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", folder / "temporary", folder],
        env={**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # it needs none, and they take longest
        cwd=folder,
        capture_output=True,
        timeout=50,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize("text", [IN_A_TEST, IN_A_FILE])
@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [("no torch here", "true", 1), ("no torch here", "", 0), ("no CUDA device", "true", 0)],
)
def test_an_unexpected_skip_fails_in_ci_only(tmp_path: Path, text: str, reason: str, ci: str, code: int) -> None:
    assert exit_code(tmp_path, text.format(reason=reason), ci) == code
