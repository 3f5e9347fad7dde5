"""How an endpoint's requests are gathered, as the user writes it."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from hotloop.gpu_runtime.user_env.mistakes import AppError, is_number, is_whole, place_of_caller

MAX_MS = 60_000
_ON_ERROR = ("fail", "bisect", "single")


class Done(Enum):
    """The type of `DONE`, for annotations: ``Iterator[list[str | hotloop.Done]]``."""

    DONE = "done"

    def __repr__(self) -> str:
        return "hotloop.DONE"


DONE: Final = Done.DONE
"""As an entry of what a batched generator yields: that request's stream is complete."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How requests are gathered for an endpoint that takes lists.

    The function returns a list with one entry a request. If it is a generator it serves the streams of all of them at a
    time, as a decode loop does. It yields a list with one entry a request, or a dict of those that have something,
    ``{index: item}``; the entry `DONE` ends a request's stream. The value of ``yield`` is the set of the indexes whose
    clients have gone since; what is yielded for those, or behind `DONE`, goes nowhere::

        @app.endpoint(batch=hotloop.Batch(max_size=8))
        def chat(prompt: list[str], model):
            active = {index: model.start(text) for index, text in enumerate(prompt)}
            while active:
                tokens = model.step(active)  # {index: text}
                gone = yield {i: hotloop.DONE if text == model.end else text for i, text in tokens.items()}
                active = {i: s for i, s in active.items() if tokens[i] != model.end and i not in (gone or ())}

    Called by hand, in a unit test, such a generator is iterated with ``for``: ``yield`` then gives None.

    Attributes:
        max_size: Most requests in one call.
        max_wait_ms: The longest that a batch waits for others though the worker is free. It waits only while they
            come so soon that all are answered earlier for it: never at low load.
        key: A request's size. A batch holds requests of like size, as long as another call would cost more than the
            padding. A function gets the request's values in the order of the endpoint's parameters, such as ``len``;
            ``"auto"`` is the length of the request's body; a number makes all alike. None: in order of arrival.
        max_cost: Most that a call may cost: its requests times the largest of their sizes, such as tokens with their
            padding. Needs a key. A request that exceeds it alone goes alone.
        target_ms: How soon a request should be answered, in place of ``max_wait_ms``: how many go together, and how
            long they wait for others, follows from it and from the times that calls take.
        on_error: What becomes of a batch under which the function raises. ``fail``: all of it fails. ``bisect``: its
            halves are tried again, and theirs. ``single``: each is tried alone. Then one bad request fails alone, but
            the others run more than once.

    Raises:
        AppError: A value is out of range.
    """

    max_size: int = 32
    max_wait_ms: float = 0
    key: Callable[..., Any] | Literal["auto"] | float | None = None
    max_cost: float | None = None
    target_ms: float | None = None
    on_error: Literal["fail", "bisect", "single"] = "fail"

    def __post_init__(self) -> None:
        wrong = _first_wrong(self)
        if wrong is not None:
            name, expected, hint = wrong
            msg = f"Batch({name}={getattr(self, name)!r}): expected {expected}"
            raise AppError(msg, hint, *place_of_caller(depth=2))

    def to_header(self) -> dict[str, Any]:
        """Say what the front has to know."""
        key = "asked" if callable(self.key) else "bytes" if self.key == "auto" else self.key
        return {
            "max_size": self.max_size, "max_wait_ms": self.max_wait_ms, "key": key, "max_cost": self.max_cost,
            "target_ms": self.target_ms,
        }  # fmt: skip


def item_of_step(hint: Any) -> Any:
    """Say what one client gets of what a batched generator yields, by its annotation: an entry that is not `DONE`."""
    from hotloop.gpu_runtime.user_env import hints

    arguments = typing.get_args(hints.strip(hint))
    origin = typing.get_origin(hints.strip(hint))
    if origin not in {list, tuple, dict} or not arguments:
        return Any
    entry = hints.strip(arguments[1 if origin is dict else 0])
    if not hints.is_union(entry):
        return entry
    members = [member for member in typing.get_args(entry) if member is not Done]
    return typing.Union[tuple(members)]  # noqa: UP007  made of what is left


def _first_wrong(batch: Batch) -> tuple[str, str, str] | None:
    """Name the first value that is wrong, what was expected, and a hint."""
    if not is_whole(batch.max_size) or batch.max_size < 1:
        return "max_size", "a whole number, 1 or more", "max_size=1 turns batching off"
    if not is_number(batch.max_wait_ms) or not 0 <= batch.max_wait_ms <= MAX_MS:
        return "max_wait_ms", f"milliseconds, 0 to {MAX_MS}", ""
    if not _is_key(batch.key):
        return "key", 'a function of one request, such as len, or "auto", or a number above 0', ""
    return _first_wrong_limit(batch)


def _first_wrong_limit(batch: Batch) -> tuple[str, str, str] | None:
    if batch.max_cost is not None and not _is_above_zero(batch.max_cost):
        return "max_cost", "a number above 0", ""
    if batch.max_cost is not None and batch.key is None:
        return "max_cost", "a key beside it, for it counts sizes", 'write key="auto", or max_size to count requests'
    if batch.target_ms is not None and not (_is_above_zero(batch.target_ms) and batch.target_ms <= MAX_MS):
        return "target_ms", f"milliseconds, above 0 to {MAX_MS}", ""
    if batch.target_ms is not None and batch.max_wait_ms:
        return "target_ms", "no max_wait_ms beside it", "the target says how long a batch may wait: drop max_wait_ms"
    if batch.on_error not in _ON_ERROR:
        return "on_error", " or ".join(f'"{word}"' for word in _ON_ERROR), ""
    return None


def _is_key(key: Any) -> bool:
    return key is None or key == "auto" or callable(key) or _is_above_zero(key)


def _is_above_zero(value: Any) -> bool:
    return is_number(value) and 0 < value < math.inf
