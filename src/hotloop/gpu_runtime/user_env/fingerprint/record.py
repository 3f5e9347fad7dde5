# pyright: basic
# (a loader takes and returns the user's values)
"""Run a model's loader and write down all that its result depends on."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import secrets
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.fingerprint import ambient, files, packages, setters
from hotloop.gpu_runtime.user_env.fingerprint.attributes import attributes_set
from hotloop.gpu_runtime.user_env.fingerprint.effects import Effects
from hotloop.gpu_runtime.user_env.fingerprint.paths import absent_modules, paths_of
from hotloop.gpu_runtime.user_env.fingerprint.trace import Trace, watching
from hotloop.gpu_runtime.user_env.fingerprint.uses import Meanings, Uses, is_of_project
from hotloop.gpu_runtime.user_env.fingerprint.values import Canon, Places, state_of
from hotloop.gpu_runtime.user_env.vault.code import codes_within, hashed, run_digest
from hotloop.gpu_runtime.user_env.vault.code import is_of_project as is_own_code

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_NOT_INPUTS = frozenset({
    "COLUMNS", "LINES", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "PWD", "OLDPWD", "SHLVL", "_", "PYTHONBREAKPOINT",
    "PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",  # the last two: torch sets them itself
})  # fmt: skip
# Libraries ask these about the machine, or find libraries with them; none runs code of the project.
_NEVER_PROJECT = frozenset({
    "ldconfig", "ld", "gcc", "cc", "g++", "c++", "objdump", "uname", "lscpu", "file", "nvidia-smi", "rocm-smi", "nvcc",
})  # fmt: skip
_HOLDS_NOTHING = frozenset({
    str, bytes, int, float, bool, tuple, types.NoneType, types.ModuleType, types.BuiltinFunctionType, ModuleSpec,
})  # fmt: skip
_ALWAYS_INPUTS = ("CUDA_VISIBLE_DEVICES",)
_THREADS = "torch's thread count"


@frozen
class Ran:
    """One code object of the project that ran: where it stands, and what it was."""

    module: str
    name: str
    nth: int
    digest: str


@dataclass(frozen=True)
class Record:
    """What a loaded model depended on, and what its loader left set.

    Attributes:
        load: Names this load; another load has another name, even of the same loader.
        loader: The loader's module, name, ordinal, and what it is bound to.
        ran: The project's code that ran.
        uses: What that code refers to by name, by module.
        is_wide: It computes names: all names of all modules count.
        meanings: Digests of what the names meant.
        shown: Their values, where short.
        fresh: The project's modules that the loader imported first.
        absent: Where modules would be that the code may import, and that the project has not.
        effects: What importing the other modules of the project does to packages.
        sources: Digests of all source texts, if it looks at source.
        files: What files held.
        folders: What folders listed.
        environment: Digests of environment variables (None: not set).
        settings: Ambient settings at the start.
        packages: Versions of what was used.
        python: The interpreter's version.
        dependencies: The names of the loads of the models it was made from.
        generators: Digests of the states in which the loader found the random generators that it drew from, of those that
            had been seeded.
        left: Ambient settings, environment and random states that the loader left, and calls by which it set packages up.
        earlier: What the loaders before it left in libraries, as `left.Left` names it.
    """

    load: str
    loader: list[Any]
    ran: tuple[Ran, ...]
    uses: dict[str, Any]
    is_wide: bool
    meanings: dict[str, str]
    shown: dict[str, str]
    fresh: tuple[str, ...]
    absent: tuple[str, ...]
    effects: dict[str, Any]
    sources: dict[str, str]
    files: dict[str, Any]
    folders: dict[str, Any]
    environment: dict[str, str | None]
    settings: dict[str, Any]
    packages: dict[str, str]
    python: str
    dependencies: dict[str, str]
    generators: dict[str, str] = field(default_factory=dict[str, str])
    left: dict[str, Any] = field(default_factory=dict[str, Any])
    earlier: str = ""

    @cached_property
    def used(self) -> dict[str, Uses]:
        """`uses`, read."""
        return {module: Uses.from_json(each) for module, each in self.uses.items()}

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """Undo `to_json`."""
        ran = tuple(Ran(**each) for each in data["ran"])
        return cls(**{**data, "ran": ran, "fresh": tuple(data["fresh"]), "absent": tuple(data["absent"])})

    def set_up_again(self) -> list[str]:
        """Set packages up as the loader did, by the same calls and attributes; returns a sentence about each that fails."""
        ambient.add_filters(self.left["filters"])
        return [*setters.call_again(self.left["calls"]), *ambient.restore_attributes(self.left["attributes"])]

    def restore_ambient(self) -> bool:
        """Set again what the loader left set, as if it had run here; returns whether it left anything."""
        left = self.left
        has_restored = ambient.restore(left["settings"], left["environment"], left["generators"])
        return has_restored or bool(left["attributes"])


@dataclass(frozen=True)
class Recording:
    """A loader's result.

    Attributes:
        value: What it returned.
        record: What it depended on.
        notes: What the user should know of it, a sentence each.
        cannot_stay: Why the result must not outlive this process; empty if it may.
        patched: Where packages hold the project's code by now.
    """

    value: Any
    record: Record
    notes: tuple[str, ...]
    cannot_stay: str
    patched: set[str]


@dataclass
class _Before:
    """The process as the loader finds it."""

    inputs: dict[str, Any]
    settings: dict[str, Any]
    environment: dict[str, str]
    state: dict[str, str]
    arguments: dict[str, str]
    patched: set[str]
    generators: dict[str, str]
    filters: list[Any]
    threads: set[int]


def record(
    loader: Callable[..., Any],
    arguments: dict[str, Any],
    dependencies: dict[str, str],
    project: Project,
    patched: set[str] | None = None,
) -> Recording:
    """Run a loader and note what it depends on.

    Args:
        loader: The user's function.
        arguments: The models that it takes, by parameter name.
        dependencies: The names of their loads, by parameter name.
        project: The revision that runs.
        patched: Where packages hold the project's code, if an earlier load in this process found that out: it takes a look at
            all that modules name.

    Raises:
        BaseException: Whatever the loader raises.
    """
    places = Places(project)
    _forget_cached_results(project)
    before = _take(arguments, project, places, _patches(project) if patched is None else patched)

    def imported(module: str) -> None:
        before.state.update(state_of([module], project, places))

    with watching(project, imported) as trace:
        value = loader(**arguments)
    made = _record(loader, trace, before, dependencies, places)
    now = _patches(project)
    return Recording(value, made, _notes(trace), _cannot_stay(trace, before, arguments, places, now), now)


def _forget_cached_results(project: Project) -> None:
    # What another loader, or an import, had computed before would not be seen to run. Those of libraries are older than
    # the fork, and frozen: the collector does not list them.
    for each in gc.get_objects():
        if type(each) is functools._lru_cache_wrapper:  # noqa: SLF001
            wrapped = getattr(each.__wrapped__, "__func__", each.__wrapped__)
            if is_of_project(wrapped, project):
                each.cache_clear()


def _take(arguments: dict[str, Any], project: Project, places: Places, patched: set[str]) -> _Before:
    return _Before(
        ambient.inputs(),
        ambient.snapshot(),
        dict(os.environ),
        state_of(project.modules(), project, places),
        _argument_state(arguments, project, places),
        patched,
        ambient.generator_digests(ambient.seeded()),
        list(warnings.filters),
        set(sys._current_frames()),  # noqa: SLF001  threads that C started are in it too
    )


def _argument_state(arguments: dict[str, Any], project: Project, places: Places) -> dict[str, str]:
    return {name: Canon(project, places, is_quick=True).digest(value) for name, value in arguments.items()}


def _record(
    loader: Callable[..., Any], trace: Trace, before: _Before, dependencies: dict[str, str], places: Places
) -> Record:
    project = trace.project
    ran, uses, is_wide = _code(trace, places)
    meanings = Meanings(project, places)
    meanings.collect(uses, is_wide=is_wide)
    for each in ran:
        meanings.note_class_of(each.module, each.name)
    meanings.collect({}, is_wide=False)
    # What another process of this program runs is not seen: any of the project's code may.
    has_unseen = any(os.path.basename(program) not in _NEVER_PROJECT for program in trace.processes)  # noqa: PTH119
    reads_source = has_unseen or any(used.reads_source for used in uses.values())
    paths, folders = paths_of(
        trace, meanings, {name for used in uses.values() for name in used.attributes | used.names}
    )
    return Record(
        load=secrets.token_hex(8),
        loader=identity(loader, places),
        ran=tuple(ran),
        uses={module: used.to_json() for module, used in uses.items()},
        is_wide=is_wide,
        meanings=meanings.digests,
        shown=meanings.shown,
        fresh=tuple(trace.fresh),
        absent=absent_modules(uses, project),
        effects=Effects(project, places, {}).of_all([name for name in project.modules() if name not in trace.fresh]),
        sources=sources(project) if reads_source else {},
        files=paths,
        folders={path: files.listing(path) for path in folders},
        environment=_environment(trace, before.environment),
        settings=before.inputs,
        packages=packages.used(trace.installed, {*meanings.installed, *_argument_modules(trace)}),
        python=sys.version,
        dependencies=dict(dependencies),
        generators={name: before.generators[name] for name in _drawn_from(before)},
        left=_left(trace, before),
    )


def identity(loader: Any, places: Places) -> list[Any]:
    """Which function a loader is, beside its code: a JSON value."""
    canon = Canon(places.project, places)
    place = places.of(loader.__code__, loader.__module__) if isinstance(loader, types.FunctionType) else None
    return [loader.__module__, *(place or (loader.__qualname__, 0)), canon.digest(loader)]


def _argument_modules(trace: Trace) -> set[str]:
    return {name for name in ("torch", "numpy") if name in sys.modules} if trace.codes else set()


def _code(trace: Trace, places: Places) -> tuple[list[Ran], dict[str, Uses], bool]:
    inside = {id(inner) for code in trace.codes if code.co_flags & inspect.CO_OPTIMIZED for inner in codes_within(code)}
    ran: list[Ran] = []
    uses: dict[str, Uses] = {}
    is_wide = False
    for code, module in list(trace.codes.items()):
        where = places.of(code, module)
        package = getattr(sys.modules.get(module), "__package__", "") or ""
        uses.setdefault(module, Uses()).add(code, package)
        is_wide = is_wide or where is None
        if where is None and id(code) not in inside:  # run as a script, say: its file counts as data
            trace.files.setdefault(code.co_filename, files.glance(code.co_filename))
        elif where is not None and id(code) not in inside:
            ran.append(Ran(module, *where, run_digest(code)))
    _open_stars(uses)
    return ran, uses, is_wide or any(used.is_dynamic for used in uses.values())


def _open_stars(uses: dict[str, Uses]) -> None:
    # A name may come from a module through several that import all of it, one from the other.
    if starred := [used for used in uses.values() if used.has_star]:
        wanted = {name for used in uses.values() for name in (*used.names, *used.attributes)}
        for used in starred:
            used.attributes |= wanted


def sources(project: Project) -> dict[str, str]:
    """Digests of the source texts of the project's modules."""
    found = {name: getattr(sys.modules[name], "__file__", None) or "" for name in project.modules()}
    return {name: hashed(project.source_of(path) or b"") for name, path in found.items()}


