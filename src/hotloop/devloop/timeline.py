"""Cut the time from save to feedback into its phases. Pure arithmetic on one clock."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = ("detect", "sync", "apply", "reload", "warmup", "first_output")


@dataclass(frozen=True, slots=True)
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
    """

    saved_s: float
    seen_s: float
    applied_s: float | None = None
    started_s: float | None = None
    imported_s: float | None = None
    ready_s: float | None = None
    environment_s: float | None = None


def cut(marks: Marks, end_s: float) -> dict[str, float]:
    """Give each phase its seconds, up to a moment.

    They are contiguous, so they sum to ``end_s - marks.saved_s``. The phase that was under way at the end has the
    rest. A mark out of order (two events of one moment) is moved to its neighbour, never counted twice.
    """
    boundaries = dict(
        zip(
            PHASES, (marks.seen_s, marks.applied_s, marks.started_s, marks.imported_s, marks.ready_s, None), strict=True
        )
    )
    if marks.environment_s is not None:
        boundaries = {"detect": marks.seen_s, "sync": marks.applied_s, "environment": marks.environment_s, **boundaries}
    phases: dict[str, float] = {}
    cursor_s, end_s = marks.saved_s, max(end_s, marks.saved_s)
    for name, boundary_s in boundaries.items():
        until_s = end_s if boundary_s is None else min(max(boundary_s, cursor_s), end_s)
        phases[name] = until_s - cursor_s
        cursor_s = until_s
    return phases
