"""Panels as they are seen: text grids of the states that matter, and what each must say."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
from tests.tui import panel_states as given
from tests.tui.panel_states import ASCII, MONO, NIGHT, NOW_S

from hotloop import events
from hotloop.devloop import metrics, pulse
from hotloop.tui import rows
from hotloop.tui.journey import is_out_of_memory
from hotloop.tui.panels import (
    cold,
    compare,
    dx,
    empty,
    error,
    explain,
    history,
    iteration,
    machine,
    oom,
    probe,
    runtime,
    table,
)  # fmt: skip
from hotloop.tui.panels.dx import Day, Experience, Felt

GOLDENS = Path(__file__).parent / "goldens"


def grid(draw, state, width, height, palette=NIGHT, **more):
    lines = draw(state, width, height, palette, NOW_S, **more)
    return "\n".join(text.plain.rstrip() for text in lines)


def experience() -> Experience:
    def trips(count, seconds, start_s=0.0):
        return [
            metrics.Trip(
                "a", number, "failed" if number % 7 == 3 else "ok", start_s + number * 60.0, seconds * (1 + number % 5 / 4),
                phases_s={"detect": 0.01, "sync": 0.02, "reload": 0.1, "warmup": 0.3}, models=(metrics.Model("encoder", "kept", "resident", 0.01, 1),) * 2,
            )
            for number in range(1, count)
        ]  # fmt: skip

    return Experience(
        today=metrics.summarize(trips(30, 0.5)),
        week=metrics.summarize(trips(160, 0.6)),
        before=metrics.summarize(trips(140, 0.9)),
        days=tuple(
            Day(day, p50)
            for day, p50 in zip(["Mon", "Tue", "Wed", "Thu", "Fri"], (0.9, 0.7, None, 0.6, 0.5), strict=True)
        ),
        felt=tuple(
            Felt(f"w{40 + i}", "Did the loop keep up with you today?", answer) for i, answer in enumerate((2, 3, 3, 4))
        ),
    )


SEEN = {
    "iteration-live-76x13": lambda: grid(iteration.draw, given.live(), 76, 13),
    "iteration-working-78x10": lambda: grid(iteration.draw, given.working(), 78, 10),
    "iteration-live-40x6": lambda: grid(iteration.draw, given.live(), 40, 6),
    "iteration-working-160x12-ascii": lambda: grid(iteration.draw, given.working(), 160, 12, ASCII),
    "cold-76x13": lambda: grid(cold.draw, given.cold(), 76, 13),
    "cold-environment-76x13": lambda: grid(cold.draw, given.building(), 76, 13),
    "empty-76x9": lambda: grid(empty.draw, given.empty(), 76, 9),
    "error-no-file-76x13": lambda: grid(error.draw, given.failed(), 76, 13),
    "error-shapes-76x14": lambda: grid(error.draw, given.failed(given.SHAPE_ERROR), 76, 14),
    "oom-76x18": lambda: grid(oom.draw, given.out_of_memory(), 76, 18),
    "history-76x8": lambda: grid(history.draw, given.live(), 76, 8),
    "history-76x8-ascii": lambda: grid(history.draw, given.live(), 76, 8, ASCII),
    "probe-41x10": lambda: grid(probe.draw, given.live(), 41, 10),
    "runtime-41x10": lambda: grid(runtime.draw, given.live(), 41, 10),
    "runtime-stale-41x10": lambda: grid(runtime.draw, given.offline(), 41, 10),
    "runtime-strip-78x2": lambda: grid(runtime.draw_strip, given.live(), 78, 2),
    "table-100x12": lambda: grid(table.draw, given.failed(), 100, 12, compared=44),
    "compare-76x16": lambda: grid(compare.draw, given.live(), 76, 16, compared=40),
    "explain-76x34": lambda: grid(explain.draw, given.live(), 76, 34),
    "machine-116x30": lambda: grid(machine.draw, given.live(), 116, 30),
    "dx-100x36": lambda: grid(dx.draw, given.live(), 100, 36, experience=experience()),
}


@pytest.mark.parametrize("name", sorted(SEEN))
def test_panel_looks_as_it_did(name):
    """Look at what changed; if it is meant, HOTLOOP_UPDATE_GOLDENS=1 keeps it."""
    file = GOLDENS / f"{name}.txt"
    seen = SEEN[name]() + "\n"
    if os.environ.get("HOTLOOP_UPDATE_GOLDENS"):
        GOLDENS.mkdir(exist_ok=True)
        file.write_text(seen, encoding="utf-8")

    assert seen == file.read_text(encoding="utf-8")


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "render.py").write_text(given.RENDER_PY)
    return tmp_path


def test_error_shows_the_lines_around_it_from_the_file_here(project):
    state = dataclasses.replace(given.failed(), project=str(project))

    seen = grid(error.draw, state, 76, 16)

    assert "29 │ def render_reply(ctx, out):" in seen
    assert "▸   31 │     days = policy['delivery_days']" in seen
    assert "32 │     return out.format(days=days)" in seen


def test_error_shows_its_own_line_alone_once_the_file_here_differs(project):
    (project / "chat" / "render.py").write_text(given.RENDER_PY.replace("days = policy", "days = ctx"))
    state = dataclasses.replace(given.failed(), project=str(project))

    seen = grid(error.draw, state, 76, 16)

    assert "▸   31 │     days = policy['delivery_days']" in seen
    assert "def render_reply" not in seen
    assert "ctx[" not in seen


def test_carets_stand_under_the_marked_columns():
    lines = grid(error.draw, given.failed(), 76, 16).splitlines()
    code = next(index for index, text in enumerate(lines) if "days = policy" in text)

    assert lines[code].index("policy[") == lines[code + 1].index("^")
    assert lines[code + 1].count("^") == len("policy['delivery_days']")


@pytest.mark.parametrize(
    "source", ["\tdays = policy['x']", "    日本 = policy['x']", "    a, b, c = " + "long(), " * 20 + "policy['x']"]
)
@pytest.mark.parametrize("width", [40, 76])
def test_carets_stand_right_after_tabs_wide_letters_and_a_cut(source, width):
    column = source.index("policy")
    frame = events.Frame("app.py", 3, "f", source, column, len(source), True)
    lines = error.draw(given.failed(events.Problem("KeyError", "'x'", (frame,))), width, 16, NIGHT, NOW_S)
    code = next(index for index, text in enumerate(lines) if "policy" in text.plain)
    before = lines[code].plain[: lines[code].plain.index("policy")]
    carets = lines[code + 1].plain

    from rich.cells import cell_len

    assert abs(cell_len(before) - carets.index("^")) <= (1 if "日" in source else 0)
    assert "policy['x']" in lines[code].plain


def test_error_counts_hidden_frames_and_names_the_caller():
    seen = grid(error.draw, given.failed(), 90, 16)

    assert "called from chat/app.py:58 serve · 14 library frames hidden (t show)" in seen


def test_library_frames_are_shown_on_demand():
    state = dataclasses.replace(given.failed(given.SHAPE_ERROR), shows_library=True)

    seen = grid(error.draw, state, 110, 20)

    assert "/env/torch/nn/modules/linear.py:125  forward" in seen
    assert "all frames shown (t less)" in seen


def test_a_probe_that_failed_is_an_error_too():
    trip = dataclasses.replace(given.LIVE_TRIP, probes=(given.REFUND, given.BROKEN_PROBE))
    seen = grid(error.draw, dataclasses.replace(given.live(), trips=(trip,)), 76, 12)

    assert "probe failed" in seen
    assert "AssertionError: the nearest of 'a cat' is 'a train'" in seen
    assert "probes.py:12" in seen


def test_tests_that_failed_are_shown_with_their_place():
    failing = events.FailedTest(
        "tests/test_app.py::test_embed", "tests/test_app.py", 14, "AssertionError", "assert 3 == 4"
    )
    tests = events.TestsFinished(NOW_S, 45, "pytest -q tests", "failed", 1.2, 1, 11, 1, (failing,))
    trip = dataclasses.replace(given.LIVE_TRIP, tests=tests)
    seen = grid(error.draw, dataclasses.replace(given.live(), trips=(trip,)), 90, 12)

    assert "tests failed" in seen
    assert "1 test failed, 11 passed  1.20 s" in seen
    assert "✗ tests/test_app.py::test_embed  tests/test_app.py:14" in seen
    assert "AssertionError: assert 3 == 4" in seen
    assert error.place_of(trip) == ("tests/test_app.py", 14)


def test_the_line_and_the_message_stay_when_rows_are_few():
    seen = grid(error.draw, given.failed(), 76, 5)

    assert "KeyError: 'delivery_days'" in seen
    assert "chat/render.py:31" in seen
    assert "days = policy['delivery_days']" in seen


def test_traceback_to_copy_is_as_python_writes_it():
    copied = error.traceback_text(given.KEY_ERROR).splitlines()

    assert copied[0] == "Traceback (most recent call last):"
    assert copied[3:5] == ['  File "chat/render.py", line 31, in render_reply', "    days = policy['delivery_days']"]
    assert copied[5] == "KeyError: 'delivery_days'"


# --- the others -------------------------------------------------------------------------------------------------


def test_escape_sequences_of_a_message_do_nothing():
    problem = events.Problem("E", "\x1b[2J\x1b]52;c;aGk=\x07see\x00 \x1b[31mred\x1b[0m")
    seen = grid(error.draw, given.failed(problem), 76, 8)

    assert "see␀ red" in seen
    assert "\x1b" not in seen


@pytest.mark.parametrize("height", range(1, 21))
def test_iteration_keeps_its_title_and_then_its_phases(height):
    lines = grid(iteration.draw, given.live(), 100, height).splitlines()

    assert "Iteration #45" in lines[0]
    if height >= 7:
        assert (
            sum(name in "\n".join(lines) for name in ("detect", "sync", "apply", "reload", "warmup", "first output"))
            == 6
        )
    if height >= 13:
        assert "reranker 540 MB hosted 2.40 s (rank.py:14 changed)" in "\n".join(lines)


def test_slower_than_usual_is_said_only_if_it_is_clear():
    seen = grid(iteration.draw, given.live(), 100, 13)

    assert "▲42%" in seen
    assert seen.count("▲") + seen.count("▼") == 1


def test_an_iteration_without_a_probe_is_timed_to_ready():
    trip = dataclasses.replace(given.LIVE_TRIP, probes=())

    assert "to ready" in grid(iteration.draw, dataclasses.replace(given.live(), trips=(trip,)), 100, 8)


@pytest.mark.parametrize("palette", [ASCII, MONO])
def test_causes_are_letters_where_there_are_no_colours(palette):
    seen = grid(history.draw, given.live(), 76, 8, palette).splitlines()

    assert "m" in seen[-2]
    assert "c code" in seen[-1]


def test_selected_iteration_is_marked_in_the_history():
    state = dataclasses.replace(given.live(), selected=44)

    assert "▴" in grid(history.draw, state, 76, 8)


def test_history_counts_what_it_shows():
    seen = grid(history.draw, given.live(), 76, 8)
    edits = [trip for trip in given.live().trips if trip.number]

    assert f"{sum(trip.outcome == 'ok' for trip in edits)} ok" in seen
    assert f"{sum(trip.outcome == 'failed' for trip in edits)} failed" in seen


def test_probe_that_is_unchanged_says_so():
    state = dataclasses.replace(given.live(), probes=(given.GREETING,))

    assert "= unchanged" in grid(probe.draw, state, 60, 10)


def test_probes_failing_one_comes_first_and_the_named_one_before_it():
    reports = (given.REFUND, given.GREETING, given.BROKEN_PROBE)

    assert probe.chosen(reports, "") is given.BROKEN_PROBE
    assert probe.chosen(reports, "greeting") is given.GREETING


def test_long_json_of_a_probe_is_cut():
    report = events.ProbeReport("big", True, False, str(list(range(10_000))), (), 0.1, 0.1, None)
    seen = grid(probe.draw, dataclasses.replace(given.live(), probes=(report,)), 41, 12).splitlines()

    assert len(seen) <= 12
    assert seen[-1].startswith("time 100 ms")


def test_gpu_use_is_never_told_by_busy_alone():
    last = given.sample(1000.0, 10.0)
    no_sm = dataclasses.replace(last, gpus=(dataclasses.replace(last.gpus[0], sm_ratio=None),))
    neither = dataclasses.replace(last, gpus=(dataclasses.replace(last.gpus[0], sm_ratio=None, power_w=None),))

    assert "power       410 W" in grid(runtime.draw, dataclasses.replace(given.live(), samples=(no_sm,)), 60, 12)
    assert "100%" not in grid(runtime.draw, dataclasses.replace(given.live(), samples=(neither,)), 60, 12)


def test_a_figure_of_the_apps_own_is_a_share_of_what_it_can_be_or_a_number():
    told = (
        events.GaugeSample("kv pages", 850.0, 1000.0),
        events.GaugeSample("running", 12.0),
        events.GaugeSample("adapters in memory", 3.0),
    )
    state = dataclasses.replace(given.live(), samples=(dataclasses.replace(given.sample(1000.0, 10.0), gauges=told),))
    seen = grid(runtime.draw, state, 60, 16)

    assert re.search(r"^ *kv pages +85%  ━+.*  850 of 1,000$", seen, re.MULTILINE)
    assert re.search(r"^ *running +12$", seen, re.MULTILINE)
    assert re.search(r"^ *adapter… +3  adapters in memory$", seen, re.MULTILINE)
    assert "kv pages 85%" in grid(runtime.draw_strip, state, 120, 2)


def test_runtime_that_rests_is_idle_and_one_that_is_gone_stale():
    resting = dataclasses.replace(given.live(), sampled_at_s=NOW_S - 30)

    assert "idle 30 s" in grid(runtime.draw, dataclasses.replace(resting, active_at_s=NOW_S - 40), 60, 12)
    assert "idle 9 s" in grid(runtime.draw, dataclasses.replace(resting, active_at_s=NOW_S - 9), 60, 12)
    assert "stale · 14 s ago" in grid(runtime.draw, given.offline(), 60, 12)


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        (given.ENDPOINTS[0], """curl http://127.0.0.1:8000/embed -d '{"text": "hello"}'"""),
        (given.ENDPOINTS[1], """curl -N http://127.0.0.1:8000/chat -d '{"prompt": "hello", "max_tokens": 1}'"""),
        (
            events.EndpointShape(
                "find", "/find", ("GET",), (("query", "str"), ("top", "int = 5")), "str", False, False
            ),
            "curl 'http://127.0.0.1:8000/find?query=hello'",
        ),
    ],
)
def test_first_request_is_a_line_to_paste(endpoint, line):
    assert empty.curl((endpoint,), "http://127.0.0.1:8000") == line
    assert empty.curl((endpoint,), "http://127.0.0.1:8000 on gpu1") == f"{line}  # on gpu1"


