"""Which user interface opens, and how a dashboard lives beside the loop: in a real terminal, with real saves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.cli.tmux import DEADLINE_S, Shell

from hotloop import config, events
from hotloop.cli.summary import Tally
from hotloop.cli.ui import Terminal, Ui, choose
from hotloop.devloop import control
from hotloop.devloop.attached import attached
from hotloop.errors import UsageError

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
DEV = [sys.executable, "-m", "hotloop.cli.main"]
SERVE = [*DEV, "serve", "--port", "0", "--python", BARE_PYTHON]
APP = """
import hotloop

app = hotloop.App("tiny")
PREFIX = "hello"


@app.endpoint
def greet(name: str) -> str:
    print(f"greeting by {PREFIX}")
    return f"{PREFIX} {name}"


@app.probe
def ada(client):
    return client.greet(name="Ada")
"""

pytestmark = pytest.mark.timeout(150)

# --- which one


LARGE = Terminal(True, "xterm-256color", 120, 36, is_ci=False)
PIPE = Terminal(False, "xterm-256color", 0, 0, is_ci=False)


@pytest.mark.parametrize(
    ("typed", "variable", "setting", "terminal", "wanted"),
    [
        (None, "", None, LARGE, Ui.TUI),
        (Ui.AUTO, "", None, LARGE, Ui.TUI),
        (None, "", None, PIPE, Ui.PLAIN),
        (None, "", None, Terminal(True, "dumb", 120, 36, is_ci=False), Ui.PLAIN),
        (None, "", None, Terminal(True, "", 120, 36, is_ci=False), Ui.PLAIN),
        (None, "", None, Terminal(True, "xterm", 120, 36, is_ci=True), Ui.PLAIN),
        (None, "", None, Terminal(True, "xterm", 40, 10, is_ci=False), Ui.TUI),
        (None, "", None, Terminal(True, "xterm", 39, 10, is_ci=False), Ui.PLAIN),
        (None, "", None, Terminal(True, "xterm", 40, 9, is_ci=False), Ui.PLAIN),
        (None, "", None, Terminal(True, "xterm", 120, 36, is_ci=False, is_in_front=False), Ui.PLAIN),
        (Ui.PLAIN, "tui", "tui", LARGE, Ui.PLAIN),
        (None, "plain", "tui", LARGE, Ui.PLAIN),
        (None, "", "plain", LARGE, Ui.PLAIN),
        (None, "auto", "plain", LARGE, Ui.TUI),
        (None, "", "web", LARGE, Ui.WEB),
        (None, "tui", None, PIPE, Ui.PLAIN),
        (None, "", "tui", PIPE, Ui.PLAIN),
        (Ui.TUI, "", None, Terminal(True, "dumb", 20, 5, is_ci=True), Ui.TUI),
    ],
)
def test_the_user_interface_is_what_was_said_else_what_the_terminal_can(typed, variable, setting, terminal, wanted):
    assert choose(typed, False, variable, setting, terminal) is wanted


def test_json_is_short_for_ui_json():
    assert choose(None, True, "tui", "tui", LARGE) is Ui.JSON
    assert choose(Ui.JSON, True, "", None, LARGE) is Ui.JSON
    with pytest.raises(UsageError, match="--ui plain was typed too"):
        choose(Ui.PLAIN, True, "", None, LARGE)


def test_what_can_not_be_is_said_with_what_to_do():
    with pytest.raises(UsageError, match="stdin or stdout is none"):
        choose(Ui.TUI, False, "", None, PIPE)
    with pytest.raises(UsageError, match="HOTLOOP_UI is 'gui', one of auto, tui"):
        choose(None, False, "gui", None, LARGE)
    with pytest.raises(
        UsageError, match=r"tool\.hotloop\.ui is 'gui', one of auto, tui, plain, json, web was expected"
    ):
        config.check({"ui": "gui"})


# --- the summary


def iteration(number, feedback_s, outcome="ok"):
    return events.IterationFinished(
        1.0, events.Iteration(number, outcome, 1000.0 + number, False, number, number, (), 0, feedback_s, 0.1, {})
    )  # fmt: skip


def test_the_summary_has_p95_from_twenty_edits_on_and_the_cost_if_it_is_known():
    few, many = Tally(), Tally()
    for number in range(1, 4):
        few(iteration(number, number / 10))
    few(iteration(4, 0.5, "failed"))
    for number in range(1, 41):
        many(iteration(number, number / 10))
    many(events.CostReported(1.0, 1.2, "table", 2.567, 0.1))

    assert "4 edits, 3 green. Feedback p50 200 ms, max 300 ms. Waited 1.10 s." in few.lines("")[0]
    assert few.lines("a.log")[1] == "Log a.log   More: dev report"
    assert (
        "40 edits, 40 green. Feedback p50 2.00 s, p95 3.80 s. Waited 1m22. Cost $2.57, of it idle $0.10."
        in many.lines("")[0]
    )
    assert Tally().lines("a.log") == []


# --- the terminal


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture
def shell(project):
    opened = []

    def open_(**variables):
        opened.append(Shell(project, **variables))
        return opened[-1]

    yield open_
    for pid in children(project):
        os.kill(pid, signal.SIGKILL)
    for each in opened:
        each.close()


def save(project, before, after):
    text = (project / "app.py").read_text().replace(f'"{before}"', f'"{after}"')
    (project / "app.py").write_text(text)


def children(project, *words):
    """The processes that have the project's folder and some words in their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        state = control.state_folder().name  # of this test alone
        ours = any(str(project) in part or state in part for part in command)
        if ours and "hotloop.tui" in command and all(word in command for word in words):
            found.append(int(entry.name))
    return found


