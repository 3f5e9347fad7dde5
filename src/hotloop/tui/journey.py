"""How an iteration advances through its phases while it runs, and what is said about it. Pure.

While it runs its phases are cut where events were seen; when it is finished its own record replaces that.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.expectation import ENVIRONMENT, expected, expected_whole, phase_names, with_cause
from hotloop.tui.state import Phase, Trip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotloop import events

    Recent = Mapping[str, Sequence[Mapping[str, float]]]

STARTS = {"standby": "into the standby", "fork": "into a new fork", "zygote": "into a new zygote", "": ""}
RESUMED = "resumed"
OUT_OF_MEMORY = ("OutOfMemoryError", "OutOfMemory", "MemoryError", "_ArrayMemoryError")
_MEMORY = re.compile(
    r"out of memory|can.t allocate memory|unable to allocate", re.IGNORECASE
)  # CUDA, PyTorch on CPUs, NumPy


def begun(number: int, began_s: float, cause: str, recent: Recent, paths: tuple[str, ...] = ()) -> Trip:
    """Make the iteration that just began: its first phase runs."""
    trip = Trip(number, "running", cause, began_s, paths, phases=tuple(Phase(n, None) for n in phase_names(cause)))
    return advanced(with_cause(trip, cause, recent), "detect", began_s, words.paths(paths))


def advanced(trip: Trip, name: str, at_s: float, note: str = "") -> Trip:
    """Have a phase run: those before it are over. One that is over already stays so."""
    names = [phase.name for phase in trip.phases]
    if name not in names or _is_over(trip, name):
        return trip
    index = names.index(name)
    phases: list[Phase] = []
    spent_s = sum(phase.took_s or 0.0 for phase in trip.phases)
    for phase in trip.phases[:index]:
        took_s = phase.took_s if phase.took_s is not None else max(at_s - trip.began_s - spent_s, 0.0)
        spent_s += took_s if phase.took_s is None else 0.0
        phases.append(replace(phase, took_s=took_s, is_live=False))
    here = trip.phases[index]
    phases.append(replace(here, is_live=True, note=note or here.note))
    ahead = (replace(phase, is_live=False) for phase in trip.phases[index + 1 :])
    return replace(trip, phases=(*phases, *ahead))


def _is_over(trip: Trip, name: str) -> bool:
    return next(phase for phase in trip.phases if phase.name == name).took_s is not None


def noted(trip: Trip, notes: Mapping[str, str]) -> Trip:
    """Say what was done in phases."""
    return replace(trip, phases=tuple(replace(p, note=notes.get(p.name) or p.note) for p in trip.phases))


def restarted(trip: Trip, at_s: float, start: str) -> Trip:
    """Have it run from its reload on: a worker was told to, perhaps another one than before."""
    names = [phase.name for phase in trip.phases]
    index = names.index("reload")
    later = tuple(replace(p, took_s=None, is_live=False) for p in trip.phases[index:])
    return advanced(replace(trip, phases=(*trip.phases[:index], *later)), "reload", at_s, STARTS.get(start, ""))


def finished(trip: Trip | None, iteration: events.Iteration, at_s: float, recent: Recent) -> Trip:
    """Make the iteration as its record says; `recent` is what was known before it."""
    known = expected(recent, cause_of(iteration))
    shown = {phase.name: phase.note for phase in trip.phases} if trip is not None else {}
    notes = {**shown, **_notes(iteration)}
    phases = tuple(
        Phase(name, took_s, known.get(name), note=notes.get(name, "")) for name, took_s in iteration.phases_s.items()
    )
    return Trip(
        number=iteration.number,
        outcome=iteration.outcome,
        cause=cause_of(iteration),
        began_s=at_s - iteration.feedback_s,
        paths=iteration.paths,
        size_bytes=iteration.size_bytes,
        phases=phases,
        feedback_s=iteration.feedback_s,
        expected_s=expected_whole(recent, cause_of(iteration)),
        models=iteration.models or (trip.models if trip is not None else ()),
        why=why(iteration, trip.why if trip is not None else ""),
        fix=iteration.fix,
        problem=iteration.problem,
        probes=iteration.probes,
        tests=trip.tests if trip is not None else None,
        generation=iteration.generation,
        saved_at_s=iteration.saved_at_s,
    )


def cause_of(iteration: events.Iteration) -> str:
    """Give its cause; of a first start that found the app running ``resumed``, which is none that others are measured by."""
    return RESUMED if iteration.why_code == RESUMED else iteration.cause


def _notes(iteration: events.Iteration) -> dict[str, str]:
    notes = {"detect": words.paths(iteration.paths), "reload": STARTS.get(iteration.start, "")}
    if iteration.size_bytes:
        notes["sync"] = words.size(iteration.size_bytes)
    if iteration.models:
        notes["warmup"] = models_note(iteration.models)
    if iteration.probes:
        first = iteration.probes[0]
        more = f" and {len(iteration.probes) - 1} more" if len(iteration.probes) > 1 else ""
        notes["first_output"] = f"probe {first.name}{more}"
    elif iteration.outcome == "ok":
        notes["first_output"] = "no probe"
    return {name: note for name, note in notes.items() if note}


def models_note(models: Sequence[events.ModelOutcome]) -> str:
    """Say in a few words what was done with models."""
    loaded = [model.name for model in models if model.action == "loaded"]
    if loaded:
        return f"loaded {words.paths(loaded)}"
    kept = sum(model.action == "kept" for model in models)
    return f"{words.count(kept, 'model')} kept" if kept else ""


def why(iteration: events.Iteration, known: str = "") -> str:
    """Say in one sentence what made an iteration cost what it cost; empty if there is nothing to say."""
    if known and iteration.cause == "code" and iteration.outcome == "ok":
        return known  # such as of an edit that was undone
    if iteration.why:
        return iteration.why
    if iteration.outcome == "superseded":
        return "a newer save came before its first output"
    if iteration.number == 0:
        return "the first start: everything is loaded"
    if iteration.cause == "cold":
        return "a cold restart, as you asked"
    if iteration.cause == ENVIRONMENT:
        return known or "it waited for another environment"
    loaded = [model for model in iteration.models if model.action == "loaded"]
    if loaded:
        return f"{loaded[0].name} was loaded: {loaded[0].why}"
    if iteration.outcome == "failed" or not iteration.models:
        return known
    return f"code alone: no edit reached how {_which(len(iteration.models))} loaded"


def _which(count: int) -> str:
    return "the model is" if count == 1 else f"the {count} models are"


def is_out_of_memory(problem: events.Problem | None) -> bool:
    """Whether a failure is for want of memory."""
    if problem is None:
        return False
    return problem.type.rpartition(".")[2] in OUT_OF_MEMORY or bool(_MEMORY.search(problem.message))
