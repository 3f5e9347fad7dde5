"""`dev report` and `dev pulse`: a real session of some twenty edits, and its page in a real browser."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import stat
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.cli.browser import browser, find
from tests.cli.test_commands import dev_here
from tests.cli.test_serve import APP
from tests.cli.tmux import Shell
from tests.devloop.test_history import iteration

from benchmarks import session
from hotloop.devloop import answers, history
from hotloop.devloop.control import state_folder

NUM_EDITS = 24
BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")

pytestmark = [pytest.mark.timeout(150), pytest.mark.xdist_group("report")]


@pytest.fixture
def dev(capsys, monkeypatch):
    return lambda *arguments, cwd: dev_here(capsys, monkeypatch, *map(str, arguments), cwd=cwd)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project that was served through real edits, good ones and broken ones, in a state folder of its own."""
    folder, state = tmp_path_factory.mktemp("driven") / "search", tmp_path_factory.mktemp("state")
    before = os.environ.get("HOTLOOP_STATE_DIR")
    os.environ["HOTLOOP_STATE_DIR"] = str(state)
    try:
        session.drive(folder, NUM_EDITS, python=BARE_PYTHON)
    finally:
        os.environ.pop("HOTLOOP_STATE_DIR")
        os.environ.update({"HOTLOOP_STATE_DIR": before} if before is not None else {})
    return folder


@pytest.fixture
def history_of(tmp_path):
    """A project in which so many sessions were, each with some edits that went well."""

    def make(num_sessions):
        with closing(history.History(history.make_folder(tmp_path) / history.FILE)) as kept:
            for number in range(num_sessions):
                for count in range(1, 4):
                    kept.add(
                        f"s{number}", iteration(number=count, outcome="ok", problem=None, saved_at_s=time.time() - 60)
                    )
        return tmp_path

    return make


def test_the_report_of_a_real_session_names_its_dearest_cause(dev, project):
    code, text, err = dev("report", cwd=project)

    assert (code, err) == (0, "")
    assert text.startswith("search: the last 7 days in feedback\n")
    assert "use LENGTH in the endpoint, not in encoder()" in " ".join(text.split())
    assert "advice            encoder was loaded again because LENGTH in app.py changed" in dev("stats", cwd=project)[1]


def test_json_holds_every_edit_and_can_be_compared_with(dev, project, tmp_path):
    found = json.loads(dev("report", "--json", cwd=project)[1])
    (tmp_path / "before.json").write_text(json.dumps(found))
    again = json.loads(dev("report", "--json", "--compare", tmp_path / "before.json", cwd=project)[1])

    assert (found["schema"], found["project"], found["previous"]) == (1, "search", None)
    assert {point["outcome"] for point in found["points"]} >= {"ok", "failed"}
    assert found["current"]["num_edits"] == len(found["points"]) >= NUM_EDITS - 2
    assert again["previous"]["feedback_s"] == found["current"]["feedback_s"]


def test_markdown_is_printed(dev, project):
    code, text, _ = dev("report", "--md", cwd=project)

    assert code == 0
    assert text.startswith("# search: the last 7 days in feedback\n")
    assert "| Cause | Edits | Waited | Fix |" in text


@pytest.fixture(scope="module")
def page(project):
    file = project.parent / "report.html"
    code = os.spawnv(os.P_WAIT, sys.executable, [
        sys.executable, "-m", "hotloop.cli.main", "report", str(project), "--html", str(file),
    ])  # fmt: skip
    assert code == 0
    return file


def test_the_page_is_for_its_owner_alone_and_small(page):
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert page.stat().st_size < 100_000


