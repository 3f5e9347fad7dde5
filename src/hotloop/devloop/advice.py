"""What the waiting was for, and what would spare it. Pure: from iterations as the history keeps them.

Every edit is in one share, that of the reason which cost it most, so the shares add up. A share has a fix where one is
known; `advise` gives those that are worth saying.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hotloop.devloop import why
from hotloop.devloop.metrics import WAIT_CAP_S, percentile
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotloop.devloop.metrics import Model, Trip

MIN_EDITS = 3
MIN_SHARE = 0.05  # of all the waiting
MIN_PART = 0.4  # of an edit's time, to be what it was spent on
MIN_PART_S = 0.05
DATA_BYTES = 1_000_000
RESUMED = "resumed"

_SYMBOLS = frozenset({"loader", "value", "class"})
_FILE = re.compile(r"(?P<file>[^\s:]+)(?::\d+)?:? ")
# Such as `load.py:14 encoder() changed`, `app.py: LENGTH changed`, `app.py: class Net changed`.
_CHANGED = re.compile(r"(?P<file>[^\s:]+)(?::\d+)?:? (?P<symbol>(?:class )?[\w.<>]+(?:\(\))?) changed")


@frozen
class Share:
    """What one reason cost.

    Attributes:
        code: One word for the reason, such as ``heavy_import``; stays the same between versions.
        cause: What happened, for people.
        fix: What would avoid it; empty if nothing is known to.
        num_edits: How many edits it made slow; of starts from nothing, how many there were.
        waited_s: How long those were waited for, each capped at 120 s.
        due_s: What of that is the reason's own.
    """

    code: str
    cause: str
    fix: str
    num_edits: int
    waited_s: float
    due_s: float


@frozen
class _Reason:
    """Why one edit took its time. Edits with equal `code` and `subject` make a share."""

    code: str
    subject: str
    due_s: float
    trip: Trip


def shares(trips: Iterable[Trip]) -> tuple[Share, ...]:
    """Divide the waiting of edits by its reasons, the costliest first; first starts and what was asked for are no edits."""
    groups: dict[tuple[str, str], list[_Reason]] = {}
    for trip in trips:
        if trip.is_edit:
            reason = _reason(trip)
            groups.setdefault((reason.code, reason.subject), []).append(reason)
    found = [_share(code, subject, reasons) for (code, subject), reasons in groups.items()]
    return tuple(sorted(found, key=lambda share: (-share.waited_s, share.cause)))


def advise(trips: Sequence[Trip]) -> tuple[Share, ...]:
    """Give what is worth changing, what would save most first."""
    found = shares(trips)
    total_s = sum(share.waited_s for share in found)
    worth = [
        share
        for share in (*found, *_restarts(trips))
        if share.fix and share.num_edits >= MIN_EDITS and share.due_s >= MIN_SHARE * total_s
    ]
    return tuple(sorted([*worth, *_starts(trips)], key=lambda share: (-share.due_s, share.cause)))


def sentence(share: Share) -> str:
    """Say a piece of advice with its evidence in one line."""
    count = (
        "" if share.code == "first_start" else f"{share.num_edits} {'starts' if share.code == 'cold' else 'edits'}, "
    )
    return f"{share.cause} ({count}{minutes(share.due_s)}): {share.fix}"


def minutes(seconds: float) -> str:
    """Write a sum of waiting: ``8 s``, ``4.4 min``, ``1.2 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


# --- the reason of one edit --------------------------------------------------------------------------------------


def _reason(trip: Trip) -> _Reason:
    if trip.outcome == "superseded":
        return _Reason("superseded", "", trip.feedback_s, trip)
    if trip.cause in {"environment", "cold"}:
        return _Reason(trip.cause, "", trip.feedback_s, trip)
    if trip.outcome == "failed":
        return _Reason("failed", "", trip.feedback_s, trip)
    loaded = [model for model in trip.models if model.action == "loaded"]
    return _of_load(trip, loaded) if loaded else _of_code(trip)


def _of_load(trip: Trip, loaded: Sequence[Model]) -> _Reason:
    """The model that others were made from is the reason for them too."""
    roots = [model for model in loaded if not model.why.startswith("it is made from")] or loaded
    slowest = max(roots, key=lambda model: model.took_s)
    due_s = sum(model.took_s for model in loaded)
    if slowest.home == "worker":
        return _Reason("not_resident", slowest.name, due_s, trip)
    code = why.code_of(slowest.why)
    found = _CHANGED.fullmatch(slowest.why)
    if found is not None and code in _SYMBOLS:
        is_own = found["symbol"] == f"{slowest.name}()"
        return _Reason(
            "loader_edited" if is_own else f"loader_{code}", _subject(slowest.name, *found.groups("")), due_s, trip
        )
    if (found := _FILE.match(slowest.why)) is not None and code in {"import", "source"}:
        return _Reason("loader_module", _subject(slowest.name, found["file"]), due_s, trip)
    return _Reason(f"loaded_{code}", _subject(slowest.name, slowest.why if code == "file" else ""), due_s, trip)


