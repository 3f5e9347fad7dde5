"""numpy, pydantic and torch belong to the user's environment, so their values are tested there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.models
@pytest.mark.timeout(180)
def test_arrays_tensors_and_pydantic_models_travel_both_ways(user_python):
    done = subprocess.run(
        [str(user_python), str(ROOT / "tests" / "data" / "user_values.py")],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 50
