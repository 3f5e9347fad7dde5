"""What is served beside the endpoints: over real sockets with workers that answer when told to, and by a real runtime."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from hotloop import events
from hotloop.gpu_runtime import description as describing
from hotloop.gpu_runtime.calls import Generation
from hotloop.gpu_runtime.description import Description
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.routes import Routes
from hotloop.gpu_runtime.surface import Surface
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.workers import Worker
from tests.gpu_runtime.driver import RuntimeDriver
from tests.gpu_runtime.front import Client, Response, run, serving, until


class Stage:
    """A surface, and a worker that keeps what it was asked."""

    def __init__(self, wait_s: float = 30) -> None:
        self.active: Generation | None = None
        self.description = Description(wait_s)
        self.asked: list[dict[str, Any]] = []
        self.surface = Surface(lambda: self.active, lambda: b"hotloop_x 1\n", self._hand_on, self.description)
        self.can_send = True
        self.port = 0

    def activate(self, number: int, *paths: str) -> None:
        specs = [EndpointSpec(path.strip("/"), path) for path in paths]
        self.active = Generation(number, 10 * number, Routes(specs), [Worker(0, self._send)])

    def documented(self, generation: int, body: bytes = b"{}", **header: Any) -> None:
        self.description.documented(generation, Message({"kind": "documented", **header}, body))

    def _send(self, header: dict[str, Any], _: bytes) -> bool:
        self.asked.append(header)
        return self.can_send

    @staticmethod
    def _hand_on(request: Any) -> None:
        request.respond(200, (), b"handed on")

    async def get(self, target: str, method: str = "GET") -> Response:
        client = await Client.connect(self.port)
        try:
            return await client.get(method, target)
        finally:
            client.close()


@contextlib.asynccontextmanager
async def staged(wait_s: float = 30) -> AsyncIterator[Stage]:
    stage = Stage(wait_s)
    async with serving(stage.surface.handle) as server:
        stage.port = server.port
        yield stage


def test_the_document_is_asked_once_a_generation_and_all_who_wait_get_it():
    async def main():
        async with staged() as stage:
            stage.activate(1)
            waiting = [asyncio.create_task(stage.get("/openapi.json")) for _ in range(3)]
            await until(lambda: len(stage.description._waiting.get(1, ())) == 3)
            stage.documented(1, b'{"a": 1}')
            first = [(await one).json for one in waiting]
            kept = (await stage.get("/openapi.json")).json
            num_asked = len(stage.asked)
            stage.activate(2)
            again = asyncio.create_task(stage.get("/openapi.json"))
            await until(lambda: len(stage.asked) == 2)
            stage.documented(2, b'{"b": 2}')
            return first, kept, num_asked, (await again).json, stage.asked

    first, kept, num_asked, again, asked = run(main())

    assert first == [{"a": 1}] * 3
    assert (kept, num_asked, again) == ({"a": 1}, 1, {"b": 2})
    assert asked == [{"kind": "document", "revision": 10}, {"kind": "document", "revision": 20}]


def test_without_a_generation_it_says_when_to_try_again():
    async def main():
        async with staged() as stage:
            return await stage.get("/openapi.json"), await stage.get("/docs"), await stage.get("/metrics")

    document, page, metrics = run(main())

    assert (document.status, document.headers["retry-after"]) == (503, "1")
    assert document.json["error"]["type"] == "NotReady"
    assert (page.status, metrics.status, metrics.body) == (200, 200, b"hotloop_x 1\n")


def test_a_worker_that_is_busy_or_gone_is_waited_for_no_longer_than_was_said():
    async def main():
        async with staged(wait_s=0.05) as stage:
            stage.activate(1)
            busy = await stage.get("/openapi.json")
            stage.can_send = False
            gone = await stage.get("/openapi.json")
            stage.documented(1)  # too late for both, in time for the next
            return busy, gone, await stage.get("/openapi.json"), stage.description._waiting

    busy, gone, late, waiting = run(main())

    assert [(one.status, one.headers["retry-after"]) for one in (busy, gone)] == [(503, "1")] * 2
    assert (late.status, waiting) == (200, {})


def test_an_app_that_cannot_be_described_says_why():
    async def main():
        async with staged() as stage:
            stage.activate(1)
            waiting = asyncio.create_task(stage.get("/openapi.json"))
            await until(lambda: stage.asked)
            stage.documented(1, error="TypeError: odd")
            return await waiting

    answer = run(main())

    assert (answer.status, answer.json["error"]["message"]) == (500, "TypeError: odd")


def test_a_client_that_leaves_is_waited_for_no_more():
    async def main():
        async with staged() as stage:
            stage.activate(1)
            client = await Client.connect(stage.port)
            client.ask("GET", "/openapi.json")
            await until(lambda: stage.asked)
            client.abort()
            await until(lambda: not stage.description._waiting)

    run(main())


@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 503)])
def test_the_number_of_those_who_wait_is_bounded(extra: int, status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(describing, "MAX_WAITING", 3)

    async def main():
        async with staged() as stage:
            stage.activate(1)
            tasks: list[asyncio.Task[Response]] = []
            for number in range(3 + extra):
                tasks.append(asyncio.create_task(stage.get("/openapi.json")))
                await until(lambda n=number: len(stage.description._waiting.get(1, ())) == n + 1 or tasks[-1].done())
            stage.documented(1)
            return [(await task).status for task in tasks]

    assert run(main())[-1] == status


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/metrics"])
def test_a_path_of_the_users_comes_first(path: str):
    async def main():
        async with staged() as stage:
            before = await stage.get(path, "POST")
            stage.activate(1, path)
            return before, await stage.get(path)

    before, after = run(main())

    assert (before.status, before.headers["allow"]) == (405, "GET, HEAD")
    assert after.body == b"handed on"


def test_the_page_needs_nothing_from_elsewhere():
    async def main():
        async with staged() as stage:
            return await stage.get("/docs"), await stage.get("/docs", "HEAD")

    page, head = run(main())

    text = page.body.decode()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http:" not in text.replace("http://www.w3.org", "")
    assert "https:" not in text
    assert "innerHTML" not in text  # what an app says of itself must stay text
    assert (head.status, head.body) == (200, b"")


APP = """
from collections.abc import Iterator
import hotloop
app = hotloop.App("shop")

@app.endpoint
def count(text: str, times: int = 1) -> int:
    "Count letters."
    return len(text) * times

@app.endpoint
def spell(text: str) -> Iterator[str]:
    yield from text
"""


def test_a_runtime_serves_its_document_page_and_metrics(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as runtime:
        runtime.wait_for(events.Ready)
        first = runtime.get("/openapi.json").json
        revision = runtime.save({"app.py": APP.replace("def count", "def number")})
        runtime.wait_reload(revision)
        second = runtime.get("/openapi.json").json
        page, metrics = runtime.get("/docs"), runtime.get("/metrics")

    validate(first)
    validate(second)
    assert (sorted(first["paths"]), sorted(second["paths"])) == (["/count", "/spell"], ["/number", "/spell"])
    assert second["info"] == {"title": "shop", "version": str(revision)}
    assert page.status == 200
    assert f"\nhotloop_revision {revision}\n" in metrics.body.decode()
    assert json.dumps(first) != json.dumps(second)
