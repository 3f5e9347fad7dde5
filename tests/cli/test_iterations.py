"""Many real iterations: their phases sum to the time to feedback, which a program that only reads the output sees too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tests.cli.test_serve_remote import BARE_PYTHON, of, served, until

from hotloop import events
from hotloop.devloop import history, timeline
from hotloop.remote_runner.places import agent_folder, make_private, socket_path

COUNT = int(os.environ.get("HOTLOOP_ITERATIONS", "40"))
KERNEL_TICK_S = 0.011  # a file's stamp may be as much older than its write
CLOCK_AHEAD_S = 5000
APP = """
import hotloop

app = hotloop.App("tiny")
NUMBER = 0


@app.model
def words():
    return {"end": "!"}


@app.endpoint
def greet(name: str, words) -> str:
    return f"{NUMBER} {name}{words['end']}"


@app.probe
def ada(client):
    return client.greet(name="Ada")
"""

pytestmark = pytest.mark.timeout(120)


def edited(number):
    """The app after an edit: of code mostly, at times of what a model is made from, at times wrong."""
    text = APP.replace("NUMBER = 0", f"NUMBER = {number}")
    if number % 10 == 5:
        return text.replace("def greet(", "def greet((")
    return text.replace('"!"', f'"!{number}"') if number % 10 == 7 else text


def check(iteration):
    total_s = sum(iteration.phases_s.values())
    assert abs(total_s - iteration.feedback_s) < 1e-3
    assert timeline.OTHER not in iteration.phases_s
    assert min(iteration.phases_s.values()) >= 0


@pytest.mark.slow
def test_the_phases_of_real_iterations_sum_to_what_a_reader_of_the_output_measures(tmp_path):
    """`make soak` has 200 of them."""
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "hotloop.cli.main", "serve", "--json", "--port", "0", "--python", BARE_PYTHON]
    loop = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found, saves, notices = [], [(0.0, 0.0)], []
    try:
        for line in loop.stdout:
            event = events.from_json(json.loads(line))
            if isinstance(event, events.Notice):
                notices.append(event)
            if not isinstance(event, events.IterationFinished):
                continue
            found.append((event.iteration, time.time()))
            if event.iteration.number == COUNT:
                break
            before_s = time.time()
            (tmp_path / "app.py").write_text(edited(event.iteration.number + 1))
            saves.append((before_s, time.time()))
    finally:
        loop.terminate()
        loop.stdout.close()
        loop.wait(30)

    assert [iteration.number for iteration, _ in found] == list(range(COUNT + 1))
    for (iteration, read_at_s), (before_s, after_s) in list(zip(found, saves, strict=True))[1:]:
        check(iteration)
        assert before_s - KERNEL_TICK_S <= iteration.saved_at_s <= after_s
        assert not iteration.is_save_estimated
        assert iteration.feedback_s <= read_at_s - iteration.saved_at_s
        assert iteration.outcome == ("failed" if iteration.number % 10 == 5 else "ok")
        assert iteration.why_code
    assert not [notice for notice in notices if notice.key == "timeline"]
    with history.reading(tmp_path) as kept:
        assert [trip.number for trip in kept.trips()] == list(range(COUNT + 1))
        assert [session.ended for session in kept.records().sessions] == ["ended"]


@contextlib.contextmanager
def agent_of_another_clock(state):
    make_private(agent_folder(state))
    command = ["unshare", "--time", "--monotonic", str(CLOCK_AHEAD_S), "--fork", "--kill-child"]
    command += [sys.executable, "-P", "-m", "hotloop.remote_runner.agent", "--state", str(state)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(10)


def test_iterations_over_a_slow_line_to_a_machine_of_another_clock_sum_up_too(tmp_path, own_state_directory):
    """Its monotonic clock is 5,000 s ahead, and each byte takes 10 ms."""
    if os.getuid() != 0:
        pytest.skip("not root: a time namespace can't be made")
    (tmp_path / "app.py").write_text(APP)

    async def main():
        await until(socket_path(own_state_directory).exists, "the agent's start")
        async with served(tmp_path, own_state_directory) as (line, engine, said):
            line.delay_s = 0.01
            for number in range(1, 13):
                (tmp_path / "app.py").write_text(edited(number))
                await until(lambda count=number: len(of(said, events.IterationFinished)) > count, f"#{number}")
            iterations = [event.iteration for event in of(said, events.IterationFinished)]
            for other_s in (0.019, 0.03, 0.03):  # of a second
                engine._finished(replace(iterations[-1], phases_s={"detect": 1 - other_s, timeline.OTHER: other_s}))
            return iterations, [notice.text for notice in of(said, events.Notice) if notice.key == "timeline"]

    with agent_of_another_clock(own_state_directory):
        iterations, alarms = asyncio.run(main())

    assert alarms == ["nothing explains 3% of the time that #12 took: a message of the runner's is missing"]
    for iteration in iterations:
        check(iteration)
    for iteration in iterations[2:]:  # the first one still met the quick line's greeting
        assert iteration.phases_s["sync"] >= 0.005
    with history.reading(tmp_path) as kept:
        rows = kept.connection.execute("SELECT offset_s, offset_error_s, drift_s FROM iteration").fetchall()
    assert all(abs(offset_s - CLOCK_AHEAD_S) <= error_s + 1e-6 for offset_s, error_s, _ in rows)
    assert all(error_s < 0.1 and not drift_s for _, error_s, drift_s in rows)
