"""What `y` copies of the panel that has the focus: what one would paste elsewhere, not what is drawn. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hotloop.tui.panels import probe
from hotloop.tui.panels.empty import curl
from hotloop.tui.panels.error import problem_of, traceback_text

if TYPE_CHECKING:
    from hotloop.tui.state import State, Trip


def copied(panel: str, state: State, shown: str) -> tuple[str, str]:
    """Give what it is called and its text.

    Args:
        panel: Which has the focus.
        state: What is known.
        shown: What is written on it, for panels that hold nothing better.
    """
    trip = state.trip
    if panel in {"iteration", "why"} and trip is not None:
        problem = problem_of(trip)
        return ("the traceback", traceback_text(problem)) if problem is not None else ("the panel", shown)
    if panel in {"history", "iterations"} and trip is not None:
        return f"iteration #{trip.number} as JSON", json.dumps(_facts(trip), indent=2)
    if panel == "probe" and (reports := probe.reports_of(state)):
        report = probe.chosen(reports, state.probe)
        return f"the output of {report.name}", report.output
    if panel in {"runtime", "runtime_strip", "status"} and state.address and state.endpoints:
        return "a request for curl", curl(state.endpoints, state.address)
    return "the panel", shown


def _facts(trip: Trip) -> dict[str, object]:
    return {
        "number": trip.number,
        "outcome": trip.outcome,
        "cause": trip.cause,
        "paths": trip.paths,
        "feedback_s": trip.feedback_s,
        "phases_s": {phase.name: phase.took_s for phase in trip.phases},
        "models": {model.name: f"{model.action}: {model.why}" for model in trip.models},
        "why": trip.why,
    }
