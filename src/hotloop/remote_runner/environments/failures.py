"""Why an environment could not be made: from uv's words to a problem that says what to do and where. Pure.

uv prints ``error: ...``, ``cause: ...`` lines with indented continuations, and ``hint: ...``; older ones draw them with
``x`` and an arrow. What is not recognised is shown as it is, so another version costs a worse hint, never the cause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hotloop.events import Frame, Problem
from hotloop.remote_runner.environment import requirement_name
from hotloop.remote_runner.environments.request import Request
from hotloop.remote_runner.environments.requirements import Requirement

MAX_CAUSE_LINES = 8
MAX_BUILD_LINES = 12

_LABEL = re.compile(r"^\s*(?:(?:error|cause|Caused by)\s*:|[\u00d7x✗]\s|[├╰]─▶)\s*", re.IGNORECASE)
_CAUSE = re.compile(r"^\s*(?:cause|Caused by)\s*:", re.IGNORECASE)
_HINT = re.compile(r"^\s*(?:[├╰]─▶\s*)?hint\s*:\s*", re.IGNORECASE)
_FRAME = re.compile(r"^\s*│\s?")
_WARNING = re.compile(r"^\s*(?:warning|DEBUG|TRACE)\s*:", re.IGNORECASE)
_NAMED = re.compile(r"`([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:[=<>!~@][^`]*)?`")

_OF_A_REQUIREMENT = frozenset({"NotResolvable", "NoWheels", "BuildFailed", "HashMismatch", "BadRequirement"})
_MIRROR_HINT = (
    "the runner can't reach the index: check its network or proxy, or name a mirror in ~/.config/uv/uv.toml there "
    '([[index]], url = "https://...", default = true) or in the variable UV_DEFAULT_INDEX of your login there'
)
_NO_NETWORK = (
    "error sending request",
    "dns error",
    "Connection refused",
    "operation timed out",
    "Failed to fetch",
    "network is unreachable",
    "tunnel error",
)


def problem_of(lines: Sequence[str], request: Request, exit_code: int) -> Problem:
    """Say why uv failed.

    Args:
        lines: What it printed on stderr, oldest first.
        request: What it was to do.
        exit_code: Negative for a signal.
    """
    causes, hints = _said(lines)
    text = "\n".join(causes)
    kind, hint = _classified(text, request, exit_code)
    if kind == "BuildFailed":
        message = _build_message(causes)
    elif kind == "NotResolvable":
        message = _explanation(causes)
    else:
        message = _shortened(causes) or f"uv ended with exit code {exit_code} and said nothing"
    blamed = _blamed(message + "\n" + text, request) if kind in _OF_A_REQUIREMENT else []
    return Problem(kind, message, frames=tuple(_frame(each) for each in blamed), hint=hint or "; ".join(hints))


def _classified(text: str, request: Request, exit_code: int) -> tuple[str, str]:  # noqa: C901  one line a case
    if "No space left on device" in text or "os error 28" in text:
        return "NoSpace", "free some space on the runner: hotloop env prune, or uv cache clean"
    if "Hash mismatch" in text or "hash mismatch" in text:
        return "HashMismatch", f"the index has another file than {request.source} was made with: make the lock again"
    if "require hashes" in text or "--require-hashes" in text:
        return "HashMismatch", f"give each requirement of {request.source} a hash, and each of what it needs"
    if "No interpreter found" in text or "No download found" in text or ("Failed to install cpython" in text):
        return (
            "NoSuchPython",
            f"Python {request.python} is not on the runner and could not be downloaded; ask for another",
        )
    if (
        "Failed to build" in text
        or "build backend" in text
        or "Failed to resolve requirements from `build-system" in text
    ):
        return "BuildFailed", "install what its build needs on the runner, or ask for a version that has a wheel"
    if any(each.lower() in text.lower() for each in _NO_NETWORK):
        return "NoRegistry", _MIRROR_HINT
    if "401 Unauthorized" in text or "403 Forbidden" in text:
        return (
            "NoRegistry",
            "the index wants credentials: set them for the runner, such as UV_INDEX_NAME_USERNAME and _PASSWORD",
        )
    if "matching platform tag" in text or "no wheels with a matching" in text or "matching Python" in text:
        return "NoWheels", ""
    if "No solution found" in text or "unsatisfiable" in text:
        return "NotResolvable", ""
    if "parse" in text and "requirement" in text.lower():
        return "BadRequirement", ""
    if "Permission denied" in text or "os error 13" in text:
        return (
            "NotWritable",
            "let the runner's user write there, or set HOTLOOP_STATE_DIR or UV_CACHE_DIR to where it may",
        )
    if exit_code < 0:
        return "Killed", "the runner may be out of memory; the next save tries again"
    return "EnvironmentFailed", ""


def _said(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """The lines of the error, without labels, and the hints. Warnings, with their causes, and progress are left out."""
    causes: list[str] = []
    hints: list[str] = []
    is_error = is_continued = False
    for raw in lines:
        line = _FRAME.sub("", raw)
        if _HINT.match(line):
            hints.append(_HINT.sub("", line).strip())
            is_continued = False
        elif _WARNING.match(line):
            is_error = is_continued = False
        elif _LABEL.match(line):
            is_error |= not _CAUSE.match(line)
            is_continued = is_error
            causes += [_LABEL.sub("", line).rstrip()] if is_error else []
        elif is_continued and (line.startswith(" ") or not line.strip()):
            causes.append(line.strip())
        else:
            is_continued = False
    return [each for each in causes if each] or [each for each in lines[-MAX_CAUSE_LINES:] if each.strip()], hints


def _explanation(causes: list[str]) -> str:
    """The words of uv, a sentence a line, without the headline that says only that there is no solution."""
    told = [each for each in causes if not each.startswith("No solution found")]
    text = " ".join(told) or " ".join(causes)
    sentences = re.split(r"(?<=\.) (?=And |Because |So )", text)
    return "\n".join(sentences[-MAX_CAUSE_LINES:])


def _build_message(causes: list[str]) -> str:
    headline = next((each for each in causes if "build" in each.lower()), causes[0])
    headline = headline[:1].lower() + headline[1:]
    marks = [number for number, each in enumerate(causes) if each in {"[stdout]", "[stderr]"}]
    printed = [each for each in causes[marks[0] :] if each not in {"[stdout]", "[stderr]"}] if marks else causes[1:]
    return "\n".join([headline, *printed[-MAX_BUILD_LINES:]])


def _shortened(causes: list[str]) -> str:
    if len(causes) <= MAX_CAUSE_LINES:
        return "\n".join(dict.fromkeys(causes))
    return "\n".join([*causes[: MAX_CAUSE_LINES - 2], "...", causes[-1]])


def _blamed(text: str, request: Request) -> list[Requirement]:
    """The requirements of the project that the explanation names: at most two, in the order of their lines."""
    words = {_normal(each) for each in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]|[A-Za-z0-9]", text)}
    asked = [*request.requirements, *request.data_packages]
    found = [each for each in asked if _normal(requirement_name(each.text)) in words]
    required = re.search(r"you require (.*)", text)
    named = (
        {_normal(each) for each in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", required[1])} if required else set[str]()
    )
    direct = [each for each in found if _normal(requirement_name(each.text)) in named]
    return (direct or found)[:2]


def _frame(blamed: Requirement) -> Frame:
    return Frame(
        blamed.file,
        blamed.line,
        "packages" if blamed.file.endswith(".py") else "requirements",
        blamed.text,
        is_project=True,
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
