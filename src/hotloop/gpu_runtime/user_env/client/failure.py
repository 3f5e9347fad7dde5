# pyright: basic
# The bodies are whatever a server sent.
"""What a client raises: one type, with what the server said in its one shape of errors."""

from __future__ import annotations

import json
from typing import Any

BEGUN = "RevisionMoved"  # a 503 that an endpoint gives which had begun, and found a module of its own saved again
MAX_SHOWN = 2000  # characters of a body that is not in the shape of errors


class ClientError(Exception):
    """A call gave no result.

    Attributes:
        status: As in HTTP; 0 if no answer came.
        type: What kind of error, such as ``TooManyRequests`` or the name of the exception that the endpoint raised.
        message: What happened.
        hint: What to do about it, or an empty string.
        where: The user's own line, or the path to a wrong value; or an empty string.
        retry_after_s: When the server said to come back, seconds from its answer; None if it did not.
        may_have_run: Whether the endpoint may have run: if so, only an idempotent call can be sent again.
    """

    def __init__(
        self,
        status: int,
        type_: str,
        message: str,
        *,
        hint: str = "",
        where: str = "",
        retry_after_s: float | None = None,
        may_have_run: bool = False,
    ) -> None:
        place = f" ({where})" if where and where not in message else ""
        text = f"{status or type_}: {message}{place}"
        super().__init__(f"{text}\nhint: {hint}" if hint else text)
        self.status = status
        self.type = type_
        self.message = message
        self.hint = hint
        self.where = where
        self.retry_after_s = retry_after_s
        self.may_have_run = may_have_run


def refused(status: int, headers: dict[str, str], body: bytes) -> ClientError:
    """Make the error of an answer whose status is no success."""
    error = _described(body)
    message = _text(error, "message") or body[:MAX_SHOWN].decode("utf-8", "replace").strip() or "no reason was given"
    hint = _text(error, "hint")
    if 300 <= status < 400:
        message = f"the server redirects to {headers.get('location', 'an address that it does not name')}"
        hint = "give the client that address: redirects are not followed"
    type_ = _text(error, "type") or f"Status{status}"
    return ClientError(
        status,
        type_,
        message,
        hint=hint,
        where=_text(error, "where"),
        retry_after_s=retry_after_s(headers.get("retry-after", "")),
        may_have_run=status in {500, 502, 504} or type_ == BEGUN,
    )


def in_stream(error: Any) -> ClientError:
    """Make the error that a stream ended with."""
    found = error if isinstance(error, dict) else {"message": str(error)}
    type_ = _text(found, "type") or "StreamBroken"
    message = _text(found, "message") or "the stream broke off"
    hint, where = _text(found, "hint"), _text(found, "where")
    return ClientError(200, type_, message, hint=hint, where=where, may_have_run=True)


def retry_after_s(value: str) -> float | None:
    """Read a Retry-After header: seconds, or a date; None if it is neither."""
    if value.strip().isdecimal():
        return float(value)
    if not value:
        return None
    import time
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _described(body: bytes) -> dict[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {"message": str(error)}


def _text(error: dict[str, Any], key: str) -> str:
    value = error.get(key)
    return value if isinstance(value, str) else ""