def _environment(trace: Trace, before: dict[str, str]) -> dict[str, str | None]:
    names = {*trace.variables, *_ALWAYS_INPUTS}
    is_all = "" in names
    if is_all:
        names |= before.keys()
    found = {name: variable_digest(before.get(name)) for name in sorted(names - _NOT_INPUTS - {""})}
    return found | ({"": names_digest(before, _environment_left(trace, before))} if is_all else {})


def _environment_left(trace: Trace, before: dict[str, str]) -> dict[str, str | None]:
    after = dict(os.environ)
    # What it set to what it was is set again too: another loader may set it otherwise one day.
    return ambient.environment_changes(before, after) | {name: after.get(name) for name in trace.assigned}


def names_digest(environment: Iterable[str], left: Iterable[str]) -> str:
    """Digest of which environment variables there are, without those that the loader itself sets."""
    return hashed(sorted({*environment} - _NOT_INPUTS - {*left}))


def variable_digest(value: str | None) -> str | None:
    """Digest of an environment variable: its value may be a secret."""
    return None if value is None else hashed(value)


def _drawn_from(before: _Before) -> list[str]:
    now = ambient.generator_digests(before.generators)
    return [name for name, state in before.generators.items() if now.get(name) != state]


def _left(trace: Trace, before: _Before) -> dict[str, Any]:
    ambient.note_seeded(trace.seeded)
    after = ambient.snapshot()
    if _THREADS not in before.settings and not any("set_num_threads" in code.co_names for code in trace.codes):
        after.pop(_THREADS, None)  # as torch chose it when the loader imported it
    return {
        "settings": ambient.changes(before.settings, after),
        "environment": _environment_left(trace, before.environment),
        "generators": ambient.generators({*trace.seeded, *_drawn_from(before), *_seeded_unseen(before)}),
        "filters": ambient.filters_added(before.filters),
        "calls": setters.as_text(trace.set_up),
        "attributes": [
            [each.module, each.path, each.value] for each in attributes_set(trace.codes, trace.project) if each.is_plain
        ],
    }


