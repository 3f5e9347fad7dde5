# pyright: basic, reportMissingImports=false
# (it wraps functions of Python's and of packages')
"""Watch what runs and what is read while a loader runs: in all its threads, through all doors that Python knows of."""

from __future__ import annotations

import contextlib
import functools
import os
import posix
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hotloop.gpu_runtime.user_env.fingerprint import setters
from hotloop.gpu_runtime.user_env.fingerprint.files import Look, glance
from hotloop.gpu_runtime.user_env.fingerprint.unwatched import unwatched_imports
from hotloop.gpu_runtime.user_env.source import installed_folders
from hotloop.gpu_runtime.user_env.vault.code import is_of_project

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from hotloop.gpu_runtime.user_env.source import Project

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120
_NOT_DATA = ("/proc/", "/sys/", "/dev/")
_OF_ENVIRON = ("<frozen os>", "<frozen _collections_abc>")
_DATA = "/dev/shm/"  # noqa: S108  a disk in memory: people keep weights there
_IMPORTERS = (
    "<frozen importlib",
    "/importlib/metadata/",
    "/user_env/source.py",
    "/linecache.py",
    "/tokenize.py",
    "/traceback.py",
)
_STARTS_PROCESS = frozenset({"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "pty.spawn"})
_MAKES = {"os.rename": 1, "os.replace": 1, "os.link": 1, "os.symlink": 1, "os.mkdir": 0, "os.truncate": 0,
          "os.remove": 0, "os.rmdir": 0}  # fmt: skip
_NOTED = frozenset({"open", "os.listdir", "os.scandir", "sqlite3.connect", "socket.connect", *_STARTS_PROCESS, *_MAKES})
_STAT_FUNCTIONS = ("stat", "lstat", "access", "readlink", "statvfs")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Trace:
    """What a loader did.

    Attributes:
        codes: The project's code that ran, with the module it ran in.
        installed: Files of installed packages whose code ran.
        files: What was read, as it was when first opened.
        looked_at: Paths whose existence or status was asked for.
        folders: Folders that were listed.
        written: Paths that were written or removed.
        permissions: Paths whose permissions were asked for.
        variables: Environment variables that were read; all of them if ``""`` is among them.
        assigned: Those that were set.
        hosts: Addresses that were connected to.
        processes: Programs that were started.
        seeded: Which random generators were seeded.
        set_up: The calls of the project's that set packages up, in order, as `setters` has them.
        fresh: Names of modules of the project whose import began and ended here.
    """

    def __init__(self, project: Project, on_imported: Callable[[str], None]) -> None:
        self.project = project
        self.codes: dict[CodeType, str] = {}
        self.installed: set[str] = set()
        self.files: dict[str, Look] = {}
        self.looked_at: dict[str, Look] = {}
        self.folders: set[str] = set()
        self.permissions: set[str] = set()
        self.written: set[str] = set()
        self.variables: set[str] = set()
        self.assigned: set[str] = set()
        self.hosts: list[str] = []
        self.processes: list[str] = []
        self.seeded: set[str] = set()
        self.set_up: list[bytes] = []
        self.fresh: list[str] = []
        self.on_imported = on_imported
        self.was_lost = False
        self._owned: dict[str, bool] = {}
        self._calls: dict[int, bytes] = {}  # that set up, by their frames, until they return
        self._asking: set[int] = set()
        self._installed_folders = installed_folders()  # asked for now: later, its own questions would be watched

    def ran(self, code: CodeType, frame: FrameType | None) -> None:
        """Note code that begins to run."""
        if code in self.codes:
            return
        if self._is_own(code):
            self.codes[code] = (frame.f_globals.get("__name__") or "") if frame else ""

    def _is_own(self, code: CodeType) -> bool:
        path = code.co_filename
        owned = self._owned.get(path)
        if owned is None:
            owned = self._owned[path] = is_of_project(code, self.project)
            if not owned and not path.startswith(_OURS):
                self.installed.add(path)
        return owned

    def is_set_by_project(self, frame: FrameType | None) -> bool:
        """Whether the project's own code sets something in ``os.environ``, and no library for it."""
        while frame is not None and frame.f_code.co_filename in _OF_ENVIRON:
            frame = frame.f_back
        return frame is not None and self._is_own(frame.f_code)

    def sets_up(self, frame: FrameType) -> None:
        """Note a call of a function that `setters.may_set_up`."""
        self._calls.pop(id(frame), None)  # of one that raised, whose frame was where this one's is
        if not self._is_own(frame.f_code) and (call := setters.call_of(frame, self.project, self._is_own)):
            self._calls[id(frame)] = call

    def has_set_up(self, frame: FrameType, value: Any) -> None:
        """Note that such a call returned."""
        call = self._calls.pop(id(frame), b"")
        if call and value is None:
            self.set_up.append(call)

    def ended(self, code: CodeType, frame: FrameType | None) -> None:
        """Note that a module of the project was imported."""
        if code.co_name == "<module>" and code in self.codes and frame is not None:
            name = frame.f_globals.get("__name__") or ""
            self.fresh.append(name)
            self.on_imported(name)

    def opened(self, path: Any, flags: Any) -> None:
        """Note a file that is opened."""
        name = _absolute(path)
        if name is None or (name.endswith((".py", ".pyc")) and self.is_import()):
            return
        if not self.project.is_behind(sys._getframe(2)):  # noqa: SLF001
            return
        if isinstance(flags, int) and flags & _WRITES and name not in self.files:
            self.written.add(name)
        elif name not in self.written:
            self.files.setdefault(name, glance(name))

    def asked(self, path: Any) -> None:
        """Note a path whose status is asked for."""
        name = _absolute(path)
        if name is None or name in self.looked_at or (name.endswith((".py", ".pyc")) and self.is_import()):
            return
        thread = threading.get_ident()
        if thread in self._asking or name.startswith(self._installed_folders):
            return  # whether a package is there is for its version to say
        self._asking.add(thread)  # finding out who asks asks for statuses too
        try:
            if self.project.is_behind(sys._getframe(2)):  # noqa: SLF001
                self.looked_at[name] = glance(name)
        finally:
            self._asking.discard(thread)

    def asked_for_access(self, path: Any) -> None:
        """Note a path of which it is asked what may be done with it."""
        name = _absolute(path)
        if name is not None:
            self.permissions.add(name)
        self.asked(path)

    def is_import(self) -> bool:
        """Whether a module is being looked for; what one that is found does itself is not that."""
        frame = sys._getframe(2)  # noqa: SLF001
        for _ in range(8):
            if frame is None:
                return False
            file = frame.f_code.co_filename
            if any(part in file for part in _IMPORTERS):
                return True
            if not file.startswith(_OURS) and self.project.owns_file(file):
                return False
            frame = frame.f_back
        return False


def _absolute(path: Any, folder: int | None = None) -> str | None:
    if path is None or isinstance(path, int):
        return None
    try:
        name = os.fsdecode(path)
        if folder is not None:
            name = os.path.join(_path_of(folder), name)  # noqa: PTH118
        name = os.path.abspath(name)  # noqa: PTH100
    except (TypeError, ValueError, OSError):
        return None
    return None if name.startswith(_NOT_DATA) and not name.startswith(_DATA) else name


def _path_of(fd: int) -> str:
    return posix.readlink(f"/proc/self/fd/{fd}")


# --- what is read ----------------------------------------------------------------------------------------------------

_current: Trace | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _current is not None and event in _NOTED:  # most are of others: each `id()` is one
        _note(_current, event, arguments)


def _note(trace: Trace, event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        trace.opened(arguments[0], arguments[2])
    elif event in {"os.listdir", "os.scandir"}:
        given = arguments[0] if arguments[0] is not None else "."
        name = _absolute("", given) if isinstance(given, int) else _absolute(given)
        if name is not None and not trace.is_import():
            trace.folders.add(name)
    elif event == "sqlite3.connect":  # its files are opened in C
        trace.opened(_database(arguments[0]), 0)
    elif event == "socket.connect":
        trace.hosts.append(str(arguments[1]))
    elif event in _STARTS_PROCESS:
        trace.processes.append(str(arguments[0] if arguments else event)[:80])
    elif event in _MAKES and (name := _absolute(arguments[_MAKES[event]])) is not None:
        trace.written.add(name)


def _database(name: Any) -> Any:
    """The path in what SQLite is given: a path, or a URI."""
    text = os.fsdecode(name) if isinstance(name, bytes | os.PathLike) else name
    if isinstance(text, str) and text.startswith("file:"):
        return unquote(text.removeprefix("file:").partition("?")[0]).removeprefix("//") or None
    return None if text in {"", ":memory:"} else text


@functools.cache
def _audited() -> None:
    sys.addaudithook(_audit)  # it can't be taken away again


@contextlib.contextmanager
def watching(project: Project, on_imported: Callable[[str], None]) -> Iterator[Trace]:
    """Trace what runs inside; one at a time in a process."""
    global _current  # noqa: PLW0603 (audit hooks are for a whole process)
    _audited()
    trace = Trace(project, on_imported)
    with contextlib.ExitStack() as undo:
        _watch_status(trace, undo)
        _watch_environment(trace, undo)
        _watch_native_readers(trace, undo)
        _watch_seeds(trace, undo)
        undo.enter_context(_watch_code(trace))
        _current = trace
        try:
            yield trace
        finally:
            _current = None


def _replace(owner: Any, name: str, value: Any, undo: contextlib.ExitStack) -> None:
    original = getattr(owner, name)
    setattr(owner, name, value)
    undo.callback(setattr, owner, name, original)


def _watch_status(trace: Trace, undo: contextlib.ExitStack) -> None:
    _replace(os, "open", _noting_open(trace), undo)
    for name in _STAT_FUNCTIONS:
        wrapped = _noting(getattr(posix, name), trace.asked_for_access if name == "access" else trace.asked)
        _replace(os, name, wrapped, undo)
        # Python asks these sets what a function can do, and a wrapper can do the same.
        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if getattr(posix, name) in able:
                able.add(wrapped)
                undo.callback(able.discard, wrapped)


def _noting(function: Any, note: Callable[[Any], None]) -> Any:
    @functools.wraps(function)
    def noted(path: Any = None, *arguments: Any, **named: Any) -> Any:
        folder = named.get("dir_fd")
        note(path if folder is None else _absolute(path, folder))
        return function(path, *arguments, **named)

    return noted


def _noting_open(trace: Trace) -> Any:
    """``os.open``: the audit hook is not told relative to which folder."""
    original = posix.open

    @functools.wraps(original)
    def noted(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None and (name := _absolute(path, dir_fd)) is not None:
            trace.opened(name, flags)
        return original(path, flags, mode, dir_fd=dir_fd)

    return noted


def _watch_environment(trace: Trace, undo: contextlib.ExitStack) -> None:
    kind = type(os.environ)
    original_get: Any = kind.__getitem__
    original_set = kind.__setitem__
    original_iter = kind.__iter__

    def get(self: Any, key: Any) -> Any:
        name: Any = os.fsdecode(key) if isinstance(key, bytes) else key
        if isinstance(name, str) and name not in trace.variables and trace.project.is_behind(sys._getframe(1)):  # noqa: SLF001
            trace.variables.add(name)
        return original_get(self, key)

    def put(self: Any, key: Any, value: Any) -> None:
        original_set(self, key, value)
        if trace.is_set_by_project(sys._getframe(1)):  # noqa: SLF001
            trace.assigned.add(os.fsdecode(key))

    def iterate(self: Any) -> Any:
        if trace.project.is_behind(sys._getframe(1)):  # noqa: SLF001
            trace.variables.add("")
        return original_iter(self)

    _replace(kind, "__getitem__", get, undo)
    _replace(kind, "__setitem__", put, undo)
    _replace(kind, "__iter__", iterate, undo)


def _watch_native_readers(trace: Trace, undo: contextlib.ExitStack) -> None:
    # Written in C or Rust, they open files behind Python's back. Any module may have imported them by name.
    for module in list(sys.modules.values()):
        reader = getattr(module, "__dict__", {}).get("safe_open")
        if isinstance(reader, type):
            _replace(module, "safe_open", _noting_class(reader, trace), undo)
    library = getattr(sys.modules.get("tokenizers"), "Tokenizer", None)
    if library is not None:
        return  # its from_file is a method of a C type, which can't be replaced; the path it gets is a string in sight


def _noting_class(reader: type, trace: Trace) -> Any:
    def open_noted(*arguments: Any, **named: Any) -> Any:
        trace.opened(arguments[0] if arguments else named.get("filename"), 0)
        return reader(*arguments, **named)

    return open_noted


def _watch_seeds(trace: Trace, undo: contextlib.ExitStack) -> None:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    found: list[tuple[Any, str, tuple[str, ...]]] = [(random, "seed", ("python",))]
    if torch is not None and hasattr(torch, "manual_seed"):
        found += [(owner, "manual_seed", ("torch", "the GPU")) for owner in (torch, torch.random)]
        owners = (torch.cuda, torch.cuda.random)
        found += [(owner, name, ("the GPU",)) for owner in owners for name in ("manual_seed", "manual_seed_all")]
    if numpy is not None and hasattr(numpy, "random"):
        found.append((numpy.random, "seed", ("numpy",)))
    for owner, name, generators in found:
        _replace(owner, name, _noting_seed(getattr(owner, name), generators, trace), undo)


def _noting_seed(function: Any, generators: tuple[str, ...], trace: Trace) -> Any:
    @functools.wraps(function)
    def seed(*arguments: Any, **named: Any) -> Any:
        trace.seeded.update(generators)
        return function(*arguments, **named)

    return seed


# --- what runs -------------------------------------------------------------------------------------------------------


def _watch_code(trace: Trace) -> contextlib.AbstractContextManager[None]:
    return _monitoring(trace) if sys.version_info >= (3, 12) else _profiling(trace)


@contextlib.contextmanager
def _profiling(trace: Trace) -> Iterator[None]:
    # This runs at every call and return. A code object's own hash goes through all its constants; `id`, and each look at
    # a frame's `f_code`, is an event for the audit hook.
    identity = object.__hash__
    seen: dict[int, bool] = {}  # whether its return counts, too
    alive: list[CodeType] = []
    followed: set[FrameType] = set()

    def profile(frame: FrameType, event: str, value: Any) -> None:
        if event == "call":
            code = frame.f_code
            is_followed = seen.get(identity(code))
            if is_followed is None:
                is_followed = seen[identity(code)] = code.co_name == "<module>" or setters.may_set_up(code)
                alive.append(code)
                trace.ran(code, frame)
            if is_followed:
                followed.add(frame)
                if code.co_name != "<module>":
                    trace.sets_up(frame)
        elif event == "return" and frame in followed:
            followed.discard(frame)
            if frame.f_code.co_name == "<module>":
                trace.ended(frame.f_code, frame)
            else:
                trace.has_set_up(frame, value if setters.has_returned(frame) else NotImplemented)

    before = sys.getprofile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        with unwatched_imports(trace, profile):
            yield
    finally:
        trace.was_lost = sys.getprofile() is not profile
        sys.setprofile(before)
        threading.setprofile(before)


@contextlib.contextmanager
def _monitoring(trace: Trace) -> Iterator[None]:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    events = monitoring.events
    tool = next((number for number in (4, 3, 1, 5) if monitoring.get_tool(number) is None), None)
    if tool is None:
        trace.was_lost = True
        yield
        return

    def started(code: CodeType, _: int) -> Any:
        trace.ran(code, sys._getframe(1))  # noqa: SLF001
        if not setters.may_set_up(code):
            return monitoring.DISABLE
        trace.sets_up(sys._getframe(1))  # noqa: SLF001
        return None

    def returned(code: CodeType, _: int, value: Any) -> Any:
        if setters.may_set_up(code):
            trace.has_set_up(sys._getframe(1), value)  # noqa: SLF001
            return None
        trace.ended(code, sys._getframe(1))  # noqa: SLF001
        return monitoring.DISABLE

    monitoring.use_tool_id(tool, "hotloop")
    try:
        for event, callback in ((events.PY_START, started), (events.PY_RESUME, started), (events.PY_RETURN, returned)):
            monitoring.register_callback(tool, event, callback)
        monitoring.set_events(tool, events.PY_START | events.PY_RESUME | events.PY_RETURN)
        monitoring.restart_events()
        yield
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