def serve_pid(project):
    return control.ask(control.control_path(control.state_folder(), control.project_id(project)), {"name": "status"})[
        "pid"
    ]


def log_text(project):
    return "".join(path.read_text() for path in sorted((project / ".hotloop" / "logs").glob("*.log")))


def test_the_dashboard_gives_way_comes_back_is_suspended_and_leaves_a_sane_terminal(shell, project):
    terminal = shell()
    terminal.run(*SERVE)
    terminal.until_drawn("greeting by hello")
    save(project, "hello", "hi")
    terminal.until("greeting by hi")

    terminal.keys("s")  # plain lines in its place
    terminal.until("plain lines from here on")
    assert not terminal.is_on_other_screen()
    save(project, "hi", "ho")
    shown = terminal.until(r"✓ #2 .*")
    assert "+ ho Ada" in shown
    assert "✓ #1" not in shown

    terminal.keys("s", "Enter")  # and back
    terminal.until_drawn("greeting by ho")

    terminal.keys("C-z")
    terminal.until(r"Stopped")
    terminal.run("sh", "-c", "stty -a | grep -ow -- -*icanon")
    terminal.until(r"(?m)^icanon\n\[exit 0\]")
    terminal.keys("-l", 'fg; echo "[exit $?]"')
    terminal.keys("Enter")
    terminal.until_drawn("greeting by ho")
    save(project, "ho", "hu")
    terminal.until("greeting by hu")

    os.kill(serve_pid(project), signal.SIGINT)
    shown = terminal.until(r"(?s)3 edits, 3 green.*\[exit 130\]")
    assert re.search(r"(?m)^Log \.hotloop/logs/\S+\.log   More: dev report$", shown)
    assert not terminal.is_on_other_screen()
    assert children(project) == []
    log = log_text(project)
    assert all(f"✓ #{number}" in log for number in (1, 2, 3))
    assert re.search(r"(?m)^\d\d:\d\d:\d\d\.\d{3} g\d+ │ greeting by hi$", log)


def test_keys_that_come_in_one_piece_have_their_turns(shell, project):
    terminal = shell()
    terminal.run(*SERVE)
    terminal.until_drawn("greeting by hello")

    terminal.keys("-l", "/xqz")
    terminal.until("/xqz.* 0 of ")
    terminal.keys("Escape")
    terminal.until("greeting by hello")
    terminal.keys("-l", "/by hello\r3")
    terminal.until("Runtime  local")
    terminal.keys("-l", "1")
    terminal.until("/by hello ")
    terminal.keys("-l", "q\r")
    terminal.until(r"\[exit 0\]")


def test_a_dashboard_that_is_killed_or_hangs_does_not_touch_the_loop(shell, project):
    terminal = shell()
    terminal.run(*SERVE)
    terminal.until_drawn("greeting by hello")
    (dashboard,) = children(project)

    os.kill(dashboard, signal.SIGKILL)
    terminal.until(r"the dashboard was killed \(SIGKILL\)\. The loop goes on")
    assert not terminal.is_on_other_screen()
    save(project, "hello", "hi")
    terminal.until(r"✓ #1")

    terminal.keys("s", "Enter")
    terminal.until_drawn("greeting by hi")
    (dashboard,) = children(project)
    os.kill(dashboard, signal.SIGSTOP)
    save(project, "hi", "ho")
    terminal.wait(lambda: "✓ #2" in log_text(project), "a save with a hung dashboard has no outcome")
    took_s = asyncio.run(feedback_of(project, 2))
    assert 0 < took_s < DEADLINE_S

    os.kill(serve_pid(project), signal.SIGTERM)
    terminal.until(r"(?s)2 edits, 2 green.*\[exit 143\]")
    assert not terminal.is_on_other_screen()
    assert children(project) == []
    terminal.run("sh", "-c", "stty -a | grep -ow -- -*icanon")
    terminal.until(r"(?m)^icanon\n")


async def feedback_of(project, number):
    """Read an iteration from the session as a dashboard does; its phases are contiguous."""
    async with attached(control.control_path(control.state_folder(), control.project_id(project))) as feed:
        async for event in feed.events():
            if isinstance(event, events.IterationFinished) and event.iteration.number == number:
                assert sum(event.iteration.phases_s.values()) == pytest.approx(event.iteration.feedback_s, abs=1e-3)
                return event.iteration.feedback_s
    return pytest.fail(f"the session tells of no iteration {number}")