def _subject(*parts: str) -> str:
    """What edits have to agree in to be in one share, as `_parts` takes it apart again."""
    return "\n".join(parts)


def _parts(subject: str) -> tuple[str, str, str]:
    model, file, symbol = (*subject.split("\n"), "", "")[:3]
    return model, file, symbol


def _of_code(trip: Trip) -> _Reason:
    """What most of the time went for, if one thing has much of it."""
    candidates = [_Reason("heavy_import", each.name, each.took_s, trip) for each in trip.imports if not each.is_project]
    is_data = trip.import_bytes >= DATA_BYTES
    candidates += [
        _Reason("import_data" if is_data else "own_import", each.name, each.took_s, trip)
        for each in trip.imports
        if each.is_project
    ]
    if trip.probes:
        first = trip.probes[0]
        candidates.append(
            _Reason("slow_probe", first.name, min(first.compute_s, trip.phases_s.get("first_output", 0.0)), trip)
        )
    candidates.append(_Reason("sync", "", trip.phases_s.get("sync", 0.0), trip))
    candidates.append(_Reason("detect", "", trip.phases_s.get("detect", 0.0), trip))
    largest = max(candidates, key=lambda reason: reason.due_s)
    if largest.due_s >= max(MIN_PART * trip.feedback_s, MIN_PART_S):
        return largest
    if trip.start in {"fork", "zygote"}:
        return _Reason(trip.start, "", trip.feedback_s, trip)
    return _Reason("code", "", trip.feedback_s, trip)


# --- a reason in words -------------------------------------------------------------------------------------------


def _share(code: str, subject: str, reasons: Sequence[_Reason]) -> Share:
    cause, fix = _WORDS.get(code, _loaded)(subject, reasons)
    waited_s = sum(min(reason.trip.feedback_s, WAIT_CAP_S) for reason in reasons)
    due_s = sum(min(reason.due_s, WAIT_CAP_S) for reason in reasons)
    return Share(code, cause, fix, len(reasons), waited_s, due_s)


_Words = tuple[str, str]


def _typical(reasons: Sequence[_Reason]) -> str:
    return minutes_or_ms(percentile([reason.due_s for reason in reasons], 0.5))


