"""What the runtime serves by itself: health, readiness, the list of endpoints, and "too many"."""

from __future__ import annotations

from hotloop.events import Problem
from hotloop.gpu_runtime import answers
from hotloop.gpu_runtime.calls import Exchange, Generation


def answer_health(request: Exchange, active: Generation | None, failure: Problem | None) -> None:
    """Answer ``/health`` (the process is up) or ``/ready`` (a generation serves)."""
    if request.method not in {"GET", "HEAD"}:
        body = answers.error_body("MethodNotAllowed", f"{request.path} does not take {request.method}.")
        request.respond(405, answers.json_fields((b"allow", b"GET, HEAD")), body)
    elif request.path == "/health" or active is not None:
        state = {} if active is None else {"generation": active.number, "revision": active.revision}
        request.respond(200, answers.json_fields(), answers.encode({"status": "ok", **state}))
    elif failure is not None:
        request.respond(503, answers.json_fields(answers.RETRY_AFTER), answers.problem_body(failure))
    else:
        body = answers.error_body("NotReady", "No generation serves yet.", "It is starting, or loading models.")
        request.respond(503, answers.json_fields(answers.RETRY_AFTER), body)


def index_body(active: Generation) -> bytes:
    """List what a generation serves."""
    listing = active.routes.listing()
    return answers.encode({"endpoints": listing, "generation": active.number, "revision": active.revision})


def full_body(what: str, max_queued: int) -> bytes:
    """Say that no more requests may wait."""
    message = f"{max_queued} requests wait for {what} already."
    return answers.error_body("TooManyRequests", message, "Send fewer at a time, or try again later.")
