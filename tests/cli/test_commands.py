"""The commands as processes: streams, exit codes, two lines for each failure."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest
from tests.devloop.test_history import iteration

from hotloop.cli import main
from hotloop.devloop import history

APP = "import hotloop\n\napp = hotloop.App('x')\n"


def dev(*arguments, cwd=None, **environment):
    """Run the program; gives exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "hotloop.cli.main", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def dev_here(capsys, monkeypatch, *arguments, cwd):
    """Run the program in this process: what is told of wrong use needs none of its own."""
    monkeypatch.chdir(cwd)
    code = main.execute(arguments)
    return code, *capsys.readouterr()


def test_help_names_each_command_on_stdout():
    code, out, err = dev("--help")

    assert (code, err) == (0, "")
    for name in ("new", "serve", "run", "pin", "bench", "stats", "explain", "data", "sync", "wait", "demo", "version"):
        assert f"  {name} " in out


def test_help_imports_nothing_heavy():
    heavy = ["torch", "numpy", "grpc", "rich.markdown", "rich.console", "watchfiles", "uvloop", "textual", "asyncio"]
    heavy += ["pydantic", "hotloop.events"]
    script = (
        "import sys; from hotloop.cli.main import execute; execute(['--help']);"
        f"print([name for name in {heavy} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("typed", ["version", "--version", "-V"])
def test_version_is_printed(typed):
    code, out, _ = dev(typed)

    assert code == 0
    assert out.startswith("hotloop 0.")


@pytest.mark.parametrize("group", ["data", "env", "runner"])
def test_a_group_without_a_command_prints_its_help_as_it_is(group, tmp_path, capsys, monkeypatch):
    code, out, err = dev_here(capsys, monkeypatch, group, cwd=tmp_path)

    assert (code, out) == (2, "")
    assert err.startswith(f"Usage: dev {group} ")
    assert "Commands:" in err
    assert "error" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["srve"], "No such command 'srve'"),
        (["serve", "--prot", "1"], "No such option"),
        (["attach", "--ui", "nonsense"], "Invalid value for '--ui': 'nonsense' is not one of"),
        (["serve", "nowhere"], "nowhere is not there"),
        (["serve", "--port", "65536"], "--port is 65536"),
        (["serve", "--grpc-port", "65536"], "--grpc-port is 65536"),
        (["run", "--grpc-port", "-1"], "--grpc-port is -1"),
        (["serve", "--port", "9000", "--grpc-port", "9000"], "--grpc-port is 9000, which HTTP has"),
        (["serve", "--replicas", "0"], "--replicas is 0, a number of workers from 1 to 64 was expected"),
        (["run", "--replicas", "65"], "--replicas is 65, a number of workers from 1 to 64 was expected"),
        (["serve", "--bench-duration", "0.09"], "--bench-duration is 0.09, seconds from 0.1 to 60"),
        (["serve", "--bench-duration", "60.1"], "--bench-duration is 60.1, seconds from 0.1 to 60"),
        (["stats", "--since", "yesterday"], "--since is 'yesterday'"),
        (["sync"], "dev sync needs --why PATH or --confirm"),
        (["sync", "--confirm"], "no dev serve runs for"),
        (["sync", "--why", "/etc/passwd"], "is outside of the project"),
        (["sync", "--why", "missing.py"], "missing.py is not there"),
        (["pin"], "no dev serve runs for"),
        (["pin", "--remove", "x"], "no pinned request is called 'x'"),
        (["serve"], "no app in"),
    ],
)
def test_wrong_use_is_told_in_two_lines_with_exit_code_2(tmp_path, capsys, monkeypatch, arguments, said):
    code, out, err = dev_here(capsys, monkeypatch, *arguments, cwd=tmp_path)

    error, hint = err.splitlines()
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert said in error
    assert hint.startswith("hint: ")


