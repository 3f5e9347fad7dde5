"""`dev bench` as a process against real servers: streams, exit codes, what is printed where."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.devloop.load.server import OK, TIMED, Server

from hotloop.cli import bench_report, main, plots
from hotloop.devloop.load.histogram import Histogram
from hotloop.devloop.load.tally import Tally

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
COMMAND = [sys.executable, "-m", "hotloop.cli.main"]
SHORT = ["--duration", "0.2", "--warmup", "0.05"]

APP = """
import hotloop

app = hotloop.App("tiny")


@app.endpoint
def greet(name: str) -> str:
    return f"hello {name}"
"""


def bench(*arguments, cwd=None, **environment):
    done = subprocess.run(
        [*COMMAND, "bench", *arguments], cwd=cwd, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_table_goes_to_stdout_and_what_is_done_to_stderr():
    with Server(lambda _: TIMED) as server:
        code, out, err = bench("/x", "--url", server.url, "-c", "1", "-c", "4", "--rate", "50", *SHORT)

    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["load", "req/s", "p50", "p90", "p99", "max", "errors", "batch", "queue", "compute"]
    assert [line.split()[0] for line in lines[1:4]] == ["c=1", "c=4", "50/s"]
    assert all(line.split()[6:] == ["0", "3.0", "2.50", "4.00"] for line in lines[1:4])
    assert out.isascii()
    assert [line.split(", ")[1] for line in err.splitlines()] == ["c=1", "c=4", "50/s"]


def test_json_is_one_object():
    with Server(lambda n: TIMED if n % 2 == 0 else b"HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n") as server:
        code, out, _ = bench("/x", "--url", server.url, "-c", "2", "--json", *SHORT)

    said = json.loads(out)
    (run,) = said["runs"]
    assert (code, said["schema"], said["endpoint"], said["url"]) == (0, 1, "/x", server.url)
    assert (run["load"], run["connections"], run["rate_per_s"]) == ("c=2", 2, None)
    assert run["requests"] > run["errors"]["status 429"] > 0
    assert run["latency_ms"]["p50"] <= run["latency_ms"]["p99"] <= run["latency_ms"]["max"]
    assert run["batch_size"] == {"mean": 3, "max": 3}
    assert run["queue_ms"]["p50"] == pytest.approx(2.5, rel=0.01)


def test_a_comparison_gives_ratios_with_intervals():
    with Server(pause_s=lambda _: 0.001) as quick, Server(pause_s=lambda _: 0.02) as slow:
        arguments = ("/x", "--url", quick.url, "--compare", slow.url, "-c", "2", "--rounds", "3", *SHORT)
        code, out, err = bench(*arguments)
        said = json.loads(bench(*arguments, "--json")[1])

    (run,) = said["runs"]
    assert code == 0
    assert "c=2: A / B" in out
    assert f"A is {quick.url}, B is {slow.url}" in err
    assert said["compared_with"] == slow.url
    assert run["ratios"]["requests_per_s"]["low"] > 1
    assert run["ratios"]["p50"]["high"] < 1
    assert run["compared_with"]["requests"] > 0


def test_errors_are_named_below_the_table():
    with Server(lambda n: OK if n % 2 == 0 else b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n") as server:
        code, out, _ = bench("/x", "--url", server.url, "-c", "1", *SHORT)

    assert code == 0
    assert re.search(r"^c=1: [\d,]+ status 503$", out, re.MULTILINE)


def test_a_run_without_any_success_exits_with_1():
    with Server(lambda _: b"HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n", pause_s=lambda _: 0.005) as server:
        code, out, _ = bench("/x", "--url", server.url, "-c", "1", *SHORT)

    assert code == 1
    assert " 0.0 " in out


def test_bodies_come_from_files(tmp_path):
    (tmp_path / "lines.jsonl").write_text('{"n": 0}\n\n{"n": 1}\n')
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    with Server() as server:
        bench("/x", "--url", server.url, "--lines", "lines.jsonl", "-c", "1", *SHORT, cwd=tmp_path)
        assert [body for _, body in server.requests[1:4]] == [b'{"n": 0}', b'{"n": 1}', b'{"n": 0}']
        server.requests.clear()
        bench("/x", "--url", server.url, "--file", "image.png", "-c", "1", *SHORT, cwd=tmp_path)
        assert {body for _, body in server.requests} == {b"\x89PNG"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'ENDPOINT'"),
        (["x", "-c", "0"], "-c is 0, a number from 1 to 10000"),
        (["x", "-c", "10001"], "-c is 10001"),
        (["x", "-c", "many"], "Invalid value for '-c' / '--connections'"),
        (["x", "--rate", "0"], "--rate is 0"),
        (["x", "--rate", "nan"], "--rate is nan"),
        (["x", "--duration", "0"], "--duration is 0"),
        (["x", "--warmup", "-1"], "--warmup is -1"),
        (["x", "--rounds", "1"], "--rounds is 1"),
        (["x", "--arrivals", "often"], "--arrivals is 'often'"),
        (["x", "--data", "{"], "--data is not JSON"),
        (["x", "--data", "[1]"], "an object of the endpoint's arguments was expected"),
        (["x", "--data", "{}", "--file", "a"], "--data and --file both say"),
        (["x", "--file", "missing"], "missing can't be read: No such file"),
        (["x", "--lines", "empty.jsonl"], "empty.jsonl holds no line"),
        (["x", "--lines", "bad.jsonl"], "bad.jsonl:2 is not JSON"),
        (["x", "--url", "nowhere"], "'nowhere' is no address of a server"),
        (["x", "-H", "key"], "the header 'key' has no value"),
        (["x"], "no dev serve runs for"),
        (["x", "--project", "missing"], "missing is not there"),
    ],
)
def test_wrong_use_is_told_in_two_lines_with_exit_code_2(tmp_path, capsys, monkeypatch, arguments, said):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "bad.jsonl").write_text("{}\n{\n")
    monkeypatch.chdir(tmp_path)

    code = main.execute(["bench", *arguments])
    out, err = capsys.readouterr()

    error, hint = err.splitlines()
    assert (code, out) == (2, "")
    assert said in error
    assert hint.startswith("hint: ")


def test_a_server_that_is_not_there_exits_with_1():
    code, out, err = bench("x", "--url", "http://127.0.0.1:1")

    assert (code, out) == (1, "")
    assert "http://127.0.0.1:1 can't be reached" in err


def test_ctrl_c_ends_it_with_130():
    with Server() as server:
        process = subprocess.Popen(
            [*COMMAND, "bench", "/x", "--url", server.url, "-c", "1", "--duration", "60"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        process.stderr.readline()
        while len(server.requests) < 10:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (130, "", "")


def test_ctrl_c_shows_what_was_measured_before_it():
    with Server() as server:
        process = subprocess.Popen(
            [*COMMAND, "bench", "/x", "--url", server.url, "-c", "1", "-c", "2", "-c", "3", "--duration", "1",
             "--warmup", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert any(", c=2, " in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)

    assert process.returncode == 130
    assert [line.split()[0] for line in out.splitlines()[:2]] == ["load", "c=1"]
    assert "c=2" not in out


def test_calls_longer_than_the_time_that_counts_are_told():
    with Server(pause_s=lambda number: 0.6 if number else 0.0) as server:
        code, out, _ = bench("/x", "--url", server.url, "-c", "1", "--duration", "0.2", "--warmup", "0.2")

    assert code == 1
    assert "c=1: no call began and was over in the time that counts: give it more with --duration" in out


def test_few_rounds_are_not_judged():
    with Server(pause_s=lambda _: 0.001) as quick, Server(pause_s=lambda _: 0.02) as slow:
        times = ("--duration", "0.1", "--warmup", "0.02")
        arguments = ("/x", "--url", quick.url, "--compare", slow.url, "-c", "1", *times)
        few, enough = (bench(*arguments, "--rounds", number)[1] for number in ("5", "6"))

    assert re.search(r"req/s .*, 5 rounds\)  too few rounds to tell$", few, re.MULTILINE)
    assert re.search(r"req/s .*, 6 rounds\)$", enough, re.MULTILINE)


def on_terminal(columns, *arguments, **environment):
    """Run with a terminal for stdout; gives what it shows."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LC_ALL": "C.UTF-8", **environment}
    process = subprocess.Popen(
        [*COMMAND, "bench", *arguments], stdout=slave, stderr=subprocess.DEVNULL, stdin=slave, env=environment
    )
    os.close(slave)
    data = b""
    while select.select([master], [], [], 30)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        data += piece
    os.close(master)
    assert process.wait(20) == 0
    return data.decode().replace("\r", "")