def _seeded_unseen(before: _Before) -> set[str]:
    # By a function that the project imported by name, before it was watched.
    return ambient.seeded() - before.generators.keys()


# --- what to say of it -----------------------------------------------------------------------------------------------


def _notes(trace: Trace) -> tuple[str, ...]:
    notes: list[str] = []
    if trace.processes:
        notes.append(f"its loader ran {trace.processes[0]!r}: what that reads is not tracked")
    if trace.hosts:
        notes.append(f"its loader connected to {trace.hosts[0]}: what came from there is not tracked")
    return tuple(notes)


def _cannot_stay(trace: Trace, before: _Before, arguments: dict[str, Any], places: Places, patched: set[str]) -> str:
    project = trace.project
    if trace.was_lost:
        return "its loader (or something it calls) replaced the profiler that follows what it does"
    after = state_of(project.modules(), project, places)
    changed = sorted(name for name in {*after, *before.state} if before.state.get(name) != after.get(name))
    changed = [name for name in changed if not _is_submodule(name)]
    if changed:
        return f"its loader also changed {changed[0]}; return it from the loader instead"
    for name, digest in _argument_state(arguments, project, places).items():
        if before.arguments[name] != digest:
            return f"its loader changed the model {name!r} that it was given"
    for each in attributes_set(trace.codes, project):
        if not each.is_plain and not isinstance(each.value, types.ModuleType):
            what = f"{each.module}.{each.path}"
            return f"its loader sets {what}, where a kept model would miss it; set it when your module is imported"
    if running := _still_running(before, project):
        return f"its loader started a thread that goes on with {running}(); start it when your module is imported"
    if new := patched - before.patched:
        return f"its loader put the project's code into {min(new)}, where a kept model would miss it"
    return ""