def test_a_wrong_number_of_workers_in_the_project_is_told(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text("[tool.hotloop]\nreplicas = 65\n")

    code, _, err = dev("serve", cwd=tmp_path)

    assert code == 2
    assert "pyproject.toml: tool.hotloop.replicas is 65, a number of workers from 1 to 64 was expected" in err


def test_two_apps_are_told(tmp_path):
    (tmp_path / "a.py").write_text(APP)
    (tmp_path / "b.py").write_text(APP)

    code, _, err = dev("serve", cwd=tmp_path)

    assert code == 2
    assert "a.py:3 (app), b.py:3 (app)" in err
    assert "hint: choose one, such as: --app a.py:app" in err


def test_a_missing_environment_is_told_with_the_command_that_makes_it(tmp_path):
    (tmp_path / "app.py").write_text(APP)

    code, _, err = dev("serve", cwd=tmp_path, VIRTUAL_ENV="")

    assert code == 2
    assert "-m venv" in err.splitlines()[1]


def test_a_failure_of_ours_is_two_lines_and_a_log_with_the_traceback(own_state_directory, capsys):
    code = main.tell_unexpected(ZeroDivisionError("division by zero"))

    error, hint = capsys.readouterr().err.splitlines()
    assert code == 1
    assert "a bug of ours: ZeroDivisionError: division by zero" in error
    assert str(own_state_directory / "client.log") in error
    assert hint == "hint: please report it"
    assert "ZeroDivisionError" in (own_state_directory / "client.log").read_text()


@pytest.mark.parametrize("content", ["{}", "[1]", "[{}]", "not json"])
def test_a_broken_file_of_pins_is_told(tmp_path, capsys, monkeypatch, content):
    (history.make_folder(tmp_path) / "pins.json").write_text(content)

    code, _, err = dev_here(capsys, monkeypatch, "pin", "--list", cwd=tmp_path)

    assert code == 1
    assert "pins.json can't be read" in err.splitlines()[0]


def test_pins_are_listed_and_removed_without_a_session(tmp_path):
    folder = history.make_folder(tmp_path)
    (folder / "pins.json").write_text(json.dumps([{"name": "a"}, {"name": "b"}]))

    code, _, err = dev("pin", "--remove", "a", cwd=tmp_path)

    assert (code, err) == (0, "unpinned a\n")
    assert dev("pin", "--list", cwd=tmp_path)[:2] == (0, "b\n")


def test_why_says_whether_a_path_is_synced(tmp_path):
    (tmp_path / ".gitignore").write_text("data/\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.bin").write_bytes(b"")
    (tmp_path / "app.py").write_text(APP)

    assert dev("sync", "--why", "app.py", cwd=tmp_path)[:2] == (0, "app.py: kept\n")
    assert "data/x.bin: ignored: " in dev("sync", "--why", "data/x.bin", cwd=tmp_path)[1]


def recorded(project, count):
    kept = history.History(history.make_folder(project) / "history.db")
    for number in range(count):
        kept.add("s", iteration(number=number, outcome="ok", saved_at_s=time.time(), problem=None, feedback_s=0.1))
    kept.add("s", iteration(number=count, saved_at_s=time.time()))
    kept.close()


def test_stats_say_percentiles_phases_models_and_failures(tmp_path):
    recorded(tmp_path, 4)

    code, out, err = dev("stats", cwd=tmp_path)

    assert (code, err) == (0, "")
    assert "iterations        4 (3 ok, 1 failed, 0 superseded)" in out
    assert "time to feedback  p50 100 ms, max 100 ms (n 3)" in out
    assert "phases, p50       detect 500" in out
    assert "models            3 times kept, 3 times loaded" in out
    assert "failures          KeyError 1" in out


def test_stats_as_json_are_one_object(tmp_path):
    recorded(tmp_path, 4)

    _, out, _ = dev("stats", "--json", "--since", "1h", cwd=tmp_path)

    data = json.loads(out)
    assert (data["schema"], data["num_ok"], data["feedback"]["n"]) == (1, 3, 3)


def test_stats_say_what_the_benches_of_an_endpoint_came_to(tmp_path):
    recorded(tmp_path, 1)
    kept = history.History(tmp_path / ".hotloop" / "history.db")
    for generation, rate in [(1, 40.0), (2, 50.0), (3, 60.5)]:
        kept.add_bench(history.Bench("s", generation, "/embed", time.time(), 90, 0, rate, 0.01, 1 / rate))
    kept.close()

    out, data = dev("stats", cwd=tmp_path)[1], json.loads(dev("stats", "--json", cwd=tmp_path)[1])

    assert "bench /embed      first 40.0/s, p99 25 ms; last 60.5/s, p99 17 ms (n 3)" in out
    assert [bench["generation"] for bench in data["benches"]] == [1, 2, 3]


def test_stats_without_iterations_say_what_to_do(tmp_path):
    assert dev("stats", cwd=tmp_path)[:2] == (0, "no iteration since 7d: run dev serve and save a file\n")


def test_stats_of_a_broken_file_are_told(tmp_path):
    (history.make_folder(tmp_path) / "history.db").write_bytes(b"x" * 2000)

    code, _, err = dev("stats", cwd=tmp_path)

    assert code == 1
    assert err.startswith("error: ")
    assert sqlite3.DatabaseError.__name__ not in err
