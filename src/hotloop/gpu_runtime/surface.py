"""What is served beside the endpoints: the API's description, its page, the metrics. A user's path comes first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from hotloop.gpu_runtime import answers
from hotloop.gpu_runtime.calls import Exchange, Generation
from hotloop.gpu_runtime.description import Description

_PAGE = Path(__file__).with_name("pages") / "docs.html"
_POLICY = (
    b"default-src 'none'", b"style-src 'unsafe-inline'", b"script-src 'unsafe-inline'", b"connect-src 'self'",
    b"img-src data:", b"base-uri 'none'", b"form-action 'none'", b"frame-ancestors 'none'",
)  # fmt: skip
_PAGE_FIELDS = (
    (b"content-type", b"text/html; charset=utf-8"),
    # Nothing comes from elsewhere, and a description's text can't become a script.
    (b"content-security-policy", b"; ".join(_POLICY)),
    (b"x-content-type-options", b"nosniff"),
)
_METRICS_FIELDS = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)


class Surface:
    """Takes every request, answers those for hotloop's own pages, and hands on the others.

    Args:
        active: Gives the generation that serves, None if there is none.
        metrics: Gives the text of ``/metrics``.
        hand_on: Takes a request that is not for one of these pages.
        description: Makes ``/openapi.json``.
    """

    def __init__(
        self,
        active: Callable[[], Generation | None],
        metrics: Callable[[], bytes],
        hand_on: Callable[[Exchange], None],
        description: Description,
    ) -> None:
        self._active = active
        self._hand_on = hand_on
        self._pages: dict[str, Callable[[Exchange], None]] = {
            "/openapi.json": lambda request: description.answer(request, active()),
            "/docs": lambda request: request.respond(200, _PAGE_FIELDS, _page()),
            "/metrics": lambda request: request.respond(200, _METRICS_FIELDS, metrics()),
        }

    def handle(self, request: Exchange) -> None:
        """Take a request from outside."""
        page = self._pages.get(request.path)
        if page is None or self._is_the_users(request.path):
            self._hand_on(request)
        elif request.method not in {"GET", "HEAD"}:
            body = answers.error_body("MethodNotAllowed", f"{request.path} does not take {request.method}.")
            request.respond(405, answers.json_fields((b"allow", b"GET, HEAD")), body)
        else:
            page(request)

    def _is_the_users(self, path: str) -> bool:
        active = self._active()
        return active is not None and path in active.routes


@cache
def _page() -> bytes:
    return _PAGE.read_bytes()
