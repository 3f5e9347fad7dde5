"""Cut the time from save to feedback into its phases. Pure arithmetic on one clock."""

from __future__ import annotations

from dataclasses import replace

from hotloop.frozen import frozen

PHASES = ("detect", "sync", "apply", "reload", "warmup", "first_output")
OTHER = "other"
MAX_OTHER_RATIO = 0.02  # more than this of an iteration that nothing explains is worth saying


@frozen
class Marks:
    """When each thing happened, seconds on one monotonic clock; None if it did not (yet).

    The phases lie between them:

    - detect: saved to seen (the watcher delivered it, any waiting for a burst of saves to end included)
    - sync: seen to applied (reading, hashing, the wire, staging, renaming)
    - environment: applied to the environment that it asks for being there, or failed; left out if it asks for no other
    - apply: applied to started (the agent tells the runtime, the runtime tells a worker)
    - reload: started to imported (the project's modules ran in the new worker)
    - warmup: imported to ready (models attached or loaded, endpoints checked)
    - first_output: ready to shown (the first probe ran and its result was written to the screen)
    - other: what a mark that never came leaves unexplained; left out if there is none

    Attributes:
        clock_error_s: How far the runner's marks, which are all but the first two, may be off: they were translated.
    """

    saved_s: float
    seen_s: float
    applied_s: float | None = None
    started_s: float | None = None
    imported_s: float | None = None
    ready_s: float | None = None
    environment_s: float | None = None
    clock_error_s: float = 0.0


def cut(marks: Marks, end_s: float) -> dict[str, float]:
    """Give each phase its seconds, up to a moment.

    They are contiguous, so they sum to ``end_s - marks.saved_s``. The phase that was under way at the end has the rest. A
    mark out of order (two events of one moment) is moved to its neighbour, never counted twice. Where a mark is missing
    although a later one is there, nobody knows what the time between was for: it is ``other``.
    """
    end_s = max(end_s, marks.saved_s)
    marks = reconciled(marks, end_s)
    names, boundaries = _boundaries(marks)
    last = max((i for i, boundary_s in enumerate(boundaries) if boundary_s is not None), default=-1)
    phases: dict[str, float] = {}
    cursor_s, other_s, is_known = marks.saved_s, 0.0, True
    for number, (name, boundary_s) in enumerate(zip(names, boundaries, strict=True)):
        if boundary_s is None and number < last:
            phases[name], is_known = 0.0, False
            continue
        until_s = end_s if boundary_s is None else min(max(boundary_s, cursor_s), end_s)
        phases[name] = until_s - cursor_s if is_known else 0.0
        other_s += 0.0 if is_known else until_s - cursor_s
        cursor_s, is_known = until_s, True
    return {**phases, OTHER: other_s} if other_s else phases


def _boundaries(marks: Marks) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    begin = (marks.seen_s, marks.applied_s)
    rest = (marks.started_s, marks.imported_s, marks.ready_s, None)
    if marks.environment_s is None:
        return PHASES, (*begin, *rest)
    return (*PHASES[:2], "environment", *PHASES[2:]), (*begin, marks.environment_s, *rest)


def reconciled(marks: Marks, end_s: float) -> Marks:
    """Move the runner's marks, all by as much, where they can't be true beside those of this machine.

    They are translated from another clock, which errs by up to half a round trip. Nothing is applied before it was seen
    here, and nothing is shown here before it happened there: that bounds the error more tightly. They are never moved by
    more than the error, and where both can't be met the first holds.
    """
    marks_there = (marks.applied_s, marks.environment_s, marks.started_s, marks.imported_s, marks.ready_s)
    there = [at_s for at_s in marks_there if at_s is not None]
    if not there or not marks.clock_error_s:
        return marks
    early_s = max(marks.seen_s - min(there), 0.0)
    late_s = max(max(there) - end_s, 0.0)
    shift_s = early_s or -min(late_s, max(min(there) - marks.seen_s, 0.0))
    shift_s = min(max(shift_s, -marks.clock_error_s), marks.clock_error_s)
    return _moved(marks, shift_s) if shift_s else marks


def _moved(marks: Marks, shift_s: float) -> Marks:
    def moved(at_s: float | None) -> float | None:
        return None if at_s is None else at_s + shift_s

    return replace(
        marks,
        applied_s=moved(marks.applied_s),
        started_s=moved(marks.started_s),
        imported_s=moved(marks.imported_s),
        ready_s=moved(marks.ready_s),
        environment_s=moved(marks.environment_s),
    )


def other_ratio(phases_s: dict[str, float]) -> float:
    """Give the share of an iteration that nothing explains."""
    total_s = sum(phases_s.values())
    return phases_s.get(OTHER, 0.0) / total_s if total_s > 0 else 0.0
