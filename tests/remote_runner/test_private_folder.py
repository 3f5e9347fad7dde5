"""Folders of sockets go with their processes, however those end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hotloop.remote_runner.private_folder import PrivateFolder

HOLDS = """
import sys, time
from hotloop.remote_runner.private_folder import PrivateFolder
folder = PrivateFolder()
(folder.path / "1").touch()
print(folder.path, flush=True)
time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.fixture
def holder(temporary):
    process = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True)
    with process:
        yield process, process.stdout.readline().strip()
        process.kill()


def test_what_a_killed_process_left_goes_with_the_next_and_what_is_in_use_stays(temporary, holder):
    process, theirs = holder
    first, second = PrivateFolder(), PrivateFolder()
    first.close()
    while_it_lives = sorted(path.name for path in temporary.iterdir())
    process.send_signal(signal.SIGKILL)
    process.wait()
    second.close()

    assert Path(theirs).name in while_it_lives
    assert while_it_lives == sorted([Path(theirs).name, second.path.name])
    assert list(temporary.iterdir()) == []


def test_a_link_is_not_followed_and_files_of_that_name_are_left(temporary):
    outside = temporary / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (temporary / "hotloop-way-link").symlink_to(outside)
    (temporary / "hotloop-way-file").touch()
    folder = PrivateFolder()
    mode = folder.path.stat().st_mode & 0o777
    folder.close()

    assert mode == 0o700
    assert sorted(path.name for path in temporary.iterdir()) == ["hotloop-way-file", "hotloop-way-link", "outside"]
    assert (outside / "kept").exists()
