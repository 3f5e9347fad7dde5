"""The answers that the runtime gives by itself: errors as JSON, and the end of a stream that broke."""

from __future__ import annotations

import json
import math
from typing import Any

from hotloop.events import Problem
from hotloop.gpu_runtime import oom
from hotloop.gpu_runtime.exchange import Headers

JSON_TYPE = b"application/json"
_JSON_FIELD = (b"content-type", JSON_TYPE)
RETRY_AFTER = (b"retry-after", b"1")


def retry_after(wait_s: float) -> tuple[bytes, bytes]:
    """Say when to try again, in whole seconds as the header has it."""
    return (b"retry-after", b"%d" % max(1, math.ceil(wait_s)))


def json_fields(*more: tuple[bytes, bytes]) -> Headers:
    """Give the headers of a JSON answer."""
    return (_JSON_FIELD, *more)


def encode(value: Any) -> bytes:
    """Write JSON as people read it, ending in a line break."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def error_body(kind: str, message: str, hint: str = "", **more: Any) -> bytes:
    """Write ``{"error": {"type", "message", "hint"}}``, the one shape of all errors."""
    return encode({"error": {"type": kind, "message": message, "hint": hint, **more}})


def problem_body(problem: Problem) -> bytes:
    """Write a problem of the user's app, with the place to look."""
    where = problem.where
    place = {"where": f"{where.file}:{where.line}"} if where is not None else {}
    return error_body(problem.type, problem.message, problem.hint, **place)


def lost_body(path: str, cause: str, *, is_idempotent: bool) -> bytes:
    """Say that a worker died with a request that may have run."""
    if is_idempotent:
        message = f"The worker died ({cause}) while {path} ran, and so did the one that it was tried on again."
        return error_body("WorkerLost", message, "This request may be what kills the worker: see its last log lines.")
    message = f"The worker died ({cause}) while {path} ran. The request may have run, so it was not tried again."
    again = "With idempotent=True on the endpoint, such requests are tried again."
    return error_body("WorkerLost", message, oom.hint(cause) if cause == oom.KILLED else again)


def deadline_body(waited_s: float, *, is_over: bool) -> bytes:
    """Say that a request was not begun because of its deadline."""
    passed = "passed" if is_over else "could not be met any more"
    message = f"The request's deadline {passed} after it had waited {waited_s * 1000:.0f} ms."
    hint = "Send fewer at a time, or allow more in x-hotloop-deadline-ms."
    return error_body("DeadlineExceeded", message, hint, stage="queue")


def stream_error(text: str) -> dict[str, Any]:
    """Make the error of a broken stream: the worker's own if it sent JSON, else one around its text."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value if "error" in value else {"error": value}  # pyright: ignore[reportUnknownVariableType]
    return {"error": {"type": "StreamBroken", "message": text, "hint": ""}}


def stream_epitaph(content_type: str, error: dict[str, Any]) -> tuple[bytes, bool]:
    """Write a broken stream's last piece.

    Returns:
        The bytes, and whether the format has a place for them, so that the stream may end well-formed. If not, the
        connection has to be cut, or the client would take what it got for the whole.
    """
    line = json.dumps(error, ensure_ascii=False)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return f"event: error\ndata: {line}\n\n".encode("utf-8", "replace"), True
    if kind in {"application/x-ndjson", "application/jsonl", "application/json-lines"}:
        return f"{line}\n".encode("utf-8", "replace"), True
    if kind.startswith("text/"):
        return f"\n{line}\n".encode("utf-8", "replace"), False
    return b"", False
