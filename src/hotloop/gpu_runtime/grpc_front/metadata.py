"""A call's metadata as the headers that the dispatcher reads, and an answer's headers as metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hotloop.gpu_runtime.exchange import Headers
from hotloop.gpu_runtime.manners import DEADLINE

Metadata = tuple[tuple[str, str | bytes], ...]

_OF_THE_MESSAGE = frozenset({"content-type", "accept", "content-length", "content-encoding"})  # the request has them
_NAME = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_VALUE = re.compile(rb"[\x20-\x7e]*")
_LEAST_MS = 0.001


def headers_of(metadata: Iterable[tuple[str, str | bytes]], remaining_s: float | None) -> list[tuple[bytes, bytes]]:
    """Give a call's metadata as headers, its deadline among them.

    Args:
        metadata: As gRPC gives it. What is not UTF-8 comes from there as Latin-1.
        remaining_s: Until the call's own deadline; None if it has none.
    """
    headers = [(name.encode(), _bytes(value)) for name, value in metadata if not _is_left_out(name)]
    return headers if remaining_s is None else _with_deadline(headers, remaining_s * 1000)


def metadata_of(headers: Headers) -> Metadata:
    """Give an answer's headers as metadata, but for the content type, which the message has."""
    fields = [(name.decode("latin-1"), value) for name, value in headers]
    return tuple(
        (name, value.decode("ascii"))
        for name, value in fields
        if name not in _OF_THE_MESSAGE and _NAME.fullmatch(name) and _VALUE.fullmatch(value)
    )


def _is_left_out(name: str) -> bool:
    return name in _OF_THE_MESSAGE or name.endswith("-bin")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "replace")


def _with_deadline(headers: list[tuple[bytes, bytes]], remaining_ms: float) -> list[tuple[bytes, bytes]]:
    """Have the sooner deadline first, which is the one that is read; a wrong one stays, to be told so."""
    asked = next((value for name, value in headers if name == DEADLINE), None)
    if asked is not None and not _is_later(asked, remaining_ms):
        return headers
    return [(DEADLINE, b"%.3f" % max(remaining_ms, _LEAST_MS)), *headers]


def _is_later(asked: bytes, remaining_ms: float) -> bool:
    try:
        return remaining_ms < float(asked) < float("inf")
    except ValueError:
        return False
