# pyright: basic
"""What an error of HTTP's is in gRPC: the code, the message, and the body that says more. Basic checks: no types in grpc."""

from __future__ import annotations

import json
from typing import Any

from grpc import StatusCode

from hotloop.gpu_runtime import answers

# A client may take 8 KiB of metadata in all, unless told otherwise; a message's bytes may be written as three each.
MAX_MESSAGE_BYTES = 640
MAX_BODY_BYTES = 4096
_ALWAYS_FITS_BYTES = 160  # of each of four texts, though JSON may write one byte as six
_CUT = "…"

# As Google's APIs map them. What is not here: see `code_of`.
CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    406: StatusCode.INVALID_ARGUMENT,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.ABORTED,
    413: StatusCode.RESOURCE_EXHAUSTED,  # as gRPC itself answers a message that is too large
    415: StatusCode.INVALID_ARGUMENT,
    416: StatusCode.OUT_OF_RANGE,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    501: StatusCode.UNIMPLEMENTED,
    # Not 502: the worker may have run the request, and clients send again by themselves what is UNAVAILABLE.
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


def code_of(status: int) -> StatusCode:
    """Give the code of an HTTP status."""
    if status in CODES:
        return CODES[status]
    match status // 100:
        case 2:
            return StatusCode.OK
        case 4:
            return StatusCode.FAILED_PRECONDITION
        case 5:
            return StatusCode.INTERNAL
        case _:
            return StatusCode.UNKNOWN


def message_of(status: int, body: bytes) -> str:
    """Say in a line or two what an error's body says."""
    error = _error_in(body)
    message = _text(error, "message") or body[:MAX_MESSAGE_BYTES].decode("utf-8", "replace").strip()
    hint = _text(error, "hint")
    text = message or f"The answer is status {status}."
    return _shortened(f"{text}\nHint: {hint}" if hint else text, MAX_MESSAGE_BYTES)


def body_of(body: bytes) -> bytes:
    """Give an error's JSON body as metadata can carry it; empty if it is in another format."""
    error = _error_in(body)
    if error is None or len(body) <= MAX_BODY_BYTES:
        return b"" if error is None else body
    whole = _shortened_body(error, MAX_MESSAGE_BYTES)
    return whole if len(whole) <= MAX_BODY_BYTES else _shortened_body(error, _ALWAYS_FITS_BYTES)


def _shortened_body(error: dict[str, Any], max_bytes: int) -> bytes:
    texts = {name: _shortened(_text(error, name), max_bytes) for name in ("type", "message", "hint", "where")}
    return answers.error_body(texts["type"], texts["message"], texts["hint"], where=texts["where"])


def _error_in(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else None


def _text(error: dict[str, Any] | None, name: str) -> str:
    value = error.get(name) if error is not None else None
    return value if isinstance(value, str) else ""


def _shortened(text: str, max_bytes: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return data.decode()
    return data[: max_bytes - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT
