"""The pages that describe code say what the code says."""

from __future__ import annotations

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from hotloop import config, events

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_schema_of_events_is_that_of_the_code() -> None:
    document = runpy.run_path(str(ROOT / "docs" / "make_events.py"))["document"]

    assert (ROOT / "docs" / "events.md").read_text() == document(), "run `make docs`"


def test_the_reference_of_commands_is_what_they_say_themselves() -> None:
    document = runpy.run_path(str(ROOT / "docs" / "make_commands.py"))["document"]

    assert (ROOT / "docs" / "commands.md").read_text() == document(), "run `make docs`"


def test_every_setting_and_variable_has_its_place() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    ours = {"HOTLOOP_COMMAND", "HOTLOOP_PATH"}  # between hotloop's own processes
    variables = set(re.findall(r"HOTLOOP_[A-Z_]+", sources)) - ours
    settings = {field.name for field in dataclasses.fields(config.Settings)}

    assert {name for name in settings if not re.search(rf"[`.]{name}\b", page)} == set()
    assert {name for name in variables if name not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_names_an_option_that_there_is_not(page: Path) -> None:
    known = set(re.findall(r"--[a-z-]+", (ROOT / "docs" / "commands.md").read_text()))
    elsewhere = {"--minutes", "--json"}  # programs of ours that are no commands
    calls = re.findall(r"\b(?:dev|hotloop) (?:[a-z]+ ){1,2}[^`\n]*", page.read_text())
    named = {option for call in calls for option in re.findall(r"(?<![\w-])--[a-z-]+", call.partition(" -- ")[0])}

    assert named <= known | elsewhere


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = re.findall(r"\]\(([^)#:]+\.(?:md|png))", page.read_text()) if page.suffix == ".md" else []
        waiting += [path for path in ((page.parent / target).resolve() for target in targets) if path not in reached]

    there = {path for kind in ("*.md", "*.png") for path in (ROOT / "docs").rglob(kind)}
    assert {path.relative_to(ROOT).as_posix() for path in there - reached} == set()


def test_every_event_and_record_has_a_section() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    named = set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE))
    records = {"Iteration", "ModelOutcome", "ProbeReport", "Change", "EndpointShape", "Problem", "Frame"}
    records |= {"FailedTest", "EndpointSample", "GpuSample", "GaugeSample", "ImportTime"}

    assert named == {*events.EVENT_TYPES, *records}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = [
        target.partition("#") for target in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "://" not in target
    ]
    files = {path: page.parent / path if path else page for path, _, _ in targets}

    assert [path for path, file in files.items() if not file.exists()] == []
    assert [place for path, _, place in targets if place and place not in _places(files[path])] == []


def _places(page: Path) -> set[str]:
    """What links into a page may name: its headings, as they are made into anchors."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_what_the_readme_makes_can_be_made() -> None:
    wanted = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert wanted
    assert wanted <= targets
