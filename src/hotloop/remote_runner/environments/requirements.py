"""Read requirements files as pip and uv do: what they ask for, at which line, and what other files they name. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator

from hotloop.errors import UsageError
from hotloop.frozen import frozen

Read = Callable[[str], bytes | None]

_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?=[^\s-]))(?P<path>\S.*)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)(?P<path>\S+)")
_LINKS = re.compile(r"(?:-f|--find-links)(?:\s*=\s*|\s+)(?P<path>\S+)")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_IS_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:/")
_OWN = re.compile(r"\.(?:/)?(?:\[[^\]]*\])?")


@frozen
class Requirement:
    """One thing that the project asks for, and where it says so.

    Attributes:
        file: Relative to the project.
        line: Counted from 1.
    """

    text: str
    file: str
    line: int


@frozen
class RequirementsFile:
    """A requirements file with all that it names.

    Attributes:
        files: By path in the project, as uv is to read them: the file itself and those it includes.
        is_hashed: It has hashes, so it is complete: nothing is left to resolve.
        names_project: It asks for the project itself, whose code needs no installing, but whose dependencies do.
    """

    files: dict[str, bytes]
    requirements: tuple[Requirement, ...]
    is_hashed: bool
    names_project: bool


def read_requirements(read: Read, path: str) -> RequirementsFile:
    """Read a requirements file and those it includes.

    Raises:
        UsageError: It names something that is not in the project or that can't be installed on a runner.
    """
    reading = _Reading(read)
    reading.take(path, by="")
    return RequirementsFile(
        reading.files, tuple(reading.requirements), is_hashed=reading.is_hashed, names_project=reading.names_project
    )


class _Reading:
    def __init__(self, read: Read) -> None:
        self._read = read
        self.files: dict[str, bytes] = {}
        self.requirements: list[Requirement] = []
        self.is_hashed = False
        self.names_project = False

    def take(self, path: str, by: str) -> None:
        if path in self.files:
            return
        content = self._read(path)
        if content is None:
            msg = f"{by} reads {path}, which is not among the project's files"
            raise UsageError(
                msg, hint="what a runner is to have must be in the project and not ignored: hotloop sync --why"
            )
        self.files[path] = content
        text = content.decode("utf-8-sig", "replace")
        kept = text.splitlines()
        for number, line in _logical_lines(text):
            if not self._take_line(line, path, number):
                kept[number - 1] = "# the project itself"
        self.files[path] = ("\n".join(kept) + "\n").encode()

    def _take_line(self, line: str, path: str, number: int) -> bool:
        """Take note of what a line asks for; False if uv is not to see it."""
        place = f"{path}:{number}"
        if included := _INCLUDE.fullmatch(line):
            if not _IS_URL.match(included["path"]):
                self.take(_inside(included["path"], path, place), place)
            return True
        if links := _LINKS.fullmatch(line):
            _refuse_local(links["path"], place)
            return True
        editable = _EDITABLE.fullmatch(line)
        named = editable["path"] if editable else line
        if _OWN.fullmatch(named.partition(";")[0].strip()) and "/" not in path:
            self.names_project = True
            return False
        if line.startswith("-") and not editable:
            return True
        _refuse_local(named, place)
        self.is_hashed |= "--hash" in line
        self.requirements.append(Requirement(line, path, number))
        return True


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that say something, continued ones joined, each with the number of its first."""
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        said = _COMMENT.sub("", joined + line).strip()
        if said:
            yield first, said
        joined, first = "", 0


def _inside(named: str, by: str, place: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(by), named))
    if posixpath.isabs(named) or path.startswith("../"):
        msg = f"{place} reads {named}, which is outside of the project"
        raise UsageError(msg, hint="move it into the project: a runner has nothing else")
    return path


def _refuse_local(named: str, place: str) -> None:
    """Files of the project can't be installed: an environment is shared, and outlives them."""
    path = named.partition(";")[0].strip()
    is_path = (
        path.startswith(("./", "../"))
        or path in {".", ".."}
        or (path.endswith((".whl", ".tar.gz")) and "@" not in path)
    )
    if is_path and not _IS_URL.match(path):
        msg = f"{place} names {path}, a path of the project, which can't be installed on a runner"
        raise UsageError(msg, hint="give a URL, a package of an index, or import the code from the project as it is")
