"""What an app asks for its environment: which of the project's files says so, and the digest of all of it. Pure.

The first that there is counts, and the others are not read:

1. ``uv.lock``, ``pylock.toml``: locks, installed as they are.
2. ``requirements.lock``, then ``requirements.txt``: with hashes they are locks too, else they are resolved, once.
3. ``[project] dependencies`` of ``pyproject.toml``.
4. ``hotloop.App(packages=[...])``.

``App(data_packages=[...])`` come in addition to any of them: they have no dependencies that could be in conflict.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, cast

from hotloop.errors import UsageError
from hotloop.frozen import frozen
from hotloop.remote_runner.environment import Declared, declared_in
from hotloop.remote_runner.environments.requirements import Read, Requirement, read_requirements
from hotloop.remote_runner.environments.staleness import not_locked

Kind = Literal["uv.lock", "pylock", "hashed", "resolved"]

WATCHED = (
    "uv.lock",
    "pylock.toml",
    "requirements.lock",
    "requirements.txt",
    "pyproject.toml",
    "uv.toml",
    ".python-version",
)
RESOLVED_FROM = "hotloop-requirements.in"  # what of the request is no file of the project's

# Variables of the runner that change what uv finds. Others, such as the cache's place, do not.
_SETTINGS = (
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_INDEX_STRATEGY",
    "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER", "UV_PRERELEASE", "UV_RESOLUTION", "UV_TORCH_BACKEND", "UV_NO_BINARY",
    "UV_NO_BUILD", "UV_NO_SOURCES",
)  # fmt: skip


class UnreadableError(UsageError):
    """The app's file can't be parsed: what it asks for is not known, so it stays as it was."""


@frozen
class Request:
    """What one app asks for.

    Attributes:
        source: What says so, for people: ``requirements.txt`` or ``packages=[...] of app.py``.
        kind: ``resolved`` has to be resolved first; the others are locks.
        python: Version or range, as uv takes it.
        files: By path: all that uv reads, so that no later save can change it meanwhile.
        inputs: Which of them it is told to resolve or to install.
        requirements: What is asked for, with places; for locks what the lock was made from, if that is known.
        data_packages: Installed without their dependencies.
        settings: Variables of the runner that uv reads.
        overruled: What is not read because of `source`; empty if nothing is.
        not_locked: Dependencies of the project that its ``uv.lock`` does not know: it is older than they are.
        has_sources: Some of it comes from places of its own (``[tool.uv.sources]``), which a list of versions can't say.
        head: See `Declared.head`.
    """

    source: str
    kind: Kind
    python: str
    files: dict[str, bytes]
    inputs: tuple[str, ...]
    requirements: tuple[Requirement, ...] = ()
    data_packages: tuple[Requirement, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    overruled: str = ""
    not_locked: tuple[str, ...] = ()
    has_sources: bool = False
    head: bytes = field(default=b"", repr=False)

    def is_still_asked(self, source: bytes) -> bool:
        """Whether an app's file, as it is now, surely asks for the same, if it can be parsed. Costs next to nothing."""
        return source.startswith(self.head) and source.find(b"packages", len(self.head)) < 0

    @property
    def digest(self) -> str:
        """Name what is asked for: the same for the same, wherever in its file it is written."""
        said: dict[str, Any] = {
            "kind": self.kind,
            "python": self.python,
            "files": {path: hashlib.sha256(content).hexdigest() for path, content in sorted(self.files.items())},
            "inputs": self.inputs,
            "data": sorted(each.text for each in self.data_packages),
            "settings": self.settings,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_request(
    read: Read, entry: str, *, python: str = "", default_python: str, environ: Mapping[str, str]
) -> Request:
    """Find out what an app asks for.

    Args:
        read: Gives a file of the project by its path, None if it is not there.
        entry: The app's file.
        python: The version that was asked for by an option; empty if none was.
        default_python: The version where nothing says one.
        environ: The variables that uv will see.

    Raises:
        UnreadableError: The app's file can't be parsed.
        UsageError: A file is wrong, or asks for what can't be; names file and line.
    """
    source = read(entry) or b""
    declared = declared_in(source)
    if not declared.is_whole:
        msg = f"{entry}{_where_unparsable(source)} can't be parsed, so what it asks for is not known"
        raise UnreadableError(msg, hint="correct its syntax")
    pyproject = _pyproject(read)
    version = python or _python(read, pyproject) or default_python
    says, kind, inputs, files, requirements = _chosen(read, entry, declared, pyproject)
    for settings_file in ("pyproject.toml", "uv.toml"):
        content = read(settings_file)
        if content is not None and (settings_file == "uv.toml" or settings_file in inputs or _tool(pyproject, "uv")):
            files[settings_file] = content
    is_overruled = bool(declared.packages) and not says.startswith("packages=")
    return Request(
        source=says,
        kind=kind,
        python=version,
        files=files,
        inputs=inputs,
        requirements=requirements,
        data_packages=tuple(_of_app(declared, entry, declared.data_packages)),
        settings=tuple((name, environ[name]) for name in _SETTINGS if name in environ),
        overruled=f"packages=[...] of {entry}" if is_overruled else "",
        not_locked=_not_locked(files, pyproject, requirements) if kind == "uv.lock" else (),
        has_sources="pyproject.toml" in inputs and bool(_table(_tool(pyproject, "uv"), "sources")),
        head=declared.head,
    )


_Chosen = tuple[str, Kind, tuple[str, ...], dict[str, bytes], tuple[Requirement, ...]]


def _chosen(read: Read, entry: str, declared: Declared, pyproject: dict[str, Any]) -> _Chosen:
    own = _own_dependencies(read, pyproject)
    if (lock := read("uv.lock")) is not None:
        if not pyproject:
            msg = "uv.lock is there without the pyproject.toml that it was made from"
            raise UsageError(msg, hint="add pyproject.toml to the project, or remove uv.lock")
        files = {"uv.lock": lock, "pyproject.toml": read("pyproject.toml") or b""}
        return "uv.lock", "uv.lock", ("uv.lock",), files, own
    if (lock := read("pylock.toml")) is not None:
        return "pylock.toml", "pylock", ("pylock.toml",), {"pylock.toml": lock}, own
    for name in ("requirements.lock", "requirements.txt"):
        if read(name) is not None:
            return _of_requirements(read, name, own)
    if own:
        return "pyproject.toml", "resolved", ("pyproject.toml",), {}, own
    if declared.computed_line:
        msg = f"{entry}:{declared.computed_line} computes a list of packages, which can't be read without running it"
        raise UsageError(msg, hint='write it out: packages=["torch", "numpy"], or use a requirements.txt')
    asked = tuple(_of_app(declared, entry, declared.packages))
    text = "".join(f"{each.text}\n" for each in sorted(asked, key=lambda each: each.text))
    files = {RESOLVED_FROM: text.encode()}
    return f"packages=[...] of {entry}", "resolved", (RESOLVED_FROM,), files, asked


def _of_requirements(read: Read, name: str, own: tuple[Requirement, ...]) -> _Chosen:
    found = read_requirements(read, name)
    inputs = (name, "pyproject.toml") if found.names_project and own else (name,)
    kind: Kind = "hashed" if found.is_hashed and len(inputs) == 1 else "resolved"
    return name, kind, inputs, found.files, found.requirements + (own if len(inputs) > 1 else ())


def _not_locked(files: dict[str, bytes], pyproject: dict[str, Any], asked: tuple[Requirement, ...]) -> tuple[str, ...]:
    name = str(_table(pyproject, "project").get("name", ""))
    return tuple(not_locked(files["uv.lock"], name, [each.text for each in asked]))


def _of_app(declared: Declared, entry: str, packages: tuple[str, ...]) -> list[Requirement]:
    return [Requirement(text, entry, declared.lines.get(text, 1)) for text in packages]


def _where_unparsable(source: bytes) -> str:
    try:
        ast.parse(source)
    except SyntaxError as error:
        return f":{error.lineno}"
    except ValueError:
        return ""
    return ""


def _pyproject(read: Read) -> dict[str, Any]:
    content = read("pyproject.toml")
    try:
        return tomllib.loads(content.decode()) if content is not None else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"pyproject.toml can't be read: {error}"
        raise UsageError(msg, hint="correct that line of the file") from error


def _own_dependencies(read: Read, pyproject: dict[str, Any]) -> tuple[Requirement, ...]:
    given = _table(pyproject, "project").get("dependencies")
    texts = [each for each in cast("list[Any]", given) if isinstance(each, str)] if isinstance(given, list) else []
    lines = (read("pyproject.toml") or b"").decode("utf-8", "replace").splitlines()
    places = {text: next((n for n, line in enumerate(lines, 1) if text in line), 1) for text in texts}
    return tuple(Requirement(text, "pyproject.toml", places[text]) for text in texts)


def _python(read: Read, pyproject: dict[str, Any]) -> str:
    pinned = (read(".python-version") or b"").decode("utf-8", "replace").split()
    required = _table(pyproject, "project").get("requires-python", "")
    return pinned[0] if pinned else required if isinstance(required, str) else ""


def _tool(pyproject: dict[str, Any], name: str) -> dict[str, Any]:
    return _table(_table(pyproject, "tool"), name)


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    found = table.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
