"""`hotloop runner` as a person has it: names, what is known of each, and ending or replacing what runs there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
from tests.remote_runner.sshd import Sshd
from tests.remote_runner.test_agent import agents_of

import hotloop
from hotloop.devloop import control

COMMAND = [sys.executable, "-m", "hotloop.cli.main"]
OTHERS = ("serve", "status", "exec")
TIMEOUT_S = 50


@contextlib.contextmanager
def ended_agent(home):
    """End whatever agent a test had started in a home."""
    try:
        yield
    finally:
        for file in home.rglob("agent/pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.fixture
def runner(tmp_path):
    home, project = tmp_path / "home", tmp_path / "project"
    (home / ".ssh").mkdir(parents=True)
    project.mkdir()
    (project / "app.py").write_text("import hotloop\n\napp = hotloop.App('search')\n")
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}

    def run(*words, is_session=False):
        group = [] if is_session or words[0] in OTHERS else ["runner"]
        done = subprocess.run(
            [*COMMAND, *group, *words],
            cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    run.home, run.project = home, project
    return run


def test_a_runner_is_added_listed_shown_changed_and_removed(runner):
    (runner.home / ".ssh/config").write_text(
        "Host gpu\n  HostName 10.0.0.7\n  Port 2222\n  User bob\n  IdentityFile ~/.ssh/work\n  ProxyJump jump.example\n"
    )
    (runner.home / ".ssh/work").touch()

    assert runner("add", "gpu1", "gpu", "--python", "3.12")[::2] == (0, "added gpu1; try it: dev runner doctor gpu1\n")
    assert runner("list")[:2] == (0, "local  this machine\ngpu1   gpu\n")
    shown = dict(line.split(None, 1) for line in runner("show", "gpu1")[1].splitlines())
    assert (shown["target"], shown["python"], shown["address"]) == ("gpu", "3.12", "bob@10.0.0.7:2222")
    assert shown["identity"] == str(runner.home / ".ssh/work")
    assert shown["through"].endswith("jump.example")
    assert runner("add", "gpu1", "me@other")[2].startswith("changed gpu1;")
    assert "target      me@other" in runner("show", "gpu1")[1]
    assert runner("remove", "gpu1")[::2] == (0, "removed gpu1\n")
    assert runner("list")[1] == "local  this machine\n"
    assert runner("remove", "gpu1")[::2] == (
        2,
        "error: no runner is called 'gpu1'\nhint: the names are: none yet\n",
    )


def test_what_the_project_says_of_a_runner_counts_before_what_the_user_says(runner):
    runner("add", "gpu1", "me@old")
    (runner.project / "pyproject.toml").write_text('[tool.hotloop.runners.gpu1]\ntarget = "me@new"\n')

    assert "target      me@new" in runner("show", "gpu1")[1]


def test_upgrade_replaces_the_agent_that_runs_and_stop_ends_it(runner):
    state = control.state_folder()
    with agents_of(state):
        first = runner("upgrade", "local")
        pid = int((state / "agent/pid").read_text())
        second = runner("upgrade", "local")
        stopped = runner("stop", "local")
        again = runner("stop", "local")

    assert first[::2] == (0, f"local runs hotloop {hotloop.__version__} (pid {pid})\n")
    assert second[0] == 0
    assert f"(pid {pid})" not in second[2]
    assert (stopped[2], again[2]) == ("local: ended the agent\n", "local: no agent runs\n")


def test_doctor_of_a_machine_that_lets_nobody_in_says_what_to_do_and_fails(runner, tmp_path):
    server = Sshd(tmp_path / "server")
    try:
        (runner.home / ".ssh/config").write_text(server.config.read_text())
        (server.folder / "authorized_keys").write_text("")
        code, text, _ = runner("doctor", server.target)
    finally:
        server.close()

    assert code == 1
    assert "host key" in text
    assert "does not accept" in text
    assert "ssh-copy-id" in text


def test_over_ssh_commands_go_where_a_project_was_served_and_an_upgrade_ends_its_session(runner, tmp_path):
    server = Sshd(tmp_path / "server")
    project, target = runner.project, server.target
    try:
        (runner.home / ".ssh/config").write_text(server.config.read_text())
        with ended_agent(server.home):
            here = runner("status")[1]
            served = runner("serve", "--on", target, "--detach", "--python", sys.executable, "--port", "0")
            there, elsewhere = runner("status")[1], runner("status", "--on", "local")[1]
            printed = runner("exec", "--", "pwd")
            stopped = runner("stop", str(project), is_session=True)
            runner("serve", "--detach", "--python", sys.executable, "--port", "0", "--on", target)
            upgraded = runner("upgrade", target)
            after = json.loads(runner("status", "--json")[1])
    finally:
        server.close()

    assert here == elsewhere == "local: no session is open\n"
    assert served[0] == 0
    assert there.startswith(f"{target}: hotloop {hotloop.__version__}, agent ")
    assert f"\n{project}\n  generation 1 at http://" in there
    assert (printed[0], printed[1].startswith(str(server.home))) == (0, True)
    assert stopped[::2] == (0, f"stopped {project} on {target}\n")
    assert upgraded[::2] == (0, f"{target} runs hotloop {hotloop.__version__} (pid {after['pid']})\n")
    assert (after["runner"], after["sessions"]) == (target, [])
