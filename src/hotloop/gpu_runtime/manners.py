"""What a request's headers ask of the queue: a deadline, a class, whose it is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from hotloop.frozen import frozen
from hotloop.gpu_runtime.scheduler.waiting import ORDINARY, Priority, Wants

DEADLINE = b"x-hotloop-deadline-ms"
PRIORITY = b"x-hotloop-priority"
API_KEY = b"x-api-key"
AUTHORIZATION = b"authorization"
PROBE = b"x-hotloop-probe"
_CONTENT_TYPE, _ACCEPT = b"content-type", b"accept"
_KEPT_BYTES = 512
_NAMES = frozenset({DEADLINE, PRIORITY, API_KEY, AUTHORIZATION})
_PRIORITIES = {priority.name.lower().encode(): priority for priority in Priority}
_SHOWN_CHARS = 40


class NotUnderstoodError(ValueError):
    """A header of hotloop's has a value that it can't have. The text is for the client."""


@frozen
class Asked:
    """What headers ask for, whenever a request with them comes.

    Attributes:
        wants: Of the queue; None if that depends on when it comes.
        is_probe: Whether it is hotloop's own probe.
        item: What its worker has to know of it; one object for all that are alike.
    """

    wants: Wants | None
    is_probe: bool
    item: Mapping[str, str]


def item_of(headers: Iterable[tuple[bytes, bytes]], query: str) -> Mapping[str, str]:
    """Say what a worker has to know of a request, of that what there is."""
    found = {_CONTENT_TYPE: b"", _ACCEPT: b""}
    found.update(field for field in headers if field[0] in found)
    item = _item if sum(map(len, found.values())) <= _KEPT_BYTES else _item.__wrapped__
    given = item(found[_CONTENT_TYPE], found[_ACCEPT])
    return {**given, "query": query} if query else given


@lru_cache(maxsize=256)
def _item(content_type: bytes, accept: bytes) -> Mapping[str, str]:
    item = {"type": content_type.decode("latin-1"), "accept": accept.decode("latin-1")}
    return {name: value for name, value in item.items() if value}


class Manners:
    """Reads what requests ask for.

    Args:
        weights: How much of the machine an API key is due beside others; 1 for those that are not named.

    Attributes:
        weights: The same by tenant.

    Raises:
        ValueError: A weight is not a number above 0.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        wrong = [weight for weight in weights.values() if not 0 < weight < math.inf]
        if wrong:
            msg = f"an API key has the weight {wrong[0]!r}: expected a number above 0"
            raise ValueError(msg)
        self.weights = {tenant_of(key.encode()): weight for key, weight in weights.items()}

    def ask(self, headers: Sequence[tuple[bytes, bytes]], query: str) -> Asked:
        """Say what headers ask for whenever a request with them comes.

        Raises:
            NotUnderstoodError: A header's value is wrong.
        """
        wants = self.read(headers, 0.0)
        is_probe = bool(next((value for name, value in headers if name == PROBE), b""))
        return Asked(wants if wants.deadline_at_s == math.inf else None, is_probe, item_of(headers, query))

    def read(self, headers: Iterable[tuple[bytes, bytes]], now_s: float) -> Wants:
        """Say what a request wants that came at ``now_s``.

        Raises:
            NotUnderstoodError: A header's value is wrong.
        """
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _NAMES:
                found.setdefault(name, value)
        return self._wants(found, now_s) if found else ORDINARY

    def _wants(self, found: dict[bytes, bytes], now_s: float) -> Wants:
        key = found.get(API_KEY) or found.get(AUTHORIZATION)
        return Wants(
            priority=_priority(found[PRIORITY]) if PRIORITY in found else Priority.NORMAL,
            tenant=tenant_of(key) if key else "",
            deadline_at_s=now_s + _deadline_s(found[DEADLINE]) if DEADLINE in found else math.inf,
        )


@lru_cache(maxsize=1024)
def tenant_of(key: bytes) -> str:
    """Name whoever has a key, without telling the key."""
    return hashlib.sha256(key).hexdigest()[:16]


def _priority(value: bytes) -> Priority:
    priority = _PRIORITIES.get(value.strip().lower())
    if priority is None:
        msg = f"{PRIORITY.decode()} is {_shown(value)}: expected interactive, normal or bulk"
        raise NotUnderstoodError(msg)
    return priority


def _deadline_s(value: bytes) -> float:
    try:
        deadline_s = float(value) / 1000
    except ValueError:
        deadline_s = math.nan
    if not 0 < deadline_s < math.inf:
        msg = f"{DEADLINE.decode()} is {_shown(value)}: expected milliseconds from now, above 0"
        raise NotUnderstoodError(msg)
    return deadline_s


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN_CHARS].decode("latin-1"))
