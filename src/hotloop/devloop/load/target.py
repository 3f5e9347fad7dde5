"""What load is sent at: an endpoint of a running server, and the bytes of the requests."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hotloop.errors import HotloopError, RunnerError, UsageError
from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.client import address as addresses
from hotloop.gpu_runtime.user_env.client import endpoints, request
from hotloop.gpu_runtime.user_env.client.connection import Pool
from hotloop.gpu_runtime.user_env.client.failure import ClientError, refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.gpu_runtime.user_env.client.address import Address
    from hotloop.gpu_runtime.user_env.client.endpoints import Endpoint

CHECK_TIMEOUT_S = 60.0
_KINDS = {".json": "application/json", ".npy": "application/x-npy", ".msgpack": "application/msgpack"}
_WRONG_USE = frozenset({400, 404, 405, 413, 415, 422})
_PASSING = frozenset({429, 503})  # load may well be refused


@frozen
class Target:
    """An endpoint of a server.

    Attributes:
        requests: Whole requests, sent in turn.
    """

    address: Address
    endpoint: Endpoint
    requests: tuple[bytes, ...]


def json_content(text: str, where: str) -> request.Content:
    """Check a body of JSON.

    Raises:
        UsageError: It is no object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        msg = f"{where} is not JSON: {error}"
        raise UsageError(msg, hint="""write the arguments as an object, such as --data '{"text": "a cat"}'""") from None
    if not isinstance(value, dict):
        msg = f"{where} is {text[:40]!r}, an object of the endpoint's arguments was expected"
        raise UsageError(msg, hint="""write it as: --data '{"text": "a cat"}'""")
    return request.Content(request.JSON, "", text.strip().encode())


def file_content(path: Path) -> request.Content:
    """Read a body; its type follows from the file's name, bytes if that says nothing.

    Raises:
        UsageError: The file can't be read.
    """
    return request.Content(_KINDS.get(path.suffix.lower(), request.OCTETS), "", _read(path))


def line_contents(path: Path) -> list[request.Content]:
    """Read one JSON object a line, each a body.

    Raises:
        UsageError: The file can't be read, or a line is no object.
    """
    lines = _read(path).decode("utf-8", "replace").splitlines()
    found = [json_content(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        msg = f"{path} holds no line"
        raise UsageError(msg, hint="write one JSON object a line, each the arguments of a request")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror}"
        raise UsageError(msg, hint="give the path of a file with what a request carries") from None


def find(url: str, name: str, contents: Sequence[request.Content], headers: Sequence[str] = ()) -> Target:
    """Find an endpoint of a running server and write the requests.

    Raises:
        UsageError: The address is none, or it has no such endpoint.
        RunnerError: The server can't be reached.
    """
    try:
        address = replace(addresses.parse(url), proxy=None)  # what would be measured is the proxy
    except ValueError as error:
        raise UsageError(str(error), hint="write it as: --url http://127.0.0.1:8000") from None
    lines = (f"accept: {request.ACCEPT}", *headers)
    found = _find(address, name, lines)
    written = [request.write(address, found.method, found.path, fitting(found, c), lines) for c in contents]
    return Target(address, found, tuple(written))


def _find(address: Address, name: str, lines: Sequence[str]) -> Endpoint:
    if name.startswith("/"):
        return endpoints.Endpoint(name, name)
    try:
        _, _, body = ask(address, request.write(address, "GET", "/", request.Content("", "", b""), lines))
        catalog = endpoints.Catalog(endpoints.listed(body))
    except ClientError as error:
        raise RunnerError(error.message, hint=error.hint or "see that dev serve runs") from None
    found = catalog.find(name)
    if found is None:
        msg = f"{address.url} has no endpoint {name!r}"
        raise UsageError(msg, hint=f"it has: {catalog.known()}")
    return found


def fitting(endpoint: Endpoint, content: request.Content) -> request.Content:
    """Move arguments to the query for an endpoint that takes no body.

    Raises:
        UsageError: They can't be in a query.
    """
    if endpoint.method != "GET" or content.type != request.JSON:
        return content
    arguments = cast("dict[str, Any]", json.loads(content.body))
    try:
        return request.encode("GET", arguments, can_be_raw=False)
    except TypeError as error:
        msg = f"{endpoint.path} takes its arguments in the query, and {error}"
        raise UsageError(msg, hint="give it words and numbers") from None


def check(target: Target, timeout_s: float = CHECK_TIMEOUT_S) -> None:
    """Send one request, to fail at once and with a reason if load would only be errors.

    Args:
        target: Where to.
        timeout_s: How long the answer may take.

    Raises:
        UsageError: The endpoint does not take it.
        RunnerError: The server can't be reached.
        HotloopError: The endpoint fails.
    """
    try:
        status, headers, body = ask(target.address, target.requests[0], timeout_s)
    except ClientError as error:
        raise RunnerError(error.message, hint=error.hint or "see that the server runs") from None
    if status < 300 or status in _PASSING:
        return
    error = refused(status, headers, body)
    msg = f"{target.endpoint.path} answered {status}: {error.message}" + (f" ({error.where})" if error.where else "")
    if status in _WRONG_USE:
        raise UsageError(msg, hint=error.hint or "give what it takes with --data, --file or --lines")
    raise HotloopError(msg, hint=error.hint or "see that one request works before sending many")


def ask(address: Address, data: bytes, timeout_s: float = CHECK_TIMEOUT_S) -> tuple[int, dict[str, str], bytes]:
    """Send one request and wait for the whole answer: status, headers, body. Blocks.

    Raises:
        ClientError: There is none.
    """
    pool = Pool(address)
    give_up_at_s = time.monotonic() + timeout_s
    connection = pool.get(timeout_s, give_up_at_s)
    try:
        reader = connection.send(data, timeout_s, give_up_at_s)
        pieces: list[bytes] = []
        while not reader.is_done:
            pieces += connection.pieces(reader)
        return reader.status, reader.headers, b"".join(pieces)
    finally:
        connection.close()
