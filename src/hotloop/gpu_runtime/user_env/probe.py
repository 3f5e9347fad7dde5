# pyright: basic
# (runs the user's probes)
"""Run the app's probes in the worker that they test, through the served address, as any client would."""

from __future__ import annotations

import http.client
import inspect
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from hotloop.gpu_runtime.user_env import values
from hotloop.gpu_runtime.user_env.resolve import Plan

REQUEST_TIMEOUT_S = 120.0

Connect = Callable[[], http.client.HTTPConnection]


class ProbeError(Exception):
    """An endpoint answered a probe's request with an error."""

    def __init__(self, status: int, body: str) -> None:
        try:
            message = json.loads(body)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = body.strip()
        super().__init__(f"{status}: {message}")
        self.status = status


class Client:
    """What a probe gets: ``client.embed(text="a cat")`` sends a request to the endpoint of that name.

    Attributes:
        compute_s: Time that the endpoints took, as they reported it, seconds.
    """

    def __init__(self, connect: Connect, probe: str, endpoints: dict[str, tuple[str, bool]]) -> None:
        self._connect = connect
        self._probe = probe
        self._endpoints = endpoints
        self.compute_s = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self._endpoints:
            known = ", ".join(sorted(self._endpoints)) or "none"
            msg = f"the app has no endpoint {name!r}; it has: {known}"
            raise AttributeError(msg)
        path, is_stream = self._endpoints[name]

        def call(**arguments: Any) -> Any:
            items = self._send(path, arguments, is_stream=is_stream)
            return items if is_stream else next(iter(items))

        return call

    def _send(self, path: str, arguments: dict[str, Any], *, is_stream: bool) -> Iterator[Any]:
        connection = self._connect()
        try:
            _, body = values.encode(arguments, "application/json")
            headers = {
                "content-type": "application/json",
                "x-hotloop-probe": self._probe,
                "accept": "application/x-ndjson" if is_stream else "application/json",
            }
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise ProbeError(response.status, response.read().decode("utf-8", "replace"))
            self.compute_s += float(response.headers.get("x-hotloop-compute-ms") or 0) / 1000
            kind = response.headers.get("content-type", "")
            if is_stream:
                yield from _items(response, kind)
            else:
                content = response.read()
                yield json.loads(content) if kind.startswith("application/json") else _plain(content, kind)
        finally:
            connection.close()


def _items(response: http.client.HTTPResponse, kind: str) -> Iterator[Any]:
    if kind.startswith("application/x-ndjson"):
        for line in response:
            yield json.loads(line)
        return
    while chunk := response.read1():
        yield _plain(chunk, kind)


def _plain(content: bytes, kind: str) -> Any:
    return content.decode("utf-8", "replace") if kind.startswith("text/") else content


class ProbeRunner:
    """Runs all probes of a plan, one after the other, in a thread beside the worker's own.

    Args:
        plan: The app, whose endpoints a probe's client can call.
        models: By name.
        tell: Gets a ``probed`` frame for each result, then ``probes_done``.
        describe: Makes a problem of what a probe raised.
        address: Where the app is served, as a URL.
    """

    def __init__(
        self,
        plan: Plan,
        models: dict[str, Any],
        tell: Callable[..., None],
        describe: Callable[[BaseException], dict[str, Any]],
        address: str,
    ) -> None:
        self._address = address
        self._plan = plan
        self._models = models
        self._tell = tell
        self._describe = describe
        self._endpoints = {e.spec.name: (e.spec.path, e.spec.is_stream) for e in plan.endpoints}
        self._first: queue.SimpleQueue[None] | None = None

    def prepare(self) -> None:
        """Have a thread and a connection ready for the first run, which follows at once."""
        if self._plan.probes:
            self._first = queue.SimpleQueue()
            threading.Thread(target=self._wait, args=(self._first,), name="probes", daemon=True).start()

    def start(self) -> None:
        """Begin to run the probes."""
        first, self._first = self._first, None
        if first is not None:
            first.put(None)
            return
        threading.Thread(target=self.run, args=(self._connection,), name="probes", daemon=True).start()

    def _wait(self, told: queue.SimpleQueue[None]) -> None:
        connected = [self._connection()]
        with suppress(OSError):  # the request tries again, and has a place to say it
            connected[0].connect()
        told.get()
        self.run(lambda: connected.pop() if connected else self._connection())

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._address)
        return http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=REQUEST_TIMEOUT_S)

    def run(self, connect: Connect) -> None:
        """Run the probes in this thread."""
        for probe in self._plan.probes:
            self._tell(self._try(probe.spec, connect))
        self._tell({"kind": "probes_done"})

    def _try(self, spec: Any, connect: Connect) -> dict[str, Any]:
        client = Client(connect, spec.name, self._endpoints)
        available = {**self._models, "client": client}
        began_s = time.perf_counter()
        output, trouble = "", None
        try:
            result = spec.function(**{name: available[name] for name in spec.parameters if name in available})
            if inspect.iscoroutine(result):
                import asyncio

                result = asyncio.run(result)
            output = _as_text(result)
        except BaseException as error:  # noqa: BLE001  whatever a probe raises is its result
            trouble = self._describe(error)
        return {
            "kind": "probed", "name": spec.name, "is_ok": trouble is None, "output": output, "problem": trouble,
            "took_s": time.perf_counter() - began_s, "compute_s": client.compute_s,
        }  # fmt: skip


def _as_text(result: Any) -> str:
    if inspect.isgenerator(result):
        result = list(result)
    try:
        _, body = values.encode(result, "application/json")
        return json.dumps(json.loads(body), sort_keys=True, ensure_ascii=False)
    except Exception:  # noqa: BLE001  anything can be shown by its repr
        return repr(result)
