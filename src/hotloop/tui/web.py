# pyright: basic
"""The dashboard in a browser: textual-serve on loopback, behind a token. Basic: textual-serve and aiohttp_jinja2 have no types.

Each tab runs a command of its own. Whoever knows the address may do what the dashboard can, so it holds a token that the
page, the files and the websocket all ask for; the page is this package's own, since textual-serve's loads a font from elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOST = "127.0.0.1"
CLOSE_TIMEOUT_S = 2.0
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}


class _Guarded(Server):
    """Serves a command's dashboards to those who have the token."""

    def __init__(self, command: Sequence[str], title: str, port: int, token: str) -> None:
        page = Path(__file__).parent / "web_page"
        super().__init__(shlex.join(command), host=HOST, port=port, title=title, templates_path=page)
        self._token = token
        self._cookie = f"hotloop-{port}"  # cookies do not tell ports apart

    async def make_app(self) -> web.Application:
        app = await self._make_app()
        app.middlewares.append(self._guard)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: whoever serves says where."""

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.query.get("token") or request.cookies.get(self._cookie, "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise web.HTTPForbidden(text="This dashboard is opened with the whole address that hotloop printed.\n")
        # A name of somebody else's that leads here, and a page of somebody else's that asks with our cookie.
        place = f"{HOST}:{self.port}"
        if request.host != place or urlsplit(request.headers.get("Origin", f"http://{place}")).netloc != place:
            raise web.HTTPForbidden(text=f"This dashboard is at http://{HOST}:{self.port} and nowhere else.\n")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        return response


async def serve(command: Sequence[str], title: str, ready: Callable[[str], None]) -> None:
    """Serve until this process is told to end.

    Args:
        command: What each tab runs: a Textual app.
        title: Of the page.
        ready: Told the address, which holds the token.
    """
    token = secrets.token_urlsafe(24)
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        guarded = _Guarded(command, title, port, token)
        runner = web.AppRunner(await guarded.make_app(), shutdown_timeout=CLOSE_TIMEOUT_S)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        ready(f"http://{HOST}:{port}/?token={token}")
        try:
            await _told_to_end()
        finally:
            await runner.cleanup()


async def _told_to_end() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told.set)
    await told.wait()


def main() -> int:
    """Serve for another process, until its end of stdin is closed: ``python -m hotloop.tui.web TITLE COMMAND...``."""

    def ready(url: str) -> None:
        print(url, flush=True)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)  # nobody reads what textual-serve prints of its apps

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(0, lambda: os.read(0, 4096) or os.kill(os.getpid(), signal.SIGTERM))
        await serve(sys.argv[2:], sys.argv[1], ready)

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
