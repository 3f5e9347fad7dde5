"""The pages that describe code say what the code says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from hotloop import events

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_schema_of_events_is_that_of_the_code() -> None:
    document = runpy.run_path(str(ROOT / "docs" / "make_events.py"))["document"]

    assert (ROOT / "docs" / "events.md").read_text() == document(), "run `make docs`"


def test_every_event_and_record_has_a_section() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    named = set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE))
    records = {"Iteration", "ModelOutcome", "ProbeReport", "Change", "EndpointShape", "Problem", "Frame"}
    records |= {"FailedTest", "EndpointSample", "GpuSample", "ImportTime"}

    assert named == {*events.EVENT_TYPES, *records}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", page.read_text())]
    inside = [target for target in targets if target and "://" not in target]

    assert [target for target in inside if not (page.parent / target).exists()] == []


def test_what_the_readme_makes_can_be_made() -> None:
    wanted = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert wanted
    assert wanted <= targets
