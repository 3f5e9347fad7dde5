"""What plain lines and JSON say about recorded events."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace

import pytest
from rich.console import Console

from hotloop import events
from hotloop.cli.json_lines import JsonLines
from hotloop.cli.plain import Plain

SOURCE = "def answer(text):\n    days = 14\n    unit = 'days'\n    return f'{dayz} {unit}'\n"
FRAMES = (
    events.Frame("app.py", 9, "<module>", "answer('a')", is_project=True),
    events.Frame("app.py", 4, "answer", "    return f'{dayz} {unit}'", 14, 18, is_project=True),
)
PROBLEM = events.Problem("NameError", "name 'dayz' is not defined", FRAMES, 2, "did you mean 'days'?")
KEPT = events.ModelOutcome("llm", "kept", "resident", "fingerprint equal", 0.001, 270_000_000)
LOADED = events.ModelOutcome("head", "loaded", "worker", "load.py:14 changed", 0.31, 4100)
SHAPE = events.EndpointShape("chat", "/chat", ("POST",), (("text", "str"),), "str", is_batched=True, is_stream=False)
PHASES = {"detect": 0.001, "sync": 0.003, "apply": 0.0004, "reload": 0.021, "warmup": 0.008, "first_output": 0.051}


def report(**changes):
    values = {
        "name": "refund",
        "is_ok": True,
        "is_changed": True,
        "output": "x",
        "diff": ("- within 30 days", "+ within 14 days"),
        "took_s": 0.051,
        "compute_s": 0.04,
        "previous_took_s": 0.055,
    }
    return events.ProbeReport(**{**values, **changes})


def iteration(**changes):
    values = {
        "number": 12,
        "outcome": "ok",
        "saved_at_s": 0.0,
        "is_save_estimated": False,
        "revision": 12,
        "generation": 12,
        "paths": ("prompts.py",),
        "size_bytes": 3,
        "feedback_s": 0.0844,
        "ready_s": 0.03,
        "phases_s": PHASES,
    }
    return events.Iteration(**{**values, **changes})


@pytest.fixture
def project(tmp_path):
    (tmp_path / "app.py").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def shown(project):
    """Render events as they look where there is no colour."""

    def render(*stream, width=80, **options):
        out = io.StringIO()
        console = Console(file=out, width=width, highlight=False, markup=False, emoji=False, **options)
        plain = Plain(console, project, clock=lambda _at_s: "14:22:06", tips=("save a file",))
        for event in stream:
            plain(event)
        return out.getvalue()

    return render


def test_a_start_says_where_and_what(shown):
    text = shown(
        events.SessionStarted(0, "app.py:app", "/p", "local", "3.11.7 (.venv)", 14),
        events.RuntimeStarted(0, "http://127.0.0.1:8000", 1, "/p/.venv/bin/python"),
        events.ModelLoading(0, 1, "head", "first load"),
        events.Ready(0, 1, 1, 0, "zygote", (KEPT, LOADED), (SHAPE,), ("refund",)),
        events.IterationFinished(0, iteration(number=0, feedback_s=4.3, phases_s={"reload": 4.3})),
    )

    assert text == (
        "app.py:app  /p on local, Python 3.11.7 (.venv), 14 files\n"
        "serving   http://127.0.0.1:8000\n"
        "  loading  head  first load\n"
        "  kept     llm 270 MB  fingerprint equal\n"
        "  loaded   head 4.1 kB not resident  310 ms  load.py:14 changed\n"
        "  POST     /chat  (text: str) → str  batched\n"
        "✓ started 4.30 s  reload 4,300 ms\n"
        "save a file\n"
    )


def test_a_session_seen_through_its_agent_says_what_is_known(shown):
    assert shown(events.SessionStarted(0, "", "/p", "gpu1", "3.11.7", 0)) == "/p on gpu1, Python 3.11.7\n"


def test_an_app_that_was_left_running_is_resumed(shown):
    resumed = events.SessionResumed(0, 3, 3, (), {})
    text = shown(resumed, events.IterationFinished(0, iteration(number=0, feedback_s=0.2)))

    assert "\n✓ resumed 200 ms" in text


def test_the_address_of_grpc_is_printed_where_there_is_one(shown):
    started = events.RuntimeStarted(0, "http://127.0.0.1:8000", 1, "/p/.venv/bin/python", "127.0.0.1:9000")

    assert shown(started) == "serving   http://127.0.0.1:8000\ngRPC      127.0.0.1:9000\n"


def test_an_iteration_says_what_changed_what_was_kept_and_where_the_time_went(shown):
    text = shown(
        events.IterationStarted(0, 12, ("prompts.py",)),
        events.Ready(0, 12, 12, 0, "standby", (KEPT,), (SHAPE,), ()),
        events.ProbeReported(0, 12, 12, report()),
        events.ProbeReported(0, 12, 12, report(name="other", is_changed=False, diff=())),
        events.IterationFinished(0, iteration()),
    )

    assert text == (
        "14:22:06 ── #12 prompts.py\n"
        "  kept     llm 270 MB  fingerprint equal\n"
        "  probe    refund  changed  51 ms (was 55 ms)\n"
        "    - within 30 days\n"
        "    + within 14 days\n"
        "  probe    other  same  51 ms (was 55 ms)\n"
        "✓ #12 84 ms  detect 1.0 · sync 3.0 · apply 0.4 · reload 21 · warmup 8.0 · first output 51 ms\n"
    )


def test_workers_are_counted_when_all_of_them_serve(shown):
    text = shown(*(events.WorkersServing(0, 3, count, 3) for count in (2, 3)))

    assert text == "3 workers serve generation 3\n"


def test_an_error_shows_the_users_line_with_a_caret_and_what_still_serves(shown):
    text = shown(
        events.ReloadFailed(0, 3, PROBLEM, 2),
        events.IterationFinished(0, iteration(outcome="failed", feedback_s=0.023, phases_s={"reload": 0.023})),
    )

    assert text == (
        "✗ NameError: name 'dayz' is not defined\n"
        "  from app.py:9 in <module>\n"
        "  app.py:4 in answer\n"
        "    1 │ def answer(text):\n"
        "    2 │     days = 14\n"
        "    3 │     unit = 'days'\n"
        "    4 │     return f'{dayz} {unit}'\n"
        "      │               ^^^^\n"
        "  2 frames of libraries not shown\n"
        "  hint: did you mean 'days'?\n"
        "  still serving generation 2; the next save tries again\n"
        "✗ #12 23 ms to the error  reload 23 ms\n"
    )


def test_a_file_edited_since_gives_the_line_that_failed_alone(shown, project):
    (project / "app.py").write_text("other\n" * 9)

    text = shown(events.ReloadFailed(0, 3, PROBLEM, None))

    assert "    4 │     return f'{dayz} {unit}'\n" in text
    assert "1 │" not in text
    assert "nothing serves yet; the next save tries again" in text


@pytest.mark.parametrize("source", ["    日本 = dayz", "\tx = dayz"])
def test_the_caret_stands_below_wide_characters_and_tabs(shown, source):
    from rich.cells import cell_len

    column = source.index("dayz")
    frame = events.Frame("gone.py", 4, "f", source, column, column + 4, is_project=True)

    lines = shown(events.ReloadFailed(0, 3, events.Problem("E", "m", (frame,)), 1)).splitlines()

    code, caret = (line.expandtabs() for line in lines[2:4])
    assert cell_len(code[: code.index("dayz")]) == caret.index("^^^^")


def test_logs_are_marked_by_generation_and_requests_name_theirs(shown):
    text = shown(
        events.Log(0, 12, "stdout", "hello [bold]x[/bold] :smile:"),
        events.Log(0, 0, "stderr", "\x1b[31mred\x1b[0m"),
        events.RequestFinished(0, 12, "POST", "/chat", 200, 0.231),
    )

    assert text == "g12 │ hello [bold]x[/bold] :smile:\n   │ red\nPOST /chat 200 231 ms g12\n"


def test_many_requests_are_one_line(shown):
    text = shown(events.RequestsFinished(0, 1.0, 415, {"200": 412, "429": 3}, 0.012, 0.231, 0.4))

    assert text == "415 more requests in 1.00 s (200: 412, 429: 3), p50 12 ms, p99 231 ms\n"


def test_a_notice_is_said_once(shown):
    notice = events.Notice(0, "k", "llm cannot stay resident", "return it")

    assert shown(notice, notice) == "! llm cannot stay resident\n  hint: return it\n"


def test_deaths_holds_and_pins_are_said(shown):
    text = shown(
        events.ProcessDied(0, "active", "", "SIGKILL", 1),
        events.ProcessDied(0, "hosted", "llama", "exit 3"),
        events.Held(0, "9 of 10 files were deleted at once", "put them back"),
        events.Pinned(0, "POST /chat", is_pinned=True),
        events.Pinned(0, "POST /chat", is_pinned=False),
    )

    assert text == (
        "✗ the active worker died (SIGKILL); it is being replaced; 1 request failed: it may have run, so it was not "
        "sent again\n"
        "✗ the process of model llama died (exit 3); it is being replaced\n"
        "‖ waiting: 9 of 10 files were deleted at once\n"
        "  hint: put them back\n"
        "pinned POST /chat  sent again after every reload\n"
        "unpinned POST /chat\n"
    )


def test_a_generation_that_no_save_caused_says_that_it_serves(shown):
    again = events.Ready(0, 1, 2, 0, "fork", (), (), ())

    assert shown(events.IterationFinished(0, iteration()), again).endswith("generation 2 serves\n")


def test_no_colour_is_written_when_none_is_wanted(shown, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    text = shown(events.ReloadFailed(0, 3, PROBLEM, 2), force_terminal=True)

    assert "\x1b[3" not in text


def test_a_narrow_terminal_breaks_no_line(shown):
    line = shown(events.IterationFinished(0, iteration()), width=20)

    assert line.count("\n") == 1
    assert "first output 51 ms" in line


def test_json_gives_each_event_back(tmp_path):
    stream = (
        events.ReloadFailed(1.5, 3, PROBLEM, 2),
        events.IterationFinished(2.5, iteration(models=(KEPT,), probes=(report(),), problem=PROBLEM)),
        events.ProbeReported(0, 12, 12, report()),
    )
    with (tmp_path / "out").open("w+") as out:
        sink = JsonLines(out)
        for event in stream:
            sink(event)
        sink.close()
        out.seek(0)

        assert tuple(events.from_json(json.loads(line)) for line in out) == stream


def benched(**changes):
    values = {
        "at_s": 0, "generation": 4, "endpoint": "/embed", "connections": 8, "duration_s": 2.0, "requests": 812,
        "requests_per_s": 406.2, "p50_s": 0.019, "p99_s": 0.0241, "errors": {}, "repeat": 0, "previous": 3,
        "throughput": events.Change(1.081, 1.07, 1.09, is_clear=True),
        "latency": events.Change(0.97, 0.9, 1.1, is_clear=False),
        "throughput_noise_ratio": 0.031, "latency_noise_ratio": 0.14,
    }  # fmt: skip
    return events.BenchFinished(**{**values, **changes})


def test_a_bench_is_one_line_with_an_arrow_at_what_is_more_than_noise(shown):
    line = "  bench    /embed  406/s ▲ +8.1 %  p99 24 ms -3.0 % within noise  812 requests, 8 at a time, against generation 3\n"
    noise = "  bench    noise: the same code differs by up to 3 % in throughput, 14 % in p99\n"

    assert shown(benched(), benched()) == line + noise + line


def test_better_is_green_and_worse_is_red(shown):
    slower = benched(
        throughput=events.Change(0.8, 0.7, 0.9, is_clear=True), latency=events.Change(0.8, 0.7, 0.9, is_clear=True)
    )

    text = shown(slower, force_terminal=True, color_system="standard")

    assert "\x1b[1;31m ▼ -20.0 %" in text
    assert "\x1b[1;32m ▼ -20.0 %" in text


def test_what_can_not_be_compared_is_said(shown):
    first = {"previous": None, "throughput": None, "latency": None}
    unknown = {"throughput_noise_ratio": None, "latency_noise_ratio": None}

    assert shown(benched(**first, **unknown)) == "  bench    /embed  406/s  p99 24 ms  812 requests, 8 at a time\n"
    assert "too few to compare with generation 3" in shown(benched(throughput=None, latency=None, **unknown))
    assert "-3.0 %, noise not known yet" in shown(benched(**unknown))
    assert "12 status 500, 1 connection closed" in shown(benched(errors={"status 500": 12, "connection closed": 1}))


def test_repeats_are_told_once_when_they_have_said_what_is_noise(shown):
    unknown = {"throughput_noise_ratio": None, "latency_noise_ratio": None}

    text = shown(benched(repeat=1, **unknown), benched(repeat=2), benched(repeat=3))

    assert text == "  bench    noise: the same code differs by up to 3 % in throughput, 14 % in p99\n"


def test_a_bench_that_failed_says_why_and_what_to_do(shown):
    problem = events.Problem("BenchRefused", "/embed answered 422: text is missing", hint="--bench-data")

    text = shown(events.BenchFailed(0, 4, "/embed", problem))

    assert text == "  bench    /embed  failed  /embed answered 422: text is missing\n  hint: --bench-data\n"


PROGRESS = events.EnvironmentProgress(0, 2, "requirements.txt", "download", 1, 3, 900_000_000, ("torch", "triton"))
MADE = events.EnvironmentReady(
    0, 2, "requirements.txt", "d", "/e/bin/python", "3.11.7", 12.3, 41, was_cached=False,
    changes=("+ numpy 2.1.3", "torch 2.5 → 2.6"), overruled="packages=[...] of app.py",
)  # fmt: skip


def test_an_environment_takes_few_lines_where_nothing_can_be_redrawn(shown):
    resolve = events.EnvironmentProgress(0, 2, "requirements.txt", "resolve")

    assert shown(resolve, resolve, PROGRESS, PROGRESS, MADE) == (
        "  environment  resolving  requirements.txt\n"
        "  environment  downloading 3 large packages, 900 MB, 1 done: torch, triton\n"
        "  environment  Python 3.11.7, 41 packages from requirements.txt  made in 12.3 s\n"
        "    + numpy 2.1.3\n"
        "    torch 2.5 → 2.6\n"
        "    packages=[...] of app.py is not read: requirements.txt comes first\n"
    )


def test_an_environment_takes_one_line_of_a_terminal_that_is_gone_afterwards(shown):
    text = shown(PROGRESS, PROGRESS, MADE, force_terminal=True, color_system=None)

    assert text.count("\n") == 4
    assert text.count("downloading") == 2
    assert text.split("\r\x1b[2K")[-1].startswith("  environment  Python 3.11.7")


def test_an_environment_that_can_not_be_made_says_what_goes_on(shown):
    frame = events.Frame("requirements.txt", 2, "requirements", "nowhere>=3", is_project=True)
    problem = events.Problem("NotResolvable", "Because nowhere was not found", (frame,))
    ready = events.Ready(0, 1, 4, 0, "zygote", (), (), ())
    failed = events.EnvironmentFailed(0, 2, "requirements.txt", problem, "d", "requirements.txt")

    assert shown(ready, failed).endswith(
        "✗ NotResolvable: Because nowhere was not found\n"
        "  requirements.txt:2 in requirements\n"
        "    2 │ nowhere>=3\n"
        "  still serving generation 4 with the environment of requirements.txt; change what is asked for, or type r, to try again\n"
    )
    assert "there is no environment yet; the next save tries again" in shown(
        events.EnvironmentFailed(0, 1, "", problem)
    )


def over(**changes):
    values = {"at_s": 2.0, "number": 3, "command": "pytest -q", "outcome": "ok", "took_s": 1.2, "exit_code": 0}
    return events.TestsFinished(**{**values, **changes})


FAILED = (
    events.FailedTest("tests/test_app.py::TestA::test_embed", "tests/test_app.py", 12, "KeyError", "'x'"),
    events.FailedTest("tests/test_app.py::test_other", "tests/test_app.py", 30),
)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (over(num_passed=41, num_failed=0), "✓ tests  41 passed  1.20 s"),
        (over(), "✓ tests  passed  1.20 s"),
        (
            over(outcome="failed", exit_code=1, num_passed=39, num_failed=2, failed=FAILED),
            "✗ tests  2 failed of 41  1.20 s  tests/test_app.py:12 test_embed",
        ),
        (over(outcome="failed", exit_code=3), "✗ tests  failed (exit code 3)  1.20 s"),
        (over(outcome="broken", exit_code=127), "✗ tests  could not run (exit code 127)  1.20 s"),
        (over(outcome="broken", exit_code=None), "✗ tests  could not run (the runner did not run them)  1.20 s"),
    ],
)
def test_tests_are_one_line(shown, event, line):
    assert shown(event).splitlines() == [line]


def test_what_tests_write_is_shown_if_they_fail(shown):
    started = events.TestsStarted(1.0, 3, "pytest -q")
    written = events.Log(1.5, 0, "stdout", "E   KeyError: 'x'", "tests")

    assert shown(started, written, over()) == shown(over())
    assert shown(started, written, over(outcome="superseded")) == ""
    assert shown(started, written, over(outcome="failed", exit_code=1)).splitlines()[0] == "tests │ E   KeyError: 'x'"


def test_pauses_and_edits_that_were_taken_back_are_said(shown):
    said = shown(
        events.SyncPaused(1.0, 0), events.SyncPaused(2.0, 1), events.SyncPaused(3.0, 2), events.SyncResumed(4.0),
        events.IterationStarted(5.0, 4, ("app.py",), asked="undo"), events.EditUndone(5.0, 4, 3, ("app.py",)),
        events.IterationStarted(6.0, 5, (), asked="restart"), events.IterationStarted(7.0, 6, (), asked="reload"),
    )  # fmt: skip

    assert [line.partition("  ")[0] for line in said.splitlines()] == [
        "‖ paused, saves are kept back", "‖ paused, 1 save kept back", "‖ paused, 2 saves kept back",
        "resumed: saves are sent again", "14:22:06 ── #4 app.py", "undone #3 on the runner",
        "14:22:06 ── #5 start from nothing", "14:22:06 ── #6 load all models again",
    ]  # fmt: skip


EVIL = "a\x1b]52;c;aGFjaw==\x07b\x1b[2Jc\x08d\x00\u202ee\x9b31mf [red]g[/]"


def test_nothing_that_is_told_can_do_anything_to_a_terminal(shown):
    problem = events.Problem(EVIL, f"{EVIL}\n{EVIL}", hint=EVIL)
    probed = report(name=EVIL, is_changed=True, output=EVIL, diff=(f"- {EVIL}", "+ x"), previous_took_s=0.2)

    text = shown(
        events.Log(0, 1, "stdout", EVIL),
        events.ReloadFailed(0, 2, problem, 1),
        events.ProbeReported(0, 1, 1, probed),
        events.ProbeReported(0, 1, 1, replace(probed, previous_took_s=None, diff=())),
        events.Notice(0, "x", EVIL, EVIL),
        events.ModelLoading(0, 1, EVIL, EVIL),
        events.IterationStarted(0, 1, (EVIL,)),
        events.Offline(0, 1, EVIL),
        events.BenchFailed(0, 1, EVIL, problem),
    )

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "aGFjaw" not in text
    assert text.count("[red]g[/]") > 9


def test_a_header_has_the_time_of_its_save_and_not_of_its_printing(project):
    out = io.StringIO()
    plain = Plain(Console(file=out, width=80), project)

    plain(events.IterationStarted(time.monotonic() - 3600, 1, ("a.py",), saved_s=time.monotonic() - 3601))

    printed = out.getvalue().split()[0]
    assert printed in {time.strftime("%H:%M:%S", time.localtime(time.time() - s)) for s in (3600, 3601, 3602, 3603)}


def test_a_wait_that_is_over_is_said(shown):
    assert shown(events.Held(0, "")) == "nothing to wait for: the files are as they were\n"
