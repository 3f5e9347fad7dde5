"""What the tests rely on of pytest: skips that nobody expected fail in CI, and groups of tests run in one process."""

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


def test_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    told = tmp_path / "told"
    (tmp_path / "test_group.py").write_text(
        "import os, time, pytest\n"
        "@pytest.mark.xdist_group('one')\n"
        "@pytest.mark.parametrize('number', range(6))\n"
        "def test_it(number):\n"
        "    time.sleep(0.05)\n"
        f"    with open({str(told)!r}, 'a') as file: file.write(os.environ['PYTEST_XDIST_WORKER'] + ' ')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", tmp_path / "temporary"]
    subprocess.run([*command, "-n", "2", "--dist", "loadgroup", tmp_path], cwd=tmp_path, timeout=50, check=True)

    processes = told.read_text().split()
    assert len(processes) == 6
    assert len(set(processes)) == 1
