"""Which pages of other origins may read answers: browsers ask first, and look for a header (CORS).

Source: https://fetch.spec.whatwg.org/#http-cors-protocol. Nothing here protects the app: who is no browser never asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from hotloop.events import Notice
from hotloop.gpu_runtime import answers
from hotloop.gpu_runtime.exchange import Headers, Request

if TYPE_CHECKING:
    from hotloop.events import Event

ANY = "*"
ASKED_AGAIN_AFTER_S = 600
MAX_TOLD = 16  # origins that were refused and said: whoever sends others may send endlessly many
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"


class CrossOrigin:
    """Takes a browser's questions, marks answers as readable, and hands on the requests.

    Args:
        origins: Those that may, such as ``http://localhost:3000``; `ANY` among them stands for all.
        hand_on: Takes a request.
        emit: Gets a notice when a page is refused: its developer sees only that the browser does so.
    """

    def __init__(
        self, origins: Collection[str], hand_on: Callable[[Request], None], emit: Callable[[Event], None]
    ) -> None:
        self._origins = {origin.encode() for origin in origins}
        self._is_any = ANY in origins
        self._hand_on = hand_on
        self._emit = emit
        self._told: set[bytes] = set()

    def handle(self, request: Request) -> None:
        """Take a request from outside."""
        origin = request.head.origin
        if origin and not self._goes_on(request, origin):
            return
        self._hand_on(request)

    def _goes_on(self, request: Request, origin: bytes) -> bool:
        """Look at a request that a page sends; give whether it is for the app, and no question of the browser's."""
        method = request.header(b"access-control-request-method") if request.method == "OPTIONS" else b""
        if self._is_any or origin in self._origins:
            request.fields = self._allowed(origin)
            if method:
                self._permit(request)
            return not method
        if method:
            self._refuse(request, origin)
        if not _is_own(request, origin):
            self._tell(origin, request.path)
        return not method

    def _allowed(self, origin: bytes) -> Headers:
        expose = (b"access-control-expose-headers", b"*")
        if self._is_any:
            return ((b"access-control-allow-origin", b"*"), expose)
        return ((b"access-control-allow-origin", origin), (b"vary", b"origin"), expose)

    @staticmethod
    def _permit(request: Request) -> None:
        wanted = request.header(b"access-control-request-headers")
        fields = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", b"%d" % ASKED_AGAIN_AFTER_S),
        ]
        request.respond(204, fields, own=[(b"access-control-allow-headers", wanted)] if wanted else ())

    @staticmethod
    def _refuse(request: Request, origin: bytes) -> None:
        message = f"Pages of {_shown(origin)} may not call this app."
        body = answers.error_body("OriginNotAllowed", message, f"Allow it in pyproject.toml: {_setting(origin)}")
        request.respond(403, answers.json_fields(), body)

    def _tell(self, origin: bytes, path: str) -> None:
        if origin in self._told or len(self._told) >= MAX_TOLD:
            return
        self._told.add(origin)
        shown = _shown(origin)
        text = f"a page of {shown} called {path}, and browsers keep the answer from it"
        hint = f"allow it in pyproject.toml, under [tool.hotloop], and start again: {_setting(origin)}"
        self._emit(Notice(time.monotonic(), f"origin {shown}", text, hint))


def _is_own(request: Request, origin: bytes) -> bool:
    """Whether a page that this app served sent it; a proxy may have changed the host, so browsers' own word counts too."""
    return request.header(b"sec-fetch-site") == b"same-origin" or origin.partition(b"://")[2] == request.header(b"host")


def _setting(origin: bytes) -> str:
    allowed = _shown(origin) if b"://" in origin else ANY  # a page of no site, such as a file, sends "null"
    return f'cors_origins = ["{allowed}"]'


def _shown(origin: bytes) -> str:
    return origin[:100].decode("latin-1")
