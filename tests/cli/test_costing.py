"""What a session costs, as its user is told: settings, plain lines, and a session that its budget ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.served import BARE_PYTHON

from hotloop import config, events
from hotloop.cli import costing
from hotloop.cli.spending import EVERY_S, Spending
from hotloop.devloop.cost import Budget, Price
from hotloop.devloop.tariff import Terms
from hotloop.errors import UsageError
from hotloop.remote_runner.processes import is_alive
from hotloop.remote_runner.runners import Runner, from_table

COMMAND = [sys.executable, "-m", "hotloop.cli.main"]
APP = "import hotloop\n\napp = hotloop.App('x')\n\n\n@app.endpoint\ndef echo(x: int) -> int:\n    return x\n"


def terms_of(runner, typed=None, **settings):
    return costing.terms(config.Settings(**settings), runner, typed)


def test_the_runners_price_counts_before_the_projects_and_what_was_typed_before_what_is_written():
    own = Runner("box", "me@box", price=2)

    assert terms_of(own, price_per_hour=9.0, budget=1, budget_stops=True) == Terms(
        "box", Price(2.0, "runner box"), "", Budget(1.0, is_end=True)
    )
    assert terms_of(Runner("box", "me@box"), 3.0, price_per_hour=9.0, budget=1) == Terms(
        "box", Price(9.0, "pyproject.toml"), "", Budget(3.0)
    )
    assert terms_of(Runner("local", "local")) == Terms()


def test_a_provider_is_what_was_said_else_what_the_hosts_name_tells():
    assert terms_of(Runner("a", "me@ssh.runpod.io")).provider == "runpod"
    assert terms_of(Runner("a", "me@ssh.runpod.io", provider="lambda")).provider == "lambda"
    assert terms_of(Runner("a", "docker://python")).provider == ""
    with pytest.raises(UsageError, match="provider is 'nobody'") as caught:
        terms_of(Runner("a", "me@box", provider="nobody"))
    assert "aws, lambda, modal, runpod" in caught.value.hint


@pytest.mark.parametrize("budget", [0.0, -1.0, float("inf"), float("nan")])
def test_a_budget_that_is_no_amount_is_refused(budget):
    with pytest.raises(UsageError, match="--budget is"):
        terms_of(Runner("local", "local"), budget)


def test_a_runners_price_is_a_number_and_is_kept_even_if_it_is_none_at_all():
    free = from_table("box", {"target": "me@box", "price": 0}, "runner")

    assert free.told() == {"target": "me@box", "price": 0}
    for price in ("2", True, -1, float("inf")):
        with pytest.raises(UsageError, match="US dollars an hour were expected"):
            from_table("box", {"target": "me@box", "price": price}, "runner")


def test_a_runner_is_added_with_its_price(tmp_path):
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    add = [*COMMAND, "runner", "add", "box", "me@box", "--price", "2.69", "--provider", "runpod"]
    subprocess.run(add, env=environment, check=True, capture_output=True)
    shown = subprocess.run([*COMMAND, "runner", "list"], env=environment, check=True, capture_output=True, text=True)

    assert "box" in shown.stdout
    assert "price = 2.69\n" in (tmp_path / "hotloop" / "config.toml").read_text()


def report(at_s, session, idle=0.0):
    return events.CostReported(at_s, 2.0, "pyproject.toml", session, idle)


def test_plain_lines_say_it_once_an_hour():
    spending = Spending()
    said = [str(line) for at_s in range(0, 9000, 60) for line in spending.lines(report(float(at_s), at_s / 1800))]

    assert said == [
        "cost so far $2.00  ($2.00/h, pyproject.toml)",
        "cost so far $4.00  ($2.00/h, pyproject.toml)",
    ]
    assert EVERY_S == 3600


@pytest.mark.timeout(120)
def test_what_a_terminal_says_of_a_budget_that_ends_its_session_and_what_is_left_of_it(tmp_path, own_state_directory):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text(
        "[tool.hotloop]\nprice_per_hour = 360\nbudget = 1.0\nbudget_stops = true\n"
    )
    serve = [*COMMAND, "serve", "--python", BARE_PYTHON, "--port", "0", "--ui", "plain"]

    with subprocess.Popen(serve, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first, agents = _agents_seen(process, own_state_directory)
        rest, summary = process.communicate(timeout=90)
    said = first + rest
    stats = subprocess.run([*COMMAND, "stats"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    status = subprocess.run([*COMMAND, "status"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert process.returncode == 1
    assert re.search(r"! 80% of the budget of \$1\.00 is spent: \$0\.[89]", said)
    assert "\nthe budget of $1.00 is spent: $1." in said
    assert ": no edit. Cost $1." in summary
    assert re.search(r"^cost +\$1\.\d\d in 1 session$", stats, re.MULTILINE)
    assert status == "local: no session is open\n"
    assert len(agents) >= 4  # the agent, the runtime, the app's processes
    deadline_s = time.monotonic() + 10
    while [pid for pid in agents if is_alive(pid)]:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _agents_seen(process, state):
    """What a session says until it serves, and its runner's processes: all with its state folder in their environment."""
    said = ""
    while "✓ started" not in said:
        line = process.stdout.readline()
        assert line
        said += line
    return said, [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name not in {str(os.getpid()), str(process.pid)} and os.fsencode(state) in _environment(entry)
    ]


def _environment(entry):
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.timeout(120)
def test_a_session_is_warned_and_ended_by_its_budget(tmp_path, own_state_directory):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text("[tool.hotloop]\nbudget_stops = true\nprice_per_hour = 180\n")
    serve = [*COMMAND, "serve", "--python", BARE_PYTHON, "--port", "0", "--json", "--budget", "0.25"]

    done = subprocess.run(serve, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)

    told = [events.from_json(json.loads(line)) for line in done.stdout.splitlines()]
    reports = [event for event in told if isinstance(event, events.CostReported)]
    (notice,) = [event for event in told if isinstance(event, events.Notice) and event.key == "budget"]
    assert done.returncode == 1, done.stderr
    assert notice.text.startswith("80% of the budget of $0.25 is spent: $0.2")
    assert told[-1].reason.startswith("the budget of $0.25 is spent: $0.")
    assert not told[-1].is_left_running
    assert [each.session for each in reports] == sorted(each.session for each in reports)
    assert reports[-1].session >= 0.2499
    assert (reports[-1].budget, reports[-1].per_hour, reports[-1].source) == (0.25, 180.0, "pyproject.toml")
