# pyright: basic
"""Compare a probe's output with the one before: lines, and words within a line that changed. Pure.

Basic type checks: what JSON holds has no type.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
from typing import Any, cast

MAX_LINES = 12
MAX_WIDTH = 400
MAX_COMPARED = 500  # lines; matching is quadratic, and this runs between a save and its feedback
RELATIVE_TOLERANCE = 1e-6  # batching and thread counts move a float32 sum by about this much


def compare(before: str, after: str) -> tuple[str, ...]:
    """Say what changed between two outputs.

    Returns:
        Lines that begin with ``-``, ``+`` or a space; empty if the outputs are equal, or differ only in the last
        digits of floats.
    """
    if before == after or _is_close(before, after):
        return ()
    return _cut([_shorten(line) for line in _line_diff(_lines(before)[:MAX_COMPARED], _lines(after)[:MAX_COMPARED])])


def preview(output: str) -> tuple[str, ...]:
    """Cut an output to what fits beside others."""
    return _cut([_shorten(line) for line in _lines(output)])


def words(before: str, after: str) -> tuple[tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    """Split two lines into pieces, each with whether it differs from the other line."""
    old, new = _split(before), _split(after)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        is_changed = tag != "equal"
        left.append(("".join(old[i1:i2]), is_changed))
        right.append(("".join(new[j1:j2]), is_changed))
    return tuple(piece for piece in left if piece[0]), tuple(piece for piece in right if piece[0])


def _split(line: str) -> list[str]:
    pieces: list[str] = []
    for word in line.split(" "):
        pieces += [word, " "]
    return pieces[:-1]


def _lines(output: str) -> list[str]:
    """A text's own lines; of JSON, one line an item, so that the diff points at the item."""
    value: Any = _parsed(output)
    kind = type(value)
    if kind is str:
        return value.splitlines() or [""]
    if kind in {dict, list} and (len(output) > 80 or "\n" in output):
        return json.dumps(value, indent=1, ensure_ascii=False).splitlines()
    return output.splitlines() or [""]


def _parsed(output: str) -> Any:
    try:
        return json.loads(output)
    except ValueError:
        return None


def _is_close(before: str, after: str) -> bool:
    old, new = _parsed(before), _parsed(after)
    return old is not None and new is not None and _close(old, new)


def _close(old: Any, new: Any) -> bool:
    if isinstance(old, float) or isinstance(new, float):
        return _is_number(old) and _is_number(new) and math.isclose(old, new, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9)
    if isinstance(old, list) and isinstance(new, list):
        olds, news = cast("list[Any]", old), cast("list[Any]", new)
        return len(olds) == len(news) and all(map(_close, olds, news))
    if isinstance(old, dict) and isinstance(new, dict):
        ours, theirs = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        return ours.keys() == theirs.keys() and all(_close(ours[key], theirs[key]) for key in ours)
    return type(old) is type(new) and old == new


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line_diff(old: list[str], new: list[str]) -> list[str]:
    """Pair the changed lines one to one, so that the words that changed can be marked in each pair."""
    lines: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for left, right in itertools.zip_longest(old[i1:i2], new[j1:j2]):
            lines += [f"- {left}"] if left is not None else []
            lines += [f"+ {right}"] if right is not None else []
    return lines


def _shorten(line: str) -> str:
    rest = len(line) - MAX_WIDTH
    return line if rest <= 0 else f"{line[:MAX_WIDTH]}… {rest} more characters"


def _cut(lines: list[str]) -> tuple[str, ...]:
    rest = len(lines) - MAX_LINES
    return tuple(lines) if rest <= 0 else (*lines[:MAX_LINES], f"  … {rest} more lines")
