"""Why an iteration cost what it cost: a code to count by, a sentence, and what would avoid it. Pure.

The sentences name files, symbols and versions. They hold no value of the user's: a loader's reason may end in
``(old -> new)`` or in an exception's text, which are cut off, so what is made here may be kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop import events

_PLACE = r"[^\s:]+"
_REASONS: tuple[tuple[str, str], ...] = (  # the code, and how the reason of a model's load begins
    ("first", r"first load"),
    ("asked", r"asked for"),
    ("replica", r"each worker has its own"),
    ("option", r"mutable=\w+ now"),
    ("dependency", r"it is made from \w+, which was loaded(?: again)?"),
    ("hosted_code", r"[\w.]+ changed, and the hosted model holds code of the project"),
    ("source", rf"{_PLACE} changed, and the loader looks at source text"),
    ("import", rf"{_PLACE}: a statement that runs on import changed"),
    ("import", rf"{_PLACE}: \w+ changed, which a statement that runs on import leads to"),
    ("class", rf"{_PLACE}: class [\w.]+ changed"),
    ("loader", rf"{_PLACE}(?::\d+)? the module's own statements changed"),
    ("loader", r"(?:\S+ )?[\w.<>]+\(\) (?:changed|is another function now)"),
    ("loader", rf"{_PLACE}: [\w.<>]+\(\) is gone"),
    ("value", rf"{_PLACE}: \w+ changed"),
    ("variable", r"environment variable \w+ changed"),
    ("file", r"the files in [^;]+/ changed"),
    ("package", r"[\w.-]+ [\w.+!-]+ -> (?:not installed|[\w.+!-]+)"),
    ("setting", r"[\w. ]+ changed(?= \()"),
    ("file", r"[^;:(]+ (?:changed|kept changing while it was read)"),
)

# Why a result can't outlive its process, where that names only things of the project and no value.
_CANNOT_STAY = (
    r"its loader also changed [\w.]+|its loader changed the model '\w+' that it was given"
    r"|its loader put the project's code into [\w.]+|its loader \(or something it calls\) replaced the profiler"
)

_FIXES = {
    "import": "move what runs on import and is not needed for loading out of that file",
    "loader": "keep the loader in a file that is not edited often, apart from the endpoints",
    "class": "keep the model's class in a file that is not edited often",
    "value": "what is edited often should be no constant that the loader reads: take it in the endpoint",
    "source": "keep what reads source text out of the loader",
    "file": "read what changes often in the endpoint, not in the loader",
    "hosted_code": "keep the hosted model's code in a file that is not edited often",
    "not_resident": "a loader that returns data alone (tensors, arrays, plain objects) can be kept",
    "variable": "read that variable in the endpoint, not in the loader",
}


@frozen
class Reason:
    """What made something cost what it cost.

    Attributes:
        code: One word: ``loader``, ``file``, ``no_standby``; see docs/experience.md.
        text: A sentence without its full stop.
    """

    code: str
    text: str


def fix(code: str) -> str:
    """Say what would avoid it; empty if nothing is known to."""
    return _FIXES.get(code, "")


def of_model(model: events.ModelOutcome) -> Reason:
    """Say why a model was kept or loaded."""
    if model.action == "kept":
        return Reason("kept", "in memory" if model.why == "in memory" else "fingerprint equal")
    reason = _of_load(model.why)
    stays = re.search(rf"; it can't stay resident: (?:{_CANNOT_STAY})", model.why)
    return Reason(reason.code, reason.text + stays[0]) if stays else reason


def code_of(text: str) -> str:
    """Name the reason of a load in one word."""
    return _of_load(text).code


def _of_load(text: str) -> Reason:
    for code, pattern in _REASONS:
        if found := re.match(rf"(?:{pattern})(?=$|[ ;(])", text):
            return Reason(code, found[0])
    return Reason("unknown", "for a reason that is not kept")


def of_iteration(iteration: events.Iteration) -> Reason:
    """Say what made an iteration cost what it cost."""
    if iteration.outcome == "superseded":
        return Reason("superseded", "a newer save came before its outcome")
    if iteration.outcome == "failed":
        return _failed(iteration)
    if iteration.cause == "environment":
        return Reason("environment", "it waited for another environment")
    loaded = [model for model in iteration.models if model.action == "loaded"]
    if iteration.cause == "cold" or not loaded:
        return _unloaded(iteration, len(loaded))
    slowest = max(loaded, key=lambda model: model.took_s)
    reason = of_model(slowest)
    more = f", and {len(loaded) - 1} more" if len(loaded) > 1 else ""
    if slowest.home == "worker":
        return Reason("not_resident", f"{slowest.name}{more} can't stay in memory: loaded by each new worker")
    return Reason(reason.code, f"{slowest.name}{more} was loaded: {reason.text}")


def _failed(iteration: events.Iteration) -> Reason:
    problem = iteration.problem
    if problem is None:
        return Reason("failed", "it did not come to a result")
    where = f" at {problem.where.file}:{problem.where.line}" if problem.where is not None else ""
    return Reason("failed", f"{problem.type}{where}")


def _unloaded(iteration: events.Iteration, num_loaded: int) -> Reason:
    match iteration:
        case _ if iteration.cause == "cold" and not num_loaded and (iteration.models or not iteration.start):
            return Reason(
                "resumed", "the app was running" + (", and every model was in memory" if iteration.models else "")
            )
        case _ if iteration.cause == "cold":
            return Reason("cold", "a start from nothing: libraries were imported and every model was loaded")
        case _ if iteration.start == "zygote":
            return Reason("zygote", "the libraries had to be imported again")
        case _ if iteration.start == "fork":
            return Reason("no_standby", "no standby was ready yet: the save came soon after a reload")
        case _:
            return Reason(
                "code", "only code changed: every model was kept" if iteration.models else "only code changed"
            )