def test_a_terminal_of_80_columns_is_filled_with_blocks_and_not_left():
    with Server(lambda _: TIMED) as server:
        arguments = ("/x", "--url", server.url, "-c", "1", "--rate", "1000", *SHORT)
        colourful, plain = on_terminal(80, *arguments), on_terminal(80, *arguments, NO_COLOR="1")

    assert "█" in colourful
    assert "█" in plain
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", colourful)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)
    assert max(len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", colourful).splitlines()) <= 80
    assert "compute" in plain


def test_the_running_dev_serve_is_found(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    served = subprocess.Popen(
        [*COMMAND, "serve", "--json", "--port", "0", "--python", BARE_PYTHON], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for line in served.stdout:
            if json.loads(line)["kind"] == "ready":
                break
        threading.Thread(target=served.stdout.read, daemon=True).start()  # a full pipe would hold dev serve up
        code, out, err = bench("greet", "--data", '{"name": "Ada"}', "-c", "2", "--json", *SHORT, cwd=tmp_path)
        wrong = bench("greet", "--data", '{"nam": "Ada"}', cwd=tmp_path)
        unknown = bench("gret", cwd=tmp_path)
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait(30)

    assert code == 0, err
    (run,) = json.loads(out)["runs"]
    assert run["requests"] > 10
    assert (run["errors"], run["compute_ms"] is not None) == ({}, True)
    assert wrong[0] == 2, wrong
    assert "/greet answered 422" in wrong[2]
    assert unknown[0] == 2
    assert "it has: greet" in unknown[2]


# --- pure -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50), st.integers(10, 72))
def test_a_distribution_marks_whatever_occurred_and_fills_its_fullest_character(values, width):
    histogram = Histogram.of(values)
    axis = plots.axis_of([histogram], width)

    drawn = plots.line(histogram, axis, plots.ASCII)

    assert len(drawn) <= width
    assert drawn.count("@") >= 1
    assert len(drawn.replace(" ", "")) == sum(count > 0 for count in histogram.between(axis.edges_s()))
    assert len(plots.labels(axis)) <= width


def test_labels_stand_where_their_values_are():
    axis = plots.Axis(0.001, 0.1, 40)

    assert plots.labels(axis) == "1 ms  2 ms   5 ms   10 ms        50 ms"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (float("nan"), "-"), (0.00001, "0.010"), (0.0000994, "0.099"), (0.0000996, "0.10"), (0.00999, "9.99"),
        (0.009996, "10.0"), (0.0999, "99.9"), (0.09996, "100"), (12.3456, "12,346"),
    ],
)  # fmt: skip
def test_milliseconds_have_three_digits(seconds, text):
    assert bench_report.milliseconds(seconds) == text


def test_without_the_servers_word_its_columns_are_left_out():
    tally = Tally(latency=Histogram.of([0.001]), num_done=1, duration_s=1)
    tally.statuses[200] = 1
    out = io.StringIO()

    bench_report.show([bench_report.Row("c=1", tally)], [], out)

    assert out.getvalue().splitlines()[:3] == [
        "load  req/s   p50   p90   p99   max  errors",
        "c=1     1.0  1.00  1.00  1.00  1.00       0",
        "times in ms",
    ]