def test_a_dashboard_that_crashes_says_where_its_traceback_is(shell, project, tmp_path):
    broken = tmp_path / "broken" / "textual"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise RuntimeError("textual is broken here")\n')
    path = os.pathsep.join(filter(None, [str(broken.parent), os.environ.get("PYTHONPATH")]))
    terminal = shell(PYTHONPATH=path)
    terminal.run(*SERVE)

    shown = terminal.until(r"✓ started")

    crashed = re.search(r"the dashboard crashed \(exit 1\); its traceback is in (\S+)\. The loop goes on", shown)
    assert crashed is not None, shown
    assert "textual is broken here" in Path(crashed[1]).read_text()
    assert "Traceback" not in shown
    terminal.keys("q", "Enter")
    terminal.until(r"\[exit 0\]")


def test_a_terminal_that_goes_away_ends_the_session_and_the_dashboard(shell, project):
    terminal = shell()
    terminal.run(*SERVE)
    terminal.until_drawn("greeting by hello")
    pid = serve_pid(project)

    terminal.close()

    deadline = time.monotonic() + DEADLINE_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    assert children(project) == []
    status = subprocess.run([*DEV, "status"], capture_output=True, text=True, check=False)
    assert "tiny" not in status.stdout


def test_a_first_start_that_fails_is_told_on_the_normal_screen(shell, project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        terminal = shell()
        terminal.run(*DEV, "serve", "--strict-port", "--port", port, "--python", BARE_PYTHON)

        shown = terminal.until(r"\[exit 1\]")

    assert re.search(rf"port {port} on 127\.0\.0\.1 is in use by", shown), shown
    assert not terminal.is_on_other_screen()


def test_others_attach_to_a_session_that_is_held_and_to_one_that_nobody_holds(shell, project):
    first, second = shell(HOTLOOP_UI="plain"), shell()
    first.run(*SERVE)
    first.until(r"✓ started")
    second.run(*DEV, "attach")
    second.until_drawn("greeting by hello")
    save(project, "hello", "hi")
    second.until("greeting by hi")

    (dashboard,) = children(project) or attach_pids(project)
    os.kill(dashboard, signal.SIGTERM)
    second.until(r"\[exit 0\]")
    assert not second.is_on_other_screen()
    save(project, "hi", "ho")
    first.until(r"✓ #2")
    first.keys("i", "Enter")
    first.until("No failure has local variables")

    second.run(*DEV, "attach")  # plain lines and back, steering from both
    second.until_drawn("greeting by ho")
    second.keys("s")
    second.until("(?s)s Enter: the dashboard.*── #2.*✓ #2")
    save(project, "ho", "hu")
    second.until(r"(?s)\+ hu Ada.*✓ #3")
    second.keys("u", "Enter")
    second.until("undone #3")
    second.keys("i", "Enter")
    second.until("No failure has local variables")
    second.keys("s", "Enter")
    second.until_drawn("undoes #3")
    second.keys("s")
    second.until("generation 5 at http")

    first.keys("d", "Enter")
    first.until(r"(?s)left running without a client.*\[exit 0\]")
    second.until("left running without a client")
    port = re.search(r"http://127.0.0.1:(\d+)", second.screen())[1]
    second.keys("r", "Enter")
    second.until("reload needs a dev serve on this machine that holds the session")
    second.keys("i", "Enter")
    second.until("(?s)No failure has local.*reload needs.*No failure has local")
    request = urllib.request.Request(f"http://127.0.0.1:{port}/greet", b'{"name": "Bo"}', method="POST")
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        assert answer.status == 200
    second.until("POST /greet 200")  # it is followed further
    assert second.screen().count("generation 5 serves") == 0  # and nothing is said twice
    second.keys("q", "Enter")
    second.until(r"(?s)1 edit, 1 green.*\[exit 0\]")
    second.run(*DEV, "attach")
    second.until_drawn("greeting by h[ou]")
    second.keys("s")
    second.until("nobody holds it|no client")
    assert not second.is_on_other_screen()
    first.run(*DEV, "stop")
    first.until("stopped")
    second.until("the session ended")


def test_json_of_a_session_that_is_held_here_has_what_the_loop_says_too(shell, project):
    first = shell(HOTLOOP_UI="plain")
    first.run(*SERVE)
    first.until(r"✓ started")
    with subprocess.Popen([*DEV, "attach", "--json"], cwd=project, stdout=subprocess.PIPE, text=True) as reader:
        save(project, "hello", "hi")
        told = []
        while not (told and told[-1]["kind"] == "session_ended"):
            told.append(json.loads(reader.stdout.readline()))
            if told[-1]["kind"] == "iteration_finished" and told[-1]["iteration"]["number"] == 1:
                first.keys("q", "Enter")
        assert reader.wait(DEADLINE_S) == 0

    assert told[0]["kind"] == "session_started"
    reports = [each["report"] for each in told if each["kind"] == "probe_reported"]
    assert "+ hi Ada" in str(reports[-1]["diff"])


def attach_pids(project):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            folder = (entry / "cwd").readlink()
        except OSError:
            continue
        if command[1:4] == ["-m", "hotloop.cli.main", "attach"] and folder == project:
            found.append(int(entry.name))
    return found