def test_memory_map_adds_up():
    held = oom.memory.map_of(given.live())

    assert held is not None
    assert sum(holder.size_bytes for holder in held.holders) == held.used_bytes
    assert held.used_bytes + held.free_bytes == held.total_bytes


def test_table_follows_the_selection():
    state = dataclasses.replace(given.live(), selected=5)

    assert "▸    #5" in grid(table.draw, state, 100, 12)


def test_explain_scrolls_and_says_what_is_below():
    top = grid(explain.draw, given.live(), 76, 10)
    down = grid(explain.draw, given.live(), 76, 10, first=9)

    assert "more lines" in top
    assert top.splitlines()[0] == down.splitlines()[0]
    assert "reranker" in down


def test_an_iteration_says_which_probe_failed_and_how_the_tests_went():
    failing = events.FailedTest(
        "tests/test_app.py::test_embed", "tests/test_app.py", 14, "AssertionError", "assert 3 == 4"
    )
    tests = events.TestsFinished(NOW_S, 45, "pytest -q tests", "failed", 1.2, 1, 11, 1, (failing,))
    trip = dataclasses.replace(given.LIVE_TRIP, probes=(given.REFUND, given.BROKEN_PROBE), tests=tests)
    seen = grid(iteration.draw, dataclasses.replace(given.live(), trips=(trip,)), 100, 10)

    assert "✗ 1.35 s  to a probe that failed" in seen
    assert "✗ similar AssertionError: the nearest of 'a cat' is 'a train'" in seen
    assert "✗ 1 failed, 11 passed  1.20 s  tests/test_app.py::test_embed" in seen


