"""The dashboard in a real browser: behind its token, and gone with its tab while the loop goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.cli.browser import DEADLINE_S, browser, find

from hotloop.devloop import control

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
DEV = [sys.executable, "-m", "hotloop.cli.main"]
APP = """
import hotloop

app = hotloop.App("tiny")
PREFIX = "hello"


@app.endpoint
def greet(name: str) -> str:
    print(f"greeting by {PREFIX}")
    return f"{PREFIX} {name}"


@app.probe
def ada(client):
    return client.greet(name="Ada")
"""

pytestmark = [pytest.mark.timeout(150), pytest.mark.xdist_group("web")]  # one session for all


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A project that is served with `--ui web`, its address, the process, and the variables to reach it with."""
    if find() is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    folder, state = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("state")
    (folder / "app.py").write_text(APP)
    environment = {**os.environ, "HOTLOOP_STATE_DIR": str(state)}
    command = [*DEV, "serve", "--ui", "web", "--port", "0", "--python", BARE_PYTHON]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        said = iter(process.stdout.readline, "")
        found = next(
            filter(None, (re.search(r"dashboard (http://127\.0\.0\.1:\d+/\?token=\S+)", line) for line in said))
        )
        assert any("✓ started" in line for line in said)
        yield folder, found[1], process, environment
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.wait(DEADLINE_S)
        process.stdout.close()
    assert web_processes(folder) == []


def web_processes(folder):
    """What runs for the browser: who serves the pages, and a dashboard a tab."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(folder) in command and "attach" in command and command[:1] == [sys.executable]:
            found.append("hotloop.tui.web" in command)
    return sorted(found)


async def processes_until(folder, wanted):
    async with asyncio.timeout(DEADLINE_S):
        while web_processes(folder) != wanted:  # noqa: ASYNC110  of other processes
            await asyncio.sleep(0.05)


@asynccontextmanager
async def answer(url, **options):
    async with aiohttp.ClientSession() as client, client.get(url, **options) as said:
        yield said


def test_a_tab_shows_the_dashboard_and_closing_it_leaves_the_loop_running(served, tmp_path):
    folder, url, process, environment = served

    async def main():
        async with browser(tmp_path / "profile") as page:
            await page.open(url)
            await page.text_until("greeting by hello")
            text = (folder / "app.py").read_text()
            (folder / "app.py").write_text(text.replace('"hello"', '"hi"'))
            await page.text_until("greeting by hi")
            picture = await page.screenshot()
            await page.type("4")  # nobody clicked into the page
            await page.text_until("where it went")
            await page.open(url.partition("?")[0])  # again, with the cookie in place of the token
            await page.text_until("greeting by hi")
            elsewhere = [each for each in page.requested if "://127.0.0.1:" not in each]
            statuses = {each: status for each, status in page.statuses.items() if not each.endswith("favicon.ico")}
            await processes_until(folder, [False, True])  # one a tab: the first page's is gone
        await processes_until(folder, [True])
        return picture, elsewhere, statuses

    picture, elsewhere, statuses = asyncio.run(main())

    assert picture.startswith(b"\x89PNG")
    assert elsewhere == []
    assert set(statuses.values()) == {200}
    assert process.poll() is None
    socket = control.control_path(Path(environment["HOTLOOP_STATE_DIR"]), control.project_id(folder))
    status = control.ask(socket, {"name": "status"})
    assert status["pid"] == process.pid


def test_nothing_is_given_without_the_token_nor_to_pages_from_elsewhere(served):
    folder, url, *_ = served
    base, _, token = url.partition("?token=")
    port = base.rstrip("/").rpartition(":")[2]

    async def status(path, **options):
        async with answer(f"{base}{path}", **options) as said:
            return said.status, await said.text()

    async def main():
        refused = [
            await status(""),
            await status("?token=wrong"),
            await status("static/js/textual.js"),
            await status("static/"),
            await status("ws"),
            await status("download/x"),
            await status("", cookies={f"hotloop-{port}": "wrong"}),
            await status(f"?token={token}", headers={"Host": f"evil.example:{port}"}),
            await status(f"ws?token={token}", headers={"Origin": "http://evil.example"}),
        ]
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.WSServerHandshakeError) as handshake:
                await client.ws_connect(f"{base}ws")
        async with answer(url) as page:
            return refused, handshake.value.status, page.status, page.headers, await page.text()

    refused, handshake, page, headers, text = asyncio.run(main())

    assert [code for code, _ in refused] == [403] * 9
    assert all(token not in said for _, said in refused)
    assert handshake == 403
    assert page == 200
    assert "googleapis" not in text
    assert token not in text
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert web_processes(folder) == [True]


def test_attach_serves_a_session_in_a_browser_and_leaves_it(served, tmp_path):
    folder, _, process, environment = served
    command = [*DEV, "attach", "--ui", "web"]
    other = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        url = re.fullmatch(r"dashboard (\S+)\n", other.stdout.readline())[1]

        async def main():
            async with browser(tmp_path / "profile") as page:
                await page.open(url)
                await page.text_until("greeting by ")

        asyncio.run(main())
    finally:
        other.send_signal(signal.SIGTERM)
        assert other.wait(DEADLINE_S) == 0
        other.stdout.close()
    assert process.poll() is None
