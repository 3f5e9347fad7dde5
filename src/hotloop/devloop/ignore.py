"""Which paths of a project are synced: git's own rules, ``.hotloopignore``, and what is never synced.

The rules are applied by ripgrep's walker, which agrees with git. It has no check of a single path, so a new name is
looked up by listing its folder once (1 ms); names that are known already cost nothing.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ignore import Error, WalkBuilder
from ignore import IOError as GoneError
from ignore.overrides import Override, OverrideBuilder

from hotloop.config import is_utf8
from hotloop.remote_runner.tree import ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ignore import DirEntry

ALWAYS_IGNORED = frozenset((".git", ".hotloop", "__pycache__"))
OWN_RULES = ".hotloopignore"
RULE_FILES = (".gitignore", OWN_RULES)
_DEFAULT_RULES = Path(__file__).with_name("ignored_by_default.txt")
_SECRETS = (".env", ".env.*", ".envrc")
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")


class Ignore:
    """The rules of one project. Verdicts are remembered until `forget`.

    Attributes:
        root: The project's folder.
        outputs: Files inside it that are not synced either, whatever was synced before: `own_outputs`.
    """

    def __init__(self, root: Path, outputs: frozenset[str] = frozenset()) -> None:
        self.root = root
        self.outputs = outputs
        self._prefix = f"{root}/"  # a path joined by pathlib takes longer than the call that it is for
        self.git_folder = find_git_folder(root)
        self._is_in_git = any((folder / ".git").exists() for folder in (root, *root.parents))
        self._environments: set[str] = set()
        self._verdicts: dict[str, bool] = {}
        self._tracked: set[str] = set()
        for entry in _folders(root):
            self._note_environment(entry.name)
        self._read_tracked()

    def forget(self) -> None:
        """Forget all verdicts: a rule changed."""
        self._verdicts.clear()
        self._read_tracked()

    def walk(self, below: str = "") -> Iterator[tuple[str, bool]]:
        """Give the kept paths inside a folder and whether each is a folder; parents come before what is in them."""
        found = self._walk(below, None)
        self.trust(path for path, is_folder in found if is_folder)
        seen = {path for path, _ in found}
        yield from found
        for path in sorted(self._tracked):
            if path not in seen and (not below or path.startswith(below + "/")) and self._exists(path):
                for above in reversed([*ancestors(path)]):
                    if above not in seen and len(above) > len(below):
                        seen.add(above)
                        yield above, True
                seen.add(path)
                yield path, False

    def leaves(self, below: str = "") -> list[str]:
        """The kept files inside a folder, and its folders that have nothing kept inside."""
        found = list(self.walk(below))
        filled = {path.rpartition("/")[0] for path, _ in found}
        return [path for path, is_folder in found if not is_folder or path not in filled]

    def is_ignored(self, path: str) -> bool:
        """Whether a path that exists is left out."""
        if self._is_never_synced(path):
            return True
        if path in self._tracked or any(item.startswith(path + "/") for item in self._tracked):
            return False
        return self._is_ruled_out(path)

    def _is_ruled_out(self, path: str) -> bool:
        """Whether the rules leave it out, if git tracks nothing of it. What else is in a folder goes by the folder's rules."""
        above = path.rpartition("/")[0]
        if above and self._is_ruled_out(above):
            return True
        if path not in self._verdicts:
            if self._note_environment(path):
                return True
            kept = [name for name, _ in self._walk(above, 1)]
            self.trust(kept)
            if path not in self._verdicts and not self._exists(path):
                return True
            self._verdicts.setdefault(path, True)
        return self._verdicts[path]

    def trust(self, paths: Iterable[str]) -> None:
        """Note paths that a walk has just given as kept, so that none is looked up."""
        self._verdicts.update(dict.fromkeys(paths, False))

    def withheld_secrets(self) -> list[str]:
        """Files in the project's folder that look like secrets and are left out, to tell the user about."""
        names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_file(follow_symlinks=False))
        looks_secret = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in _SECRETS)]
        return [name for name in looks_secret if self.is_ignored(name)]

    def explain(self, path: str) -> str:
        """Say ``kept``, or which rule leaves a path out."""
        if not self._exists(path):
            return "not there"
        if not is_utf8(path):
            return "not synced: its name is not UTF-8"
        if not self.is_ignored(path):
            return "kept"
        culprit = next((above for above in reversed([*ancestors(path)]) if self.is_ignored(above)), path)
        return f"ignored: {self._reason(culprit)}"

    # --- the walker

    def _walk(self, below: str, depth: int | None) -> list[tuple[str, bool]]:
        while True:
            found = self._walk_once(below, depth)
            if found is not None:
                return found

    def _walk_once(self, below: str, depth: int | None) -> list[tuple[str, bool]] | None:
        """None if a virtual environment turned up: it is left out when this is done again."""
        prefix = len(self._prefix)
        inside = below + "/" if below else ""
        found: list[tuple[str, bool]] = []
        start = below if self._is_in_git else ""  # without git, rules above the project must not count
        max_depth = depth if depth is None or self._is_in_git or not below else depth + below.count("/") + 1
        beside = self._beside(below) if below and not self._is_in_git else ()
        for entry in _entries(self._builder(start, max_depth, beside=beside)):
            path = os.fspath(entry.path())[prefix:].replace(os.sep, "/")
            if not path.startswith(inside) or path == below:
                continue
            is_folder = _is_folder(f"{self._prefix}{path}")
            if is_folder and self._note_environment(path):
                return None
            found.append((path, is_folder))
        return found

    def _beside(self, path: str) -> Iterator[str]:
        """Folders that are on no way to a path: a walk that has to begin above it would go through all the project."""
        way = {path, *ancestors(path)}
        for above in ("", *ancestors(path)):
            for entry in _folders(self.root / above):
                folder = f"{above}/{entry.name}" if above else entry.name
                if folder not in way and is_utf8(folder):
                    yield folder

    def _builder(
        self, start: str, depth: int | None, *, own: bool = True, defaults: bool = True, beside: Iterable[str] = ()
    ) -> WalkBuilder:
        _stand_somewhere()
        builder = WalkBuilder(self.root / start)
        builder.hidden(False).ignore(False).follow_links(False).max_depth(depth)
        builder.parents(self._is_in_git).require_git(self._is_in_git)
        if own:
            builder.add_custom_ignore_filename(OWN_RULES)
        if defaults:
            builder.add_ignore(_DEFAULT_RULES)
        return builder.overrides(self._overrides(beside))

    def _overrides(self, beside: Iterable[str]) -> Override:
        builder = OverrideBuilder(self.root)
        for name in ALWAYS_IGNORED:
            builder.add("!" + name)
        for path in (*self._environments, *beside):
            builder.add(f"!/{_literally(path)}/")
        for path in self.outputs:
            builder.add(f"!/{_literally(path)}")
        return builder.build()

    # --- what is never synced, and what always is

    def _is_never_synced(self, path: str) -> bool:
        if self._environments and not self._environments.isdisjoint((path, *ancestors(path))):
            return True
        return path in self.outputs or not ALWAYS_IGNORED.isdisjoint(path.split("/"))

    def _note_environment(self, path: str) -> bool:
        is_environment = any(self._exists(f"{path}/{mark}") for mark in _ENVIRONMENT_MARKS)
        if is_environment:
            self._environments.add(path)
        return is_environment

    def _read_tracked(self) -> None:
        """Git never ignores what it tracks: files that were added with ``git add -f``."""
        if self._is_in_git:
            output = _git(self.root, "ls-files", "-ci", "--exclude-standard", "-z")
            tracked = {os.fsdecode(item) for item in output.split(b"\0") if item}
            self._tracked = {path for path in tracked if not self._is_never_synced(path)}

    def _exists(self, path: str) -> bool:
        return os.path.lexists(f"{self._prefix}{path}")

    # --- reasons

    def _reason(self, path: str) -> str:
        if path in self._environments:
            return f"{path} is a virtual environment"
        if (name := path.rpartition("/")[2]) in ALWAYS_IGNORED:
            return f"{name} is never synced"
        if self._is_kept_by(path, own=False):
            return f"by a line of {OWN_RULES}"
        if self._is_kept_by(path, defaults=False):
            return f'left out unless {OWN_RULES} has a line "!{name}"'
        rule = _git(self.root, "check-ignore", "-v", "--no-index", "--", path).decode(errors="replace")
        source, _, pattern = rule.partition("\t")[0].rpartition(":")
        return f'by "{pattern}" in {source.replace(":", " line ")}' if pattern else "by .gitignore"

    def _is_kept_by(self, path: str, *, own: bool = True, defaults: bool = True) -> bool:
        above = path.rpartition("/")[0]
        wanted = self.root / path
        depth = 1 if self._is_in_git else path.count("/") + 1
        walk = self._builder(above if self._is_in_git else "", depth, own=own, defaults=defaults)
        return any(entry.path() == wanted for entry in _entries(walk))


def _stand_somewhere() -> None:
    """Leave a working directory that is gone, as when the project was deleted around this process: the walker asks for its name."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        os.chdir("/")


def _entries(builder: WalkBuilder) -> Iterator[DirEntry]:
    """Walk on behind folders that can't be read, or went meanwhile."""
    walk = builder.build()
    while True:
        try:
            yield next(walk)
        except StopIteration:
            return
        except (Error, GoneError):  # the library's own
            continue


def _literally(path: str) -> str:
    return re.sub(r"([*?\[\]{}\\!])", r"\\\1", path)


def find_git_folder(root: Path) -> Path | None:
    """Where git keeps the state of the checkout that a folder is in; None without one."""
    for folder in (root, *root.parents):
        mark = folder / ".git"
        if mark.is_dir():
            return mark
        with contextlib.suppress(OSError):
            if mark.is_file():  # a worktree or a submodule
                target = mark.read_text(encoding="utf-8", errors="surrogateescape").strip()
                return folder / target.removeprefix("gitdir:").strip()
    return None


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _folders(root: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # gone, or not to be read
        return []


def _git(root: Path, *arguments: str) -> bytes:
    """Ask git; nothing if there is no git here or it takes too long."""
    try:
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""