def minutes_or_ms(seconds: float) -> str:
    """Write a short duration: ``84 ms``, ``1.35 s``, ``12 s``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else minutes(seconds)


def _heavy_import(subject: str, reasons: Sequence[_Reason]) -> _Words:
    return (
        f"{subject} is imported anew at each save, {_typical(reasons)}",
        f"import {subject} in the loader or the function that needs it, not at the top of a module: it can't be kept ahead",
    )


def _own_import(subject: str, reasons: Sequence[_Reason]) -> _Words:
    return (
        f"{subject} runs {_typical(reasons)} of its own statements when it is imported",
        "compute it in an @app.model: that is kept over saves",
    )


def _import_data(subject: str, reasons: Sequence[_Reason]) -> _Words:
    read = percentile([float(reason.trip.import_bytes) for reason in reasons], 0.5) / 1e6
    return (
        f"{subject} reads data when it is imported, {read:.0f} MB and {_typical(reasons)} at each save",
        "read it in an @app.model: that is kept over saves",
    )


def _loader_module(subject: str, reasons: Sequence[_Reason]) -> _Words:
    model, file, _ = _parts(subject)
    return (
        f"{model} was loaded again because {file} changed, {_typical(reasons)} each",
        f"move {model}() and what it uses out of {file} into a file that you edit less often",
    )


def _loader_edited(subject: str, reasons: Sequence[_Reason]) -> _Words:
    model = _parts(subject)[0]
    return (
        f"{model}() itself was edited, and loaded in {_typical(reasons)} each time",
        f"leave in {model}() what loads, and move what you tune into the endpoint or into a small model made from it",
    )


def _loader_symbol(subject: str, reasons: Sequence[_Reason]) -> _Words:
    """Something that the loader reads, calls or makes was edited."""
    model, file, symbol = _parts(subject)
    fixes = {
        "loader_value": f"use {symbol} in the endpoint, not in {model}(): then no change of it loads anything",
        "loader_loader": f"leave in {symbol} what loading needs, and move what you edit into the endpoint",
        "loader_class": f"keep what you edit out of the attributes and bases of {symbol.removeprefix('class ')}: methods are free",
    }
    return (
        f"{model} was loaded again because {symbol} in {file} changed, {_typical(reasons)} each",
        fixes[reasons[0].code],
    )


def _not_resident(subject: str, reasons: Sequence[_Reason]) -> _Words:
    known = (model.why for reason in reasons for model in reason.trip.models if model.name == subject)
    reason = next((found[1] for text in known if (found := re.search(r"can't stay resident: (.+)", text))), "")
    because = f": {reason}" if reason else ""
    return (
        f"{subject} is loaded at every save, {_typical(reasons)}, because it can't stay in memory{because}",
        _RESIDENT_FIXES.get(
            _kind_of(reason),
            f"have {subject}() return data alone (tensors, arrays, plain objects), or write @app.model(hosted=True)",
        ),
    )


def _kind_of(reason: str) -> str:
    return next((kind for kind in _RESIDENT_FIXES if kind in reason), "")


_RESIDENT_FIXES = {
    "also changed": "return everything from the loader, and set no global or object of another module in it",
    "that it was given": "copy the model that the loader is given before changing it",
    "put the project's code into": "register hooks and classes at the top of a module, not in the loader",
    "replaced the profiler": "take the profiler or the debugger out of the loader",
}


def _slow_probe(subject: str, reasons: Sequence[_Reason]) -> _Words:
    return (
        f"the first probe, {subject}, computes for {_typical(reasons)}",
        "write a quicker probe before it (a shorter input, fewer steps): the first result is the feedback",
    )


def _sync(_: str, reasons: Sequence[_Reason]) -> _Words:
    size = percentile([float(reason.trip.size_bytes) for reason in reasons], 0.5)
    if size >= DATA_BYTES:
        return (
            f"{size / 1e6:.0f} MB were sent at each save, in {_typical(reasons)}",
            "name what the app does not need in .hotloopignore",
        )
    return (
        f"sending a save took {_typical(reasons)}",
        "the runner is far or the link is busy: try one nearer by, or --on local",
    )


def _detect(_: str, reasons: Sequence[_Reason]) -> _Words:
    return (
        f"a save was seen {_typical(reasons)} late",
        "keep the project on a local disk: file systems of a network or of a virtual machine tell of no changes",
    )


def _environment(_: str, reasons: Sequence[_Reason]) -> _Words:
    return (
        f"another environment was made, {_typical(reasons)} each time",
        "write several changes of packages in one save: each save makes one environment",
    )


def _cold(_: str, reasons: Sequence[_Reason]) -> _Words:
    return (
        f"a cold restart was asked for, {_typical(reasons)} each time",
        "a save needs none; r loads all models again and is quicker",
    )


def _plain(text: str) -> Callable[[str, Sequence[_Reason]], _Words]:
    return lambda _, __: (text, "")


_WORDS: dict[str, Callable[[str, Sequence[_Reason]], _Words]] = {
    "heavy_import": _heavy_import,
    "own_import": _own_import,
    "import_data": _import_data,
    "loader_module": _loader_module,
    "loader_edited": _loader_edited,
    "loader_value": _loader_symbol,
    "loader_loader": _loader_symbol,
    "loader_class": _loader_symbol,
    "not_resident": _not_resident,
    "slow_probe": _slow_probe,
    "sync": _sync,
    "detect": _detect,
    "environment": _environment,
    "cold": _cold,
    "failed": _plain("the edit failed: time to the error"),
    "superseded": _plain("a newer save came before the outcome"),
    "fork": _plain("no standby was ready yet: the save came soon after a reload"),
    "zygote": _plain("the libraries had to be imported again"),
    "code": _plain("code alone changed, and every model was kept"),
}


def _loaded(subject: str, reasons: Sequence[_Reason]) -> _Words:
    """A model was loaded for a reason that the fingerprint names and no advice fits better."""
    model, reason, _ = _parts(subject)
    code = reasons[0].code.removeprefix("loaded_")
    spoken = reason or next((each.why for each in reasons[0].trip.models if each.name == model and each.why), "")
    cause = f"{model} was loaded again: {spoken}" if spoken else f"{model} was loaded again"
    return cause, why.fix(code)


def _restarts(trips: Sequence[Trip]) -> tuple[Share, ...]:
    """Starts from nothing that were asked for in a session."""
    asked = [_Reason("cold", "", trip.feedback_s, trip) for trip in trips if trip.asked == "restart"]
    return (_share("cold", "", asked),) if asked else ()


def _starts(trips: Sequence[Trip]) -> tuple[Share, ...]:
    """Sessions that began from nothing, where leaving the one before running would have spared it."""
    first = [trip for trip in trips if trip.number == 0 and trip.outcome == "ok" and trip.start != RESUMED]
    if len(first) < MIN_EDITS:
        return ()
    total_s = sum(min(trip.feedback_s, WAIT_CAP_S) for trip in first)
    waited_s = sum(min(trip.feedback_s, WAIT_CAP_S) for trip in trips if trip.is_edit)
    if total_s < max(MIN_SHARE * waited_s, 10.0):
        return ()
    typical = minutes_or_ms(percentile([trip.feedback_s for trip in first], 0.5))
    return (
        Share(
            "first_start",
            f"the app was started from nothing {len(first)} times, {typical} each",
            "leave it running when you quit (d): the next dev serve goes on with it, and no model is loaded",
            len(first),
            total_s,
            total_s,
        ),
    )