@pytest.mark.parametrize("width", [38, 54, 78, 118])
def test_a_question_is_whole_and_so_are_its_keys_at_every_width(width):
    asked = [pulse.question(item) for item in pulse.TEXTS]
    asked += [pulse.Question(None, pulse.CONSENT_TEXT, ("y", "n", "v"))]
    for row in (rows.quitting(is_attached=False), rows.quitting(is_attached=True), rows.restarting("38 s")):
        shown = rows.draw(row, width, NIGHT)[0].plain
        assert row.text in shown or f" {row.short} " in shown
        assert all(choice.shown in shown.split() for choice in row.choices), shown
    for row in (rows.question(each, 0.0) for each in asked):
        shown = rows.draw(row, width, NIGHT)[0].plain
        assert row.text in shown or f" {row.short} " in shown
        assert all(choice.shown in shown.split() for choice in row.choices[:-1]), shown  # any other key skips too


@pytest.mark.parametrize(
    ("type_", "message", "asked"),
    [
        (
            "RuntimeError",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000000000 bytes.",
            "400 TB more was asked for",
        ),
        (
            "numpy._core._exceptions._ArrayMemoryError",
            "Unable to allocate 7.28 TiB for an array with shape (1000000000000,) and data type float64",
            "7.28 TiB more was asked for",
        ),
        ("MemoryError", "", "MemoryError"),
    ],
)
def test_out_of_memory_is_shown_with_its_holders_whoever_says_so(type_: str, message: str, asked: str):
    problem = dataclasses.replace(given.OUT_OF_MEMORY, type=type_, message=message)
    state = dataclasses.replace(given.failed(problem), serving=None)

    assert is_out_of_memory(problem)
    shown = grid(oom.draw, state, 76, 18)
    assert asked in shown
    assert "chat" in shown
