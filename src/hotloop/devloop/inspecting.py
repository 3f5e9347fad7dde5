"""A failure's local variables in words: the dashboard and the plain lines say it alike. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words

if TYPE_CHECKING:
    from hotloop.variables import KeptFailure, Locals

_KINDS = {"start": "a start", "model": "loading model", "probe": "probe", "call": "a call"}


def nothing(answer: Locals) -> str:
    """Say why an answer has no failure."""
    if answer.kept:
        return "The local variables of this failure are not kept any more: only those of the newest failures are."
    return "No failure has local variables that are kept."


def what_failed(failure: KeptFailure) -> str:
    """Say what a failure was of."""
    return f"{_KINDS[failure.of]} {failure.name}".rstrip() + " failed"


def beside(answer: Locals, step: int) -> str:
    """Give the id of the failure that is so many newer (older, if negative) than the one that is shown; itself at the ends."""
    ids = [each.id for each in reversed(answer.kept)]
    if answer.failure is None or answer.failure.id not in ids:
        return ids[-1] if ids else ""
    return ids[min(max(ids.index(answer.failure.id) + step, 0), len(ids) - 1)]


def lines_of(answer: Locals) -> list[str]:
    """Write it as plain lines: for the clipboard, and for who has no dashboard."""
    failure = answer.failure
    if failure is None:
        return [nothing(answer)]
    lines = [f"{failure.type}: {what_failed(failure)} {words.duration(failure.age_s)} ago"]
    for frame in failure.frames:
        lines += [f"  {frame.file}:{frame.line} in {frame.function}", f"    {frame.source}"]
        lines += [f"      {each.name} = {each.value}" for each in frame.variables]
        lines += [f"      {words.count(frame.num_more, 'more name')}"] if frame.num_more else []
    if failure.num_more:
        lines.append(f"  {words.count(failure.num_more, 'outer frame')} of yours left out")
    return lines
