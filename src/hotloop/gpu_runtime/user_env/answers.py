# pyright: basic
# The exceptions and the results are the user's.
"""What a worker answers: one item's status, type and body, also for what went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env import problem, values
from hotloop.gpu_runtime.user_env.advice import Holders
from hotloop.gpu_runtime.user_env.app import AppError, EndpointSpec, at
from hotloop.gpu_runtime.user_env.hosted import HostedModelDied
from hotloop.gpu_runtime.user_env.items import columns
from hotloop.gpu_runtime.user_env.jsonable import NotEncodable
from hotloop.gpu_runtime.user_env.lending import Buffer
from hotloop.gpu_runtime.user_env.source import Project, RevisionMoved
from hotloop.gpu_runtime.user_env.variables import Variables

CANCELLED_STATUS = 499  # nobody reads it: the client is gone
_NO_ROWS = (str, bytes, bytearray, Mapping, AbstractSet)


@frozen
class Answer:
    """One item's answer.

    Attributes:
        status: As in HTTP.
        type: The content type.
        body: The bytes.
        error: One line that says what went wrong, empty if nothing did.
        lost_host: The number of a hosted model's process that was gone; 0 for none.
        is_doubles: Whether the body is floats that the front has to write: see `doubles`.
        tail: What follows the body, as it lies in an array of the user's.
    """

    status: int
    type: str
    body: bytes
    error: str = ""
    tail: memoryview | None = None
    lost_host: int = 0
    is_doubles: bool = False

    @property
    def pieces(self) -> tuple[Buffer, ...]:
        """All of it, in order."""
        return (self.body,) if self.tail is None else (self.body, self.tail)


CANCELLED = Answer(CANCELLED_STATUS, values.TEXT, b"", "cancelled")


def refused(error: values.BadRequest) -> Answer:
    """Answer a request that is not what its endpoint takes."""
    return _error(error.status, {"type": "BadRequest", "message": error.message, "where": error.where})


def failed(error: BaseException, project: Project, variables: Variables | None = None, holders: Holders = ()) -> Answer:
    """Answer a request under which the user's code raised, write the traceback to the log, and have its variables kept."""
    if isinstance(error, RevisionMoved):
        path = project.relative(str(error))
        message = f"{path} was saved again while this request wanted to import it; send the request again"
        return _error(503, {"type": "RevisionMoved", "message": message, "where": ""})
    described = problem.from_exception(error, project, holders=holders)
    print(problem.as_text(described), file=sys.stderr, flush=True)
    if variables is not None:
        variables.keep_call(error, described)
    summary = {"type": described["type"], "message": described["message"], "where": problem.where_of(described)}
    if described["hint"]:
        summary["hint"] = described["hint"]
    answer = _error(500, summary, described)
    return replace(answer, lost_host=error.host) if isinstance(error, HostedModelDied) else answer


def _error(status: int, summary: dict[str, str], described: dict[str, Any] | None = None) -> Answer:
    content: dict[str, Any] = {"error": summary}
    if described is not None:
        content["problem"] = described
    body = json.dumps(content).encode("ascii")  # escapes: a message may hold half a surrogate pair
    place = f" ({summary['where']})" if summary["where"] else ""
    return Answer(status, values.JSON, body, f"{summary['type']}: {summary['message']}{place}")


def item_of(item_id: int, answer: Answer) -> dict[str, Any]:
    """Describe one request's answer in a frame's header; the body goes into the payload."""
    item: dict[str, Any] = {
        "id": item_id,
        "status": answer.status,
        "type": answer.type,
        "size": sum(map(len, answer.pieces)),
    }
    if answer.lost_host:
        item["lost_host"] = answer.lost_host
    if answer.is_doubles:
        item["is_doubles"] = True
    return item


def result_frame(
    call_id: int, compute_s: float, answers: list[tuple[int, Answer]], **more: Any
) -> tuple[dict[str, Any], list[Buffer]]:
    """Make the frame that answers a call: the requests' identifiers and answers, in order."""
    items = [item_of(item_id, answer) for item_id, answer in answers]
    header = {"kind": "result", "id": call_id, "compute_s": compute_s, "items": items, **more}
    return header, [piece for _, answer in answers for piece in answer.pieces]


def alike_frame(
    call_id: int, compute_s: float, ids: Sequence[int], bodies: list[bytes], **more: Any
) -> tuple[dict[str, Any], list[bytes]]:
    """Make the frame that answers a call whose requests all have a result in JSON."""
    answered = columns(ids, list(map(len, bodies)), {"status": 200, "type": values.JSON})
    return {"kind": "result", "id": call_id, "compute_s": compute_s, **answered, **more}, bodies


def entries_of(value: Any) -> list[Any] | None:
    """Give the entries of what a batched endpoint returned or yielded; None if it is no list, tuple, array or the like.

    Raises:
        Exception: It is of a class of the user's, which raised.
    """
    if type(value) is list:
        return value
    is_row = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    # A table gives its columns' names.
    if not is_row or isinstance(value, _NO_ROWS) or type(value).__name__ == "DataFrame":
        return None
    try:
        return list(value)
    except TypeError:  # an array without dimensions
        return None


def wrong_length(spec: EndpointSpec, wanted: int, result: Any, entries: list[Any] | None) -> AppError:
    """Say that a batched endpoint did not return one result a request."""
    where = f"endpoint {spec.name!r} at {at(spec.file, spec.line)}"
    if entries is None:
        msg = f"{where} is batched and returned a {type(result).__name__}: expected a list with one entry a request"
    else:
        msg = f"{where} is batched and returned {len(entries)} results for {wanted} requests"
    return AppError(msg, "return one result for each entry of the list, in the same order", spec.file, spec.line)


def not_encodable(spec: EndpointSpec, error: NotEncodable) -> AppError:
    """Say which part of an endpoint's result has no form in JSON."""
    msg = f"endpoint {spec.name!r} at {at(spec.file, spec.line)}: {error}"
    advice = "return str, numbers, bytes, lists, dicts, dataclasses, pydantic models or arrays"
    return AppError(msg, advice, spec.file, spec.line)
