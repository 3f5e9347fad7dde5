"""The tour reads events, edits the template, and puts it back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from hotloop import events
from hotloop.cli import tour
from hotloop.cli.new import scaffold
from hotloop.errors import HotloopError, UsageError

TIMEOUT_S = 5


def iteration(number: int, outcome: str = "ok") -> events.Iteration:
    return events.record_from_json(
        events.Iteration,
        {"number": number, "outcome": outcome, "saved_at_s": 0.0, "is_save_estimated": False, "revision": number + 1,
         "generation": number + 1, "paths": ["app.py"], "size_bytes": 1, "feedback_s": 0.5, "ready_s": 0.004,
         "phases_s": {"detect": 0.001, "reload": 0.003}},
    )  # fmt: skip


def stream_of(*happened: events.Event) -> tour.Stream:
    lines = [json.dumps(events.to_json(event)) + "\n" for event in happened]
    return tour.Stream(io.StringIO("".join(lines)))


def test_each_edit_of_the_tour_fits_the_template_as_it_is_then(tmp_path: Path) -> None:
    scaffold("chat", tmp_path)
    tour.check_edits(tmp_path)
    original = (tmp_path / "generate.py").read_text()

    valid = []
    for save in tour.TOUR:
        tour.apply_edit(tmp_path, save)
        valid.append(is_valid(tmp_path / save.file))

    assert valid == [True, True, False, True]
    assert (tmp_path / "generate.py").read_text() == original


def is_valid(file: Path) -> bool:
    try:
        compile(file.read_text(), file, "exec")
    except SyntaxError:
        return False
    return True


def test_a_file_that_is_not_the_templates_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine = 1\n")

    with pytest.raises(UsageError, match="is not as the chat template has it"):
        tour.check_edits(tmp_path)
    with pytest.raises(UsageError, match="is not as the chat template has it"):
        tour.apply_edit(tmp_path, tour.TOUR[0])
    assert (tmp_path / "app.py").read_text() == "mine = 1\n"


def test_an_iteration_that_was_overtaken_is_skipped() -> None:
    stream = stream_of(
        events.StandbyReady(1.0),
        events.IterationFinished(2.0, iteration(1, "superseded")),
        events.IterationFinished(3.0, iteration(2)),
    )

    assert stream.iteration(TIMEOUT_S).number == 2


def test_a_standby_is_used_up_by_a_reload() -> None:
    stream = stream_of(
        events.StandbyReady(1.0),
        events.ReloadStarted(2.0, 2, "standby"),
        events.IterationFinished(3.0, iteration(1)),
        events.StandbyReady(4.0),
    )

    assert stream.iteration(TIMEOUT_S).number == 1
    assert not stream.has_standby
    assert stream.standby(TIMEOUT_S)


def test_the_end_of_the_stream_is_told_with_its_reason() -> None:
    problem = events.Problem("OSError", "port 8000 is in use", hint="give another with --port")

    with pytest.raises(HotloopError, match="dev serve stopped: port 8000 is in use"):
        stream_of(events.RuntimeStopped(1.0, problem)).iteration(TIMEOUT_S)
    with pytest.raises(HotloopError, match="dev serve stopped: it gave no reason"):
        stream_of().iteration(TIMEOUT_S)


def test_the_summary_has_a_row_a_save(capsys: pytest.CaptureFixture[str]) -> None:
    tour.print_summary([tour.Row("first start", iteration(0)), tour.Row("the prompt", iteration(1))])

    out = capsys.readouterr().out
    assert "first start" in out
    assert "4.0 ms" in out
