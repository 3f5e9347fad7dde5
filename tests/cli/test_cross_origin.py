"""A page of another origin in a real browser: it reads the app's answers once the project allows it."""

from __future__ import annotations

import asyncio
import functools
import http.server
import threading

import pytest
from tests.cli.browser import browser, find
from tests.cli.served import Loop

APP = """
import hotloop

app = hotloop.App("tiny")


@app.endpoint
def greet(name: str) -> str:
    return f"hello {name}"
"""

PAGE = """
<p>waiting</p>
<script>
const body = JSON.stringify({{name: "Ada"}});
fetch("{address}/greet", {{method: "POST", headers: {{"content-type": "application/json"}}, body}})
  .then(async answer => `${{await answer.json()}}, generation ${{answer.headers.get("x-hotloop-generation")}}`)
  .catch(error => `refused: ${{error.message}}`)
  .then(text => document.querySelector("p").textContent = text);
</script>
"""

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(find() is None, reason="no browser found: apt install chromium"),
]


@pytest.fixture
def site(tmp_path):
    """A web server of the page's own; gives its origin and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_page_reads_answers_where_the_project_allows_it(tmp_path, site, is_allowed):
    origin, folder = site
    project = tmp_path / "project"
    project.mkdir()
    (project / "app.py").write_text(APP)
    (project / "pyproject.toml").write_text(f"[tool.hotloop]\ncors_origins = {[origin] if is_allowed else []}\n")
    loop = Loop(project)
    try:
        loop.until("ready")
        address = loop.until("runtime_started")[0]["address"]
        (folder / "index.html").write_text(PAGE.format(address=address))

        read = asyncio.run(text_of(origin, tmp_path / "profile"))

        if is_allowed:
            assert read == "hello Ada, generation 1"
        else:
            assert read.startswith("refused: ")
            notice, _ = loop.until("notice", key=f"origin {origin}")
            assert f'cors_origins = ["{origin}"]' in notice["hint"]
    finally:
        loop.close()


async def text_of(url, profile):
    """Open a page and wait until its script has written what came of it."""
    async with browser(profile) as page:
        await page.open(url)
        return await page.until("(p => p && p.textContent != 'waiting' && p.textContent)(document.querySelector('p'))")
