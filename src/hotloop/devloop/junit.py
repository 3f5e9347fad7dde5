"""What pytest's report says: how many tests passed, and where the others failed. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from hotloop.events import FailedTest
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FAILED = 100
MAX_MESSAGE_CHARACTERS = 500
_PLACE = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?: (?P<type>[\w.]+)$)?", re.MULTILINE)
_SAID = re.compile(r"^E\s+(.+)$", re.MULTILINE)
_TYPED = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt|Exit|Failed)|[A-Z]\w+): ?(.*)")


@frozen
class Report:
    """How a run of pytest went.

    Attributes:
        num_failed: Those that failed, or could not be tried.
        failed: The first of them.
    """

    num_passed: int
    num_failed: int
    failed: tuple[FailedTest, ...]


def read(text: bytes) -> Report | None:
    """Read a report of the family ``xunit1``; None if it is none, or was cut."""
    try:
        root = ET.fromstring(text)  # noqa: S314  from the user's own runner; expat expands no entity without end
    except (ET.ParseError, ValueError):
        return None
    cases = list(root.iter("testcase"))
    failed = list(_failed(cases))
    num_skipped = sum(case.find("skipped") is not None for case in cases)
    num_failed = len({test.name for test in failed})
    return Report(len(cases) - num_skipped - num_failed, num_failed, tuple(failed[:MAX_FAILED]))


def _failed(cases: list[ET.Element]) -> Iterator[FailedTest]:
    for case in cases:
        trouble = case.find("failure")
        trouble = trouble if trouble is not None else case.find("error")
        if trouble is not None:
            yield _test(case, trouble)


def _test(case: ET.Element, trouble: ET.Element) -> FailedTest:
    file, text = case.get("file", ""), trouble.text or ""
    places = list(_PLACE.finditer(text))
    own = [place for place in places if place["file"] == file]
    line = int(own[-1]["line"]) if own else int(case.get("line", "-1")) + 1
    said = _SAID.search(text)
    first = said[1] if said is not None else (trouble.get("message") or "").partition("\n")[0]
    typed = _TYPED.fullmatch(first.strip())
    error_type = typed[1] if typed is not None else (places[-1]["type"] or "") if places else ""
    message = typed[2] if typed is not None else first
    return FailedTest(_name(case, file), file, line, error_type, message.strip()[:MAX_MESSAGE_CHARACTERS])


def _name(case: ET.Element, file: str) -> str:
    """The test's id, as pytest takes it: ``tests/test_app.py::TestEmbed::test_one``."""
    name, outer = case.get("name", ""), case.get("classname", "")
    module = file.removesuffix(".py").replace("/", ".")
    if not outer:  # the file could not be imported
        return file or name
    classes = outer.removeprefix(module).strip(".").replace(".", "::") if outer.startswith(module) else ""
    return "::".join(part for part in (file, classes, name) if part)
