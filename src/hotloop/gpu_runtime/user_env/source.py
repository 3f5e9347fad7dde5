"""The project's modules, compiled from the bytes of one revision and from nothing else.

Python's own cache (``.pyc`` validated by a timestamp) ran old code after an edit within the same second, so it is never
used for the project's files. What was read is kept: tracebacks, fingerprints and errors all show the text that runs.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import linecache
import os
import site
import sys
import sysconfig
import warnings
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.vault.code import code_digest, codes_within

_NEVER_PROJECT = frozenset({"site-packages", "dist-packages"})
_READ_BYTES = 1 << 16


class RevisionMoved(BaseException):
    """A file is no longer what the revision says: a newer one is being applied. Not an error of the user's.

    A BaseException, so that the project's own ``except Exception`` can't swallow it.
    """


@frozen
class _Compiled:
    """A file's bytes, what they are called, and what was made of them."""

    content: bytes
    digest: str
    code: CodeType
    lines: list[str]


class Project:
    """One revision of the user's project, as the importer, the fingerprint and the error reports see it.

    Attributes:
        root: Absolute real path of the project's folder in the workspace.
        manifest: sha256 of each ``.py`` file of the revision, by path relative to `root`. A file that is not in it
            (the app wrote it itself) is imported without a check.
    """

    def __init__(self, root: str, manifest: dict[str, str] | None = None) -> None:
        self.root = str(Path(root).resolve())
        self.manifest = dict(manifest or {})
        self._prefix = self.root + os.sep
        self._ahead: dict[str, _Compiled] = {}  # by path: as it was, or will be
        self._imported: dict[str, _Compiled] = {}  # by module
        self._sources: dict[str, bytes] = {}
        self._owned: dict[str, bool] = {}
        self._finders: list[importlib.machinery.FileFinder] = []

    def update(self, changed: dict[str, str | None]) -> None:
        """Move the manifest to a newer revision: path to sha256, or to None for a file that is gone."""
        for finder in self._finders:  # they go by a folder's time, which does not move between two changes in 4 ms
            finder.invalidate_caches()
        for path, digest in changed.items():
            if digest is None:
                self.manifest.pop(path, None)
            else:
                self.manifest[path] = digest

    def owns_file(self, path: str | None) -> bool:
        """Whether a file is the project's own code or data, not an installed package's."""
        if not path or path.startswith("<"):  # <string>, <frozen os>: no files, though they would resolve to some
            return False
        known = self._owned.get(path)
        if known is None:
            known = self._owned[path] = self._is_own(path)
        return known

    def _is_own(self, path: str) -> bool:
        if not path.startswith(self._prefix):
            if path.startswith(installed_folders()):  # most are, and to follow links takes a call for each folder above
                return False
            path = os.path.realpath(path)
        below = path.removeprefix(self._prefix)
        return below != path and _NEVER_PROJECT.isdisjoint(below.split(os.sep))  # noqa: PTH206  hot

    def owns_module(self, name: str) -> bool:
        """Whether an imported module is the project's own."""
        # What a module puts in its own place, in sys.modules, may have no file, or any attribute.
        found = sys.modules.get(name)
        if name in self._imported or self.owns_file(getattr(found, "__file__", None)):
            return True
        # A package without an __init__.py has folders alone.
        own = found.__dict__ if type(found) is ModuleType else {}
        folders = own.get("__path__", ()) if own.get("__file__") is None else ()
        return any(self.owns_file(os.path.join(each, "x")) for each in folders)  # noqa: PTH118

    def is_behind(self, frame: FrameType | None) -> bool:
        """Whether the project's code made a call, itself or through a library that it called.

        What a library does while it is imported is the library's own: a zygote imports it ahead of the project.
        """
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith("<frozen importlib") and frame.f_code.co_name != "get_data":  # pkgutil.get_data's
                return False
            if self.owns_file(file):
                return True
            frame = frame.f_back
        return True  # a thread that somebody started: there is nobody else to ask for

    def modules(self) -> list[str]:
        """Names of the project's modules that were imported, in the order of their import."""
        return [name for name in self._imported if name in sys.modules]

    def code_of(self, module: str) -> CodeType | None:
        """The top-level code object of an imported module of the project, None for any other module."""
        known = self._imported.get(module)
        return known.code if known is not None else None

    def source_of(self, path: str) -> bytes | None:
        """The bytes that were compiled for a file of the project, None if it was not imported."""
        return self._sources.get(path)

    def digest_of(self, module: str) -> str:
        """The sha256 of the source of an imported module of the project, empty for any other module."""
        known = self._imported.get(module)
        return known.digest if known is not None else ""

    def relative(self, path: str) -> str:
        """A path as the user knows it: relative to the project where it is inside, else unchanged."""
        return path.removeprefix(self._prefix)

    def install(self) -> None:
        """Make imports from the project's folder go through this revision."""
        installed_folders()  # asked for now: from Python 3.13 on that imports a module, which would ask the hook
        sys.path_hooks.insert(0, self._hook)
        sys.path_importer_cache.clear()

    def imported_files(self) -> list[str]:
        """Files of the project that were imported, by path relative to `root`, in the order of their import."""
        return [self.relative(path) for path in self._sources]

    def precompile(self, relative_path: str) -> None:
        """Compile a file of the revision ahead of its import, and take its code apart; one that is not there is passed over."""
        from hotloop.gpu_runtime.user_env.fingerprint.effects import look_ahead  # they need what is here
        from hotloop.gpu_runtime.user_env.fingerprint.reached import changed_roots
        from hotloop.gpu_runtime.user_env.fingerprint.uses import uses_of

        try:
            content = Path(self._prefix + relative_path).read_bytes()
        except OSError:
            return
        if sha256(content).hexdigest() != self.manifest.get(relative_path):
            return
        compiled = self.compile_ahead(relative_path, content)
        if compiled is None:
            return
        package = relative_path.rpartition("/")[0].replace("/", ".")
        look_ahead(compiled)
        for code in codes_within(compiled):
            code_digest(code)  # which it remembers, as the others do
            changed_roots(code)
            uses_of(code, package)

    def compile_ahead(self, relative_path: str, content: bytes) -> CodeType | None:
        """Compile what a file holds, or will hold; nothing of it runs, and nothing is believed of the file.

        What can't be compiled, or not without a warning, is left for the import to complain about: None.
        """
        path = self._prefix + relative_path
        with (
            suppress(SyntaxError, ValueError, RecursionError, MemoryError),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            compiled = _compiled(content, path)
            if not caught:
                self._ahead[path] = compiled
                return compiled.code
        return None

    def load_code(self, module: str, path: str) -> CodeType:
        """Read, check and compile one file.

        Raises:
            RevisionMoved: The file is not what the manifest says.
            SyntaxError: As Python says.
        """
        try:
            content = _read(path)
        except FileNotFoundError as error:
            raise RevisionMoved(path) from error
        known = self._ahead.get(path)
        is_known = known is not None and known.content == content
        digest = known.digest if known is not None and is_known else sha256(content).hexdigest()
        if self.manifest.get(self.relative(path), digest) != digest:
            raise RevisionMoved(path)
        self._sources[path] = content
        if known is None or not is_known:
            known = self._ahead[path] = _compiled(content, path)
        self._imported[module] = known
        # An entry without a time is never checked against the disk, where a newer revision may be already.
        linecache.cache[path] = (len(content), None, known.lines, path)
        return known.code

    def _hook(self, directory: str) -> importlib.machinery.FileFinder:
        real = self.root if directory == self.root else os.path.realpath(directory or ".")
        if real != self.root and not (self.owns_file(real) and os.path.isdir(real)):  # noqa: PTH112  hot
            msg = "not a folder of the project"
            raise ImportError(msg, path=directory)
        project = self

        class Loader(_RevisionLoader):
            def get_code(self, fullname: str) -> CodeType:
                return project.load_code(fullname, self.get_filename(fullname))

        finder = importlib.machinery.FileFinder(
            real,
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (Loader, importlib.machinery.SOURCE_SUFFIXES),
        )
        self._finders.append(finder)
        return finder


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # half the calls of a file object
    try:
        content = os.read(fd, _READ_BYTES)
        while more := os.read(fd, _READ_BYTES):
            content += more
        return content
    finally:
        os.close(fd)


def _compiled(content: bytes, path: str) -> _Compiled:
    if (at := content.find(b"\0")) >= 0:  # Python names neither file nor line
        msg = "no UTF-8 text, but perhaps UTF-16: save the file as UTF-8"
        raise SyntaxError(msg, (path, content.count(b"\n", 0, at) + 1, None, None))
    code = compile(content, path, "exec", dont_inherit=True)
    try:
        text = importlib.util.decode_source(content)
    except UnicodeDecodeError:  # in a comment, where Python does not look
        text = content.decode("utf-8", "replace")
    return _Compiled(content, sha256(content).hexdigest(), code, text.splitlines(keepends=True))


class _RevisionLoader(importlib.machinery.SourceFileLoader):
    """Loads a module of the project without ever reading or writing a ``.pyc``."""

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:
        """Write nothing."""


def module_of(root: str, entry: str) -> tuple[str, str]:
    """Say how a fresh ``python`` would import an entry file.

    Args:
        root: The project's folder.
        entry: The file's path relative to it, such as ``app.py`` or ``src/search/app.py``.

    Returns:
        The folder to put first on ``sys.path``, and the module's dotted name. A file in a package (a folder with an
        ``__init__.py``) is named from the package's parent.
    """
    *folders, name = entry.removesuffix(".py").split("/")
    while folders and os.path.exists(os.path.join(root, *folders, "__init__.py")):  # noqa: PTH110, PTH118
        name = f"{folders.pop()}.{name}"
    return os.path.join(root, *folders), name  # noqa: PTH118


@functools.cache
def installed_folders() -> tuple[str, ...]:
    """Folders of installed packages and of the standard library, with and without links: a path in one is not the user's."""
    paths = sysconfig.get_paths()
    found = {*(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")), *site.getsitepackages()}
    return tuple(sorted({each + os.sep for folder in found for each in (folder, os.path.realpath(folder))}))