def _still_running(before: _Before, project: Project) -> str:
    """The project's function that a thread runs which was not there before: no other generation would have it."""
    for thread, top in sys._current_frames().items():  # noqa: SLF001
        frame = top if thread not in before.threads else None
        while frame is not None:
            if is_own_code(frame.f_code, project):
                return frame.f_code.co_qualname
            frame = frame.f_back
    return ""


def _is_submodule(name: str) -> bool:
    # Importing pkg.part sets `part` in pkg, in whatever process.
    return name in sys.modules


def _patches(project: Project) -> set[str]:
    """Where installed modules hold the project's functions and classes: by name, or in a table one step away.

    There are a hundred thousand names: neither `id` nor a function's code is asked for, since both are events for audit hooks.
    """
    identity = object.__hash__
    own = frozenset(name for name in list(sys.modules) if project.owns_module(name))
    found: set[str] = set()
    # Most of what a module names is others', and named by many. It is held: the identity of what is gone is used again.
    looked_at: dict[int, Any] = {}
    for name, module in list(sys.modules.items()):
        if module is None or name in own or name.startswith(("hotloop.", "__")):
            continue
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if type(value) in _HOLDS_NOTHING or identity(value) in looked_at:
                continue
            if _is_mine(value, own) or _holds(value, own):
                found.add(f"{name}.{key}")
            else:
                looked_at[identity(value)] = value
    return found


def _is_mine(value: Any, own: frozenset[str]) -> bool:
    """Whether a function or class was defined in one of these modules."""
    kind = type(value)
    if kind is types.FunctionType:
        return value.__globals__.get("__name__") in own
    return issubclass(kind, type) and value.__module__ in own


def _holds(value: Any, own: frozenset[str]) -> bool:
    if issubclass(type(value), dict | list | set):  # such as torch's hooks for all modules, in an OrderedDict
        is_small = type(value).__len__(value) < 10_000
        return is_small and any(_is_mine(each, own) for each in gc.get_referents(value))
    if issubclass(type(value), type):
        return any(_is_mine(each, own) for each in list(vars(value).values()))
    if issubclass(type(value), types.ModuleType | types.FunctionType):
        return False
    try:
        inside = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return False
    if type(inside) is not dict:
        return False
    return any(
        _is_mine(each, own) or (type(each) in {dict, list} and _holds(each, own)) for each in list(inside.values())
    )
