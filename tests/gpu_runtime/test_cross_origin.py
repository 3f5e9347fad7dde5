"""Pages of other origins: which may read answers, what their browsers are told, and what the app's developer is."""

from __future__ import annotations

import contextlib
import json

import pytest

from hotloop.gpu_runtime.cross_origin import MAX_TOLD, CrossOrigin
from hotloop.gpu_runtime.exchange import Likeness, Request
from tests.gpu_runtime.front import Client, run, serving

PAGE = "http://localhost:3000"
ASKS = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type, x-api-key")
LIKE = Likeness(200, ((b"content-type", b"text/plain"),), ())


def answer(request: Request) -> None:
    """In each of the ways in which a front answers."""
    match request.path:
        case "/stream":
            request.begin(200, [(b"content-type", b"text/plain")])
            request.write(b"piece")
            request.finish()
        case "/like":
            request.respond_like(LIKE, (b"x-own", b"1"), b"alike")
        case _:
            request.respond(200, [], b"whole")


@contextlib.asynccontextmanager
async def opened(origins, on_request=answer):
    told = []
    async with serving(CrossOrigin(origins, on_request, told.append).handle) as server:
        yield await Client.connect(server.port), told


@pytest.mark.parametrize("path", ["/whole", "/stream", "/like"])
@pytest.mark.parametrize(("origins", "allowed"), [([PAGE], PAGE), (["*"], "*"), (["https://a", PAGE], PAGE)])
def test_a_page_of_an_origin_that_may_reads_every_kind_of_answer(path, origins, allowed):
    async def main():
        async with opened(origins) as (client, told):
            return [await client.get("GET", path, b"", f"Origin: {PAGE}") for _ in range(2)], told

    answers, told = run(main())
    for each in answers:
        assert (each.status, each.headers["access-control-allow-origin"]) == (200, allowed)
        assert each.headers["access-control-expose-headers"] == "*"
        assert each.headers.get("vary") == (None if allowed == "*" else "origin")
    assert not told


def test_what_no_browser_sends_is_answered_as_ever():
    async def main():
        async with opened([PAGE]) as (client, told):
            return await client.get("GET", "/like"), told

    response, told = run(main())
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert not told


def test_a_browsers_question_is_answered_and_not_handed_on():
    asked = []

    async def main():
        async with opened([PAGE], asked.append) as (client, _):
            return await client.get("OPTIONS", "/chat", b"", f"Origin: {PAGE}", *ASKS)

    response = run(main())
    assert (response.status, asked) == (204, [])
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "POST" in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-headers"] == "content-type, x-api-key"


@pytest.mark.parametrize("origins", [[], ["https://localhost:3000"], ["http://localhost"], [PAGE + "0"]])
def test_the_page_of_another_is_refused_and_its_developer_told_once_how_to_allow_it(origins):
    async def main():
        async with opened(origins) as (client, told):
            asked = await client.get("OPTIONS", "/chat", b"", f"Origin: {PAGE}", *ASKS)
            return asked, await client.get("POST", "/chat", b"", f"Origin: {PAGE}"), told

    asked, sent, told = run(main())
    assert asked.status == 403
    assert json.loads(asked.body)["error"]["hint"] == f'Allow it in pyproject.toml: cors_origins = ["{PAGE}"]'
    assert (sent.status, sent.body) == (200, b"whole")
    assert "access-control-allow-origin" not in asked.headers.keys() | sent.headers.keys()
    (notice,) = told
    assert notice.text == f"a page of {PAGE} called /chat, and browsers keep the answer from it"
    assert f'cors_origins = ["{PAGE}"]' in notice.hint


@pytest.mark.parametrize("more", [("Origin: http://test",), ("Origin: http://proxied", "Sec-Fetch-Site: same-origin")])
def test_the_apps_own_pages_are_no_others(more):
    async def main():
        async with opened([]) as (client, told):
            return (await client.get("POST", "/chat", b"", *more)).status, told

    assert run(main()) == (200, [])


def test_an_app_has_its_own_answer_to_options_for_what_is_no_browsers_question():
    async def main():
        async with opened([PAGE]) as (client, _):
            return await client.get("OPTIONS", "/chat", b"", f"Origin: {PAGE}")

    assert run(main()).body == b"whole"


def test_a_page_of_no_site_is_named_as_it_is_and_the_hint_allows_all():
    async def main():
        async with opened([]) as (client, told):
            await client.get("POST", "/chat", b"", "Origin: null")
            return told

    (notice,) = run(main())
    assert "a page of null called" in notice.text
    assert notice.hint.endswith('cors_origins = ["*"]')


def test_endless_origins_are_not_endless_notices():
    async def main():
        async with opened([]) as (client, told):
            for number in range(MAX_TOLD + 5):
                await client.get("POST", "/chat", b"", f"Origin: http://page{number}")
            return told

    assert len(run(main())) == MAX_TOLD