def test_the_page_fits_both_widths_in_light_and_dark_and_asks_for_nothing_else(page, tmp_path):
    if find() is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    profile = tmp_path / "profile"
    profile.mkdir()

    async def look():
        seen = {}
        async with browser(profile) as tab:
            await tab.open(page.as_uri())
            for width in (1200, 400):
                for scheme in ("light", "dark"):
                    await tab.call(
                        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
                    )
                    await tab.call(
                        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
                    )
                    await tab.until("document.querySelector('footer') !== null && innerWidth === " + str(width))
                    seen[width, scheme] = (
                        await tab.evaluate("document.documentElement.scrollWidth"),
                        await tab.evaluate("getComputedStyle(document.body).backgroundColor"),
                        await tab.evaluate(
                            "[...document.querySelectorAll('figure svg')].filter(s => s.clientWidth).length"
                        ),
                    )
            await tab.call("Emulation.clearDeviceMetricsOverride")
            await tab.call(
                "Emulation.setEmulatedMedia",
                media="print",
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )
            colors = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
            printed = await tab.evaluate(f"JSON.stringify({colors})")
            pdf = base64.b64decode((await tab.call("Page.printToPDF"))["data"])
            return seen, tab.requested, json.loads(printed), len(re.findall(rb"/Type\s*/Page\b", pdf))

    seen, requested, printed, num_pages = asyncio.run(look())

    assert printed == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]  # paper is light
    assert num_pages == 2
    assert all(needed <= width for (width, _), (needed, _, _) in seen.items())
    assert len({color for _, color, _ in seen.values()}) == 2
    assert {charts for _, _, charts in seen.values()} == {2}
    assert [url for url in requested if not url.startswith("file:")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--json", "--md"), "three forms of one page"),
        (("--since", "week"), "--since is 'week'"),
        (("--compare", "nowhere.json"), "--compare nowhere.json"),
    ],
)
def test_what_the_report_can_not_do_is_wrong_use(dev, history_of, arguments, said):
    code, _, err = dev("report", *arguments, cwd=history_of(1))

    assert code == 2
    assert said in err


def test_a_page_that_can_not_be_written_is_said(dev, history_of):
    code, _, err = dev("report", "--html", "no/such/folder.html", cwd=history_of(1))

    assert code == 1
    assert "no/such/folder.html can't be written" in err


def test_a_history_that_is_none_is_said(dev, tmp_path):
    (history.make_folder(tmp_path) / history.FILE).write_bytes(
        b"no database, though it is as long as a header of one is" * 20
    )
    code, _, err = dev("report", cwd=tmp_path)

    assert code == 1
    assert "history.db can't be read" in err


# --- dev pulse


def test_an_answer_is_kept_and_shown(dev, history_of):
    folder = history_of(1)
    code, text, _ = dev("pulse", "4", "--because", "it flew", cwd=folder)

    assert (code, text) == (0, "noted: 4 of 5 to “Did the loop keep up with you today?”\n")
    assert "How it felt" in dev("report", cwd=folder)[1]
    assert "4 of 5" in dev("report", cwd=folder)[1]


def test_it_can_be_let_ask_and_stopped(dev, history_of):
    folder = history_of(1)

    assert "lets it" in dev("pulse", cwd=folder)[1]
    assert dev("pulse", "--on", cwd=folder)[0] == 0
    assert "at most once a week" in dev("pulse", cwd=folder)[1]
    assert dev("pulse", "--off", cwd=folder)[0] == 0
    assert "does not ask" in dev("pulse", cwd=folder)[1]


@pytest.mark.parametrize(
    "arguments", [("6",), ("0",), ("good",), ("4", "--on"), ("--on", "--off"), ("4", "--about", "speed")]
)
def test_what_is_no_answer_is_wrong_use(dev, history_of, arguments):
    assert dev("pulse", *arguments, cwd=history_of(1))[0] == 2


def test_without_a_session_there_is_nothing_to_answer(dev, tmp_path):
    code, _, err = dev("pulse", "4", cwd=tmp_path)

    assert code == 2
    assert "no dev serve ran" in err
    assert not (tmp_path / ".hotloop").exists()


@pytest.fixture
def shell(history_of):
    folder = history_of(5)
    (folder / "app.py").write_text(APP)
    found = Shell(folder, HOTLOOP_STATE_DIR=str(state_folder()))
    yield found
    found.close()


def test_plain_mode_asks_in_one_line_when_it_ends(shell, tmp_path):
    shell.run(
        sys.executable, "-m", "hotloop.cli.main", "serve", "--ui", "plain", "--port", "0", "--python", BARE_PYTHON
    )
    shell.until("✓ started")
    shell.keys("q", "Enter")
    shell.until(r"Ask you a one-key question now and then\?.*\[y/n/v\]")
    shell.keys("y")
    shell.until(r"thank you: at most once a week")
    shell.until(r"\[exit 0\]")

    with closing(answers.Answers(tmp_path / ".hotloop" / history.FILE, state_folder())) as kept:
        assert kept.consent == "yes"
