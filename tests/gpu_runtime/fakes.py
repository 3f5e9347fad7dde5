"""Stand-ins for what the machine lacks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def make_nvml(folder: Path) -> Path:
    """Compile the stand-in for NVIDIA's management library, under the name by which it is looked for."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc libc6-dev")
    made = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", made, source], check=True)
    return made
