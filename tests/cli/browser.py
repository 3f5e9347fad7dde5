"""A headless Chromium, driven by the little of its DevTools protocol that tests need."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import shutil
import subprocess
from contextlib import asynccontextmanager

import aiohttp
import pytest

DEADLINE_S = 30.0
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find():
    """The browser's path, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self.requested = []  # addresses
        self.statuses = {}  # of addresses

    async def call(self, method, **parameters):
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(DEADLINE_S):
            async for message in self._socket:
                said = message.json()
                self._note(said.get("method"), said.get("params"))
                if said.get("id") == number:
                    assert "error" not in said, said
                    return said["result"]
        pytest.fail(f"the browser went away during {method}")

    def _note(self, method, about):
        if method == "Network.requestWillBeSent":
            self.requested.append(about["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requested.append(about["url"])
        elif method == "Network.responseReceived":
            self.statuses[about["response"]["url"]] = about["response"]["status"]

    async def open(self, url):
        await self.call("Page.enable")
        await self.call("Network.enable")
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression):
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, expression):
        """Wait until an expression is true; gives its value."""
        async with asyncio.timeout(DEADLINE_S):
            while not (value := await self.evaluate(expression)):  # noqa: ASYNC110  it tells of nothing
                await asyncio.sleep(0.05)
        return value

    async def text_until(self, wanted):
        """Wait until the terminal in the page shows a text; gives all that it shows."""
        rows = "(document.querySelector('.xterm-rows') || {}).innerText || ''"
        try:
            return await self.until(f"(t => t.includes({wanted!r}) ? t : '')({rows})")
        except TimeoutError:
            pytest.fail(f"the page does not show {wanted!r}, but: {await self.evaluate(rows)}")

    async def type(self, text):
        await self.call("Input.insertText", text=text)

    async def screenshot(self):
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@asynccontextmanager
async def browser(profile):
    """Open a browser with one empty tab; without WebGL the terminal in it writes its text as text."""
    command = [
        find(),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-3d-apis",
        "--disable-dev-shm-usage",
    ]
    command += ["--window-size=1100,700", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(  # noqa: ASYNC220
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tab = next(each for each in await answer.json() if each["type"] == "page")
            async with client.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


async def _port(file):
    async with asyncio.timeout(DEADLINE_S):
        while not (file.exists() and (lines := file.read_text().splitlines())):  # noqa: ASYNC110  a file
            await asyncio.sleep(0.05)
    return int(lines[0])
