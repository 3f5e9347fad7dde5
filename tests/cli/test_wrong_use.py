"""Commands in places and ways that they are not made for: two lines that say what to do, no traceback, an exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from tests.cli.served import BARE_PYTHON, COMMAND
from tests.remote_runner.bare_machine import mounted

APP = "import hotloop\n\napp = hotloop.App('x')\n\n\n@app.endpoint\ndef echo(x: int) -> int:\n    return x\n"
SERVE = [*COMMAND, "serve", "--ui", "plain", "--port", "0", "--python", BARE_PYTHON]


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "a b ü"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


def run(command, folder, **options):
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run(command, cwd=folder, text=True, timeout=40, check=False, **options)
    assert "Traceback" not in f"{done.stdout}{done.stderr}"
    return done


def shell(command, redirections, folder):
    """Run a command with streams closed or led elsewhere, as only a shell can."""
    return run(["sh", "-c", f'"$@" {redirections}', "sh", *command], folder)


def test_a_folder_with_spaces_and_a_file_whose_name_is_no_text(project):
    bad = os.fsdecode(b"b\xe4d.txt")
    (project / bad).write_text("")

    served = run([*SERVE, "--once"], project)
    why = run([*COMMAND, "sync", "--why", bad], project)

    assert (served.returncode, served.stderr) == (0, "")
    assert "b?d.txt is not synced: its name is not UTF-8" in served.stdout
    assert "save a file" not in served.stdout  # nobody is there to see what it changes
    assert why.stdout == "b\\udce4d.txt: not synced: its name is not UTF-8\n"


def test_a_projects_folder_whose_name_is_no_text_is_refused(tmp_path):
    folder = tmp_path / os.fsdecode(b"n\xe4n")
    folder.mkdir()
    (folder / "app.py").write_text(APP)

    done = run([*SERVE, "--once"], folder)

    assert done.returncode == 2
    assert done.stderr.endswith(
        "n\\udce4n is a path that is not UTF-8, and what hotloop writes and sends is\nhint: rename the folder\n"
    )


@pytest.mark.parametrize("command", [[*SERVE, "--once"], [*COMMAND, "stats"]])
def test_streams_that_are_closed_lead_nowhere(project, command):
    assert shell(command, "<&- >&- 2>&-", project).returncode == 0


@pytest.mark.parametrize("command", [[*SERVE, "--once"], [*COMMAND, "stats"], [*COMMAND, "--help"]])
def test_output_that_finds_no_room_is_an_error_that_says_so(project, command):
    done = shell(command, ">/dev/full", project)

    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\nhint: free some space there, or write elsewhere\n"


def test_events_that_find_no_room_end_the_session_with_a_reason(project):
    done = shell([*COMMAND, "serve", "--json", "--port", "0", "--python", BARE_PYTHON], ">/dev/full", project)

    assert (done.returncode, done.stderr) == (1, "error: the events can't be written: No space left on device\n")


def test_a_reader_that_leaves_ends_a_session_in_order(project):
    done = shell(SERVE, "| head -n 1", project)

    assert done.stdout.startswith("app.py:app  ")
    assert done.stderr == ""


def test_a_project_that_can_only_be_read_is_served_without_a_history(tmp_path):
    with mounted(tmp_path / "readonly", "size=1m") as folder:
        (folder / "app.py").write_text(APP)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        served = run([*SERVE, "--once"], folder)
        added = run(
            [*COMMAND, "runner", "add", "x", "me@y"], folder, env={**os.environ, "XDG_CONFIG_HOME": str(folder)}
        )
        made = run([*COMMAND, "new", "x", "--no-env"], folder)

    assert served.returncode == 0
    assert "this session is not kept\n  hint: make the folder writable\n" in served.stdout
    for done, place in ((added, folder / "hotloop"), (made, "x")):
        assert done.returncode == 1
        assert done.stderr == (
            f"error: {place}: Read-only file system\nhint: look at the folder's owner and permissions, or take another\n"
        )


@pytest.mark.parametrize("mark", ["agent", "sessions", ".hotloop/history.db"])
def test_ctrl_c_while_a_session_starts(project, own_state_directory, mark):
    process = subprocess.Popen(
        SERVE, cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 30
    while not any((folder / mark).exists() for folder in (project, own_state_directory)):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in said
    assert "newer save" not in said


def test_ctrl_c_while_a_project_is_read_does_not_wait_for_its_copy(project, own_state_directory):
    (project / "large.bin").touch()
    os.truncate(project / "large.bin", 6 << 30)  # takes seconds to hash, and no room
    process = subprocess.Popen(
        SERVE, cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 30
    while not any((own_state_directory / "sessions").glob("*/state/lock")):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)

    assert (process.returncode, said) == (130, "hotloop: stopping; once more to stop at once\n")


@pytest.mark.parametrize(
    ("rules", "rule"),
    [(".gitignore", 'by "*.py" in .gitignore line 1'), (".hotloopignore", "by a line of .hotloopignore")],
)
def test_an_app_that_is_not_synced_is_told_with_the_rule(project, rules, rule):
    (project / rules).write_text("*.py\n")
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)

    done = run([*SERVE, "--once"], project)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: app.py has the app, and is not synced: ignored: {rule}\n"
        "hint: take it out of that rule, or write to .hotloopignore: !/app.py\n"
    )


@pytest.mark.parametrize(
    ("file", "beside", "means"),
    [
        ("json.py", None, "json/__init__.py"),
        ("hotloop.py", None, "hotloop/__init__.py"),
        ("app.py", "app/__init__.py", "app/__init__.py"),
    ],
)
def test_an_app_whose_name_means_another_module_is_told_so(tmp_path, file, beside, means):
    (tmp_path / file).write_text(APP)
    if beside:
        (tmp_path / beside).parent.mkdir()
        (tmp_path / beside).touch()

    done = run(
        [SERVE[0], "-P", *SERVE[1:], "--once"], tmp_path
    )  # as the installed program: its own imports are its own

    assert done.returncode == 1
    assert f"AppError: {file} can't be imported: the name '{file[:-3]}' means " in done.stdout
    assert f"{means}\n" in done.stdout
    assert f"hint: rename the file, such as my_{file}" in done.stdout


def test_an_app_called_torch_is_served(tmp_path):
    (tmp_path / "torch.py").write_text(APP)

    assert run([*SERVE, "--once"], tmp_path).returncode == 0


def test_a_comment_in_another_encoding_is_served_as_python_does(project):
    (project / "app.py").write_bytes(APP.encode() + b"# caf\xe9\n")

    assert run([*SERVE, "--once"], project).returncode == 0


@pytest.mark.parametrize("command", ["stats", "report"])
def test_a_time_before_all_time_is_all_time(project, command):
    assert run([*COMMAND, command, "--since", "999999999999w"], project).returncode == 0
