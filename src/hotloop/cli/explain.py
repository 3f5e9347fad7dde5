"""`dev explain`: one iteration in full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hotloop.devloop.explain import Explained
    from hotloop.devloop.metrics import Model, Trip

BAR_WIDTH = 30
LABEL_WIDTH = 11


def explain(
    number: Annotated[
        int | None, typer.Argument(metavar="[N]", help="Its number.", show_default="the last one")
    ] = None,
    path: Annotated[Path, typer.Option("--project", help="The project's folder.", show_default="this folder")] = Path(),
    session: Annotated[
        str, typer.Option("--session", metavar="ID", help="Of an earlier session; the id's beginning is enough.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say where an iteration's time went, what was kept or loaded and why, and what would avoid it."""
    from hotloop import config
    from hotloop.devloop import explain as explaining
    from hotloop.devloop import history
    from hotloop.devloop.metrics import Records

    with history.reading(config.find_project(path)) as kept:
        trips = kept.trips() if kept is not None else []
        records = kept.records() if kept is not None else Records()
    found = explaining.explain(explaining.find(trips, number, session), trips, records)
    typer.echo(_json(found) if json else "\n".join(lines(found)))


def _json(found: Explained) -> str:
    import json
    from dataclasses import asdict

    return json.dumps({"schema": 1, **asdict(found)})


def lines(found: Explained) -> list[str]:
    """Lay an iteration out."""
    from hotloop.devloop import words

    trip = found.trip
    said = [_head(trip), _labelled("why", trip.why)]
    if trip.expected_s and trip.outcome == "ok":
        off = (trip.feedback_s - trip.expected_s) / trip.expected_s
        said.append(_labelled("expected", f"{words.duration(trip.expected_s)}: it took {_off(off)}"))
    said += _phases(found)
    said += [_labelled(model.action, _model(model)) for model in trip.models]
    for probe in trip.probes:
        outcome = ("changed" if probe.is_changed else "ok") if probe.is_ok else "failed"
        said.append(_labelled("probe", f"{probe.name}  {outcome}  {words.duration(probe.took_s)}"))
    said += _tests(found)
    if trip.error_type:
        where = f" at {trip.error_file}:{trip.error_line}" if trip.error_file else ""
        said.append(_labelled("error", f"{trip.error_type}{where}"))
    said += [_labelled("fix", found.fix), *_clock(trip), _labelled("session", _session(found))]
    return [line for line in said if line]


def _labelled(label: str, text: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{text}" if text else ""


def _head(trip: Trip) -> str:
    import datetime as dt

    from hotloop.devloop import words

    at = dt.datetime.fromtimestamp(trip.saved_at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    name = f"#{trip.number}" if trip.number else "first start"
    to_what = {"ok": "to feedback", "failed": "to the error"}.get(trip.outcome, "until it was superseded")
    began = f"{trip.asked} asked for" if trip.asked else "saved"
    about = [trip.cause, f"{began} {at}{' (estimated)' if trip.is_save_estimated else ''}"]
    if trip.num_files:
        about.append(f"{words.count(trip.num_files, 'file')}, {words.size(trip.size_bytes)}")
    if trip.generation is not None:
        about.append(f"generation {trip.generation}")
    return f"{name}  {trip.outcome}  {words.duration(trip.feedback_s)} {to_what}  {'  '.join(about)}"


def _off(ratio: float) -> str:
    return "as long" if abs(ratio) < 0.005 else f"{abs(ratio):.0%} {'longer' if ratio > 0 else 'less'}"


def _phases(found: Explained) -> list[str]:
    """Each phase with its time, a bar where it lies in the whole, and its median."""
    from hotloop.devloop import words

    trip, begin_s = found.trip, 0.0
    median = f"median of {words.count(found.num_compared, 'good one')}" if found.num_compared else ""
    said = [f"{'phase':<14}{'took':>8}  {'':<{BAR_WIDTH}}  {median}".rstrip()]
    for name, took_s in trip.phases_s.items():
        bar = _bar(begin_s, took_s, trip.feedback_s)
        begin_s += took_s
        usual = words.duration(found.medians_s[name]) if name in found.medians_s else ""
        said.append(f"  {name.replace('_', ' '):<12}{words.duration(took_s):>8}  {bar:<{BAR_WIDTH}}  {usual}".rstrip())
    return said


def _bar(begin_s: float, took_s: float, total_s: float) -> str:
    if total_s <= 0:
        return ""
    begin = round(begin_s / total_s * BAR_WIDTH)
    end = round((begin_s + took_s) / total_s * BAR_WIDTH)
    return " " * begin + "=" * (end - begin)


def _model(model: Model) -> str:
    from hotloop.devloop import words

    size = f" {words.size(model.size_bytes)}" if model.size_bytes else ""
    home = {"resident": "", "hosted": " hosted", "worker": " not resident"}.get(model.home, "")
    return f"{model.name}{size}{home}  {words.duration(model.took_s)}  {model.why}".rstrip()


def _tests(found: Explained) -> list[str]:
    from hotloop.devloop import words

    run = found.tests
    if run is None:
        return []
    counts = [f"{count} {what}" for count, what in ((run.num_passed, "passed"), (run.num_failed, "failed")) if count]
    said = [_labelled("tests", "  ".join([run.outcome, words.duration(run.took_s), ", ".join(counts)]).rstrip())]
    return said + [_labelled("", f"{kind} at {file}:{line}".strip()) for file, line, kind in run.places if file]


def _clock(trip: Trip) -> list[str]:
    from hotloop.devloop import words

    said: list[str] = []
    if trip.offset_error_s:
        said.append(
            _labelled(
                "clock", f"the runner's is translated within {words.duration(trip.offset_error_s)}; the sum is exact"
            )
        )
    if trip.drift_s:
        said.append(_labelled("", f"it moved by {words.duration(abs(trip.drift_s))} since the iteration before"))
    return said


def _session(found: Explained) -> str:
    return f"{found.trip.session} on {found.runner}" if found.runner else found.trip.session
