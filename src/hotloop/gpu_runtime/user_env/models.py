# pyright: basic
# (models are the user's objects)
"""What a worker has of each model: attached from the vault, loaded by its loader, or called in a host.

A model's result is used as it comes out of the vault even in the worker that loaded it: so every generation has the same
object, and the weights are in memory once.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from hotloop.gpu_runtime.user_env.app import ModelSpec
from hotloop.gpu_runtime.user_env.fingerprint import ambient, held
from hotloop.gpu_runtime.user_env.fingerprint.compare import Present
from hotloop.gpu_runtime.user_env.fingerprint.left import Left
from hotloop.gpu_runtime.user_env.fingerprint.record import Record, Recording, record
from hotloop.gpu_runtime.user_env.hosted import Proxy
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.vault import cuda
from hotloop.gpu_runtime.user_env.vault.attaching import Opened, open_memory, rebuild
from hotloop.gpu_runtime.user_env.vault.code import code_digest
from hotloop.gpu_runtime.user_env.vault.packing import CannotPack, Packed, pack
from hotloop.gpu_runtime.user_env.vault.reducers import CannotAttach
from hotloop.gpu_runtime.user_env.vault.sharing import Shared
from hotloop.gpu_runtime.user_env.wire import Message

_NOT_ATTACHED = object()


class HostFailed(Exception):
    """The process that should hold a model could not load it. ``problem`` is what to show."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["message"])
        self.problem = problem


@dataclass
class Resident:
    """A model in the vault, as this worker got it."""

    record: Record
    header: bytes
    fds: tuple[int, ...]
    needs_project: bool
    modules: tuple[str, ...]
    size_bytes: int
    is_mutable: bool
    opened: Opened | None = None
    value: Any = _NOT_ATTACHED

    def forget(self) -> None:
        """Let go of what was attached ahead and is not to be used: a GPU has no room for the old weights and the new."""
        self.value = _NOT_ATTACHED
        if self.opened is not None:
            gpu, self.opened = self.opened.gpu, None
            gc.collect()
            gpu.close()
        for fd in self.fds:  # each one keeps the memory
            os.close(fd)
        self.fds = ()


@dataclass
class Hosted:
    """A model in a process of its own.

    Attributes:
        project_code: Digests of the project's modules that it may hold code of.
        project_names: What names mean to that code, as `held` has it.
    """

    record: Record
    proxy: Proxy
    project_code: dict[str, str]
    project_names: dict[str, Any]


@dataclass(frozen=True)
class Runtime:
    """What the runtime does for models.

    Attributes:
        tell: Sends a frame: header, payload, descriptors.
        host: Has a model loaded in a process of its own and waits for it; raises `HostFailed`.
    """

    tell: Callable[..., None]
    host: Callable[[str, str], Hosted]


class Models:
    """The models of one worker, by name."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._shelf: dict[str, Resident | Hosted] = {}
        self.values: dict[str, Any] = {}
        self.outcomes: list[dict[str, Any]] = []
        self._loads: dict[str, str] = {}
        self._present = Present(project)
        self._left = Left()
        self._patched: set[str] | None = None  # where packages hold the project's code, if known

    def shelve(self, message: Message) -> str:
        """Take a model that the runtime holds; returns its name."""
        header = message.header
        self._shelf[header["model"]] = (
            hosted_from(message)
            if header["kind"] == "hosted"
            else Resident(
                Record.from_json(header["record"]),
                message.payload,
                message.fds,
                header["needs_project"],
                tuple(header["modules"]),
                header["size_bytes"],
                header["is_mutable"],
            )
        )
        return header["model"]

    def sizes(self) -> list[tuple[str, int]]:
        """Name the models whose weights are in memory, with their bytes."""
        kept = {name: entry.size_bytes for name, entry in self._shelf.items() if isinstance(entry, Resident)}
        return [(f"model {name}", size_bytes) for name, size_bytes in kept.items() if size_bytes]

    def attach_early(self, name: str) -> None:
        """Map a model's memory ahead of the save, and attach it if it has nothing of the project's in it.

        Anything that goes wrong is left for the reload, which has a place to say it.
        """
        self.warm_up(name)
        entry = self._shelf.get(name)
        if not isinstance(entry, Resident) or entry.value is not _NOT_ATTACHED:
            return
        try:
            entry.opened = open_memory(entry.header, entry.fds, is_ahead=True)
            if not entry.needs_project:
                entry.value = rebuild(entry.opened, self._project, self._attached_ahead())
        except Exception:  # noqa: BLE001
            entry.value = _NOT_ATTACHED

    def _attached_ahead(self) -> dict[str, Any]:
        kept = {name: entry.value for name, entry in self._shelf.items() if isinstance(entry, Resident)}
        return {name: value for name, value in kept.items() if value is not _NOT_ATTACHED}

    @property
    def has_loaded(self) -> bool:
        """Whether a loader ran in this process."""
        return any(outcome["action"] == "loaded" for outcome in self.outcomes)

    @property
    def names(self) -> tuple[str, ...]:
        """The models that the runtime holds."""
        return tuple(self._shelf)

    def warm_up(self, name: str) -> None:
        """Go through what can be compared before there is a revision to compare, so that the CPU has it at hand."""
        entry = self._shelf.get(name)
        if entry is not None:
            Present(self._project).warm_up(entry.record)

    def proxies(self) -> dict[str, Proxy]:
        """The hosted models' proxies, by name."""
        return {name: entry.proxy for name, entry in self._shelf.items() if isinstance(entry, Hosted)}

    def provide(self, spec: ModelSpec, forced: set[str], runtime: Runtime, *, is_replica: bool = False) -> None:
        """Give one model a value: kept if its fingerprint is equal, else loaded. Its dependencies come first.

        Args:
            spec: The model.
            forced: Names of models to load, whatever their fingerprints.
            runtime: Does what needs others.
            is_replica: Whether the generation's first worker has all models already: what can be shared is kept.

        Raises:
            HostFailed: Its host could not load it.
            BaseException: Whatever the loader raises.
        """
        began_s = time.monotonic()
        entry = self._shelf.get(spec.name)
        if is_replica:
            why = "" if entry is not None else "each worker has its own"
        else:
            why = self._why_load(spec, entry, forced)
        action, home, size = ("loaded" if why else "kept"), "resident", 0
        if why:
            runtime.tell({"kind": "loading", "model": spec.name, "why": why})
            entry, home, extra = self._load(spec, entry, why, runtime)
            self._present = Present(self._project)
            why += extra
        if isinstance(entry, Resident):
            size = entry.size_bytes
            entry, extra = self._attached(spec, entry, why, runtime)
            why += extra
        if isinstance(entry, Hosted):
            home = "hosted"
            self.values[spec.name] = entry.proxy
        if entry is not None:
            self._shelf[spec.name] = entry
            self._loads[spec.name] = entry.record.load
            if action == "kept" or isinstance(entry, Hosted):  # the loader did not run here
                self.set_up_as_left(spec.name, runtime)
            else:
                self._left.add(entry.record.left)
        self.outcomes.append({
            "name": spec.name, "action": action, "home": home, "why": why or "fingerprint equal",
            "took_s": time.monotonic() - began_s, "size_bytes": size,
        })  # fmt: skip

    def set_up_as_left(self, name: str, runtime: Runtime) -> None:
        """Set up what a model's loader left set, if the runtime holds the model: its loader did not run here."""
        entry = self._shelf.get(name)
        if entry is None:
            return
        record = entry.record
        self._left.add(record.left)
        for failure in record.set_up_again():
            _note(runtime, name, failure)
        if record.restore_ambient():
            if not ambient.WHERE_THINGS_ARE.isdisjoint(record.left["settings"]):
                self._present = Present(self._project)
            else:
                self._present.forget_settings()

    def found_by(self, record: Record) -> Record:
        """Complete a record with what its loader found set by those before it."""
        return replace(record, earlier=self._left.digest)

    def _attached(self, spec: ModelSpec, entry: Resident, why: str, runtime: Runtime) -> tuple[Resident | Hosted, str]:
        """Attach a model; one just loaded that can't be is hosted. Returns its entry, and what to add to the reason."""
        try:
            if entry.value is _NOT_ATTACHED:
                with _naming(spec.name):
                    self._attach(entry)
        except MemoryError:
            raise
        except Exception as error:
            if not why or spec.hosted is False:
                raise
            entry.forget()
            runtime.tell({"kind": "forget", "model": spec.name})
            reason = f"it can't be rebuilt from what it is stored as ({type(error).__name__}: {error})"
            return runtime.host(spec.name, why), f"; hosted: {reason}"
        self.values[spec.name] = entry.value
        return entry, ""

    def _why_load(self, spec: ModelSpec, entry: Resident | Hosted | None, forced: set[str]) -> str:
        if entry is None:
            return "first load"
        if spec.name in forced:
            return "asked for"
        if isinstance(entry, Resident) and entry.is_mutable != spec.mutable:
            return f"mutable={spec.mutable} now"
        if spec.hosted is not None and spec.hosted != isinstance(entry, Hosted):
            return f"hosted={spec.hosted} now"
        for outcome in self.outcomes:
            if outcome["action"] == "loaded" and outcome["name"] in spec.parameters:
                return f"it is made from {outcome['name']}, which was loaded"
        if entry.record.earlier != self._left.digest:
            return "a loader before it sets libraries up otherwise"
        if isinstance(entry, Hosted) and (difference := self._why_not_hosted(entry)):
            return difference
        difference = self._present.first_difference(entry.record, self.dependencies(spec), spec.loader)
        return difference or self._why_not_attached(entry)

    def _why_not_hosted(self, entry: Hosted) -> str:
        for module, digest in entry.project_code.items():
            if module_digest(self._project, module) != digest:
                return f"{module} changed, and the hosted model holds code of the project"
        name = held.first_changed(entry.project_names, self._present) if entry.project_names else ""
        return f"{name} changed, and the hosted model holds code of the project" if name else ""

    def _why_not_attached(self, entry: Resident | Hosted) -> str:
        """Attach a model that is to be kept; returns why it does not fit the code that is there now."""
        if isinstance(entry, Resident) and entry.value is _NOT_ATTACHED:
            self._patched = None  # its class's module may be imported by that
            try:
                self._attach(entry)
            except CannotAttach as error:
                return str(error)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  the project's own __setstate__ and the like run
                return f"what was kept does not fit its class now ({type(error).__name__}: {error})"
        return ""

    def _attach(self, entry: Resident) -> None:
        self._present = Present(self._project)  # the project's own __setstate__ and the like may run
        entry.value = rebuild(entry.opened or open_memory(entry.header, entry.fds), self._project, self.values)

    def dependencies(self, spec: ModelSpec) -> dict[str, str]:
        """The names of the loads of the models that a loader takes, by parameter name."""
        return {name: self._loads.get(name, "") for name in spec.parameters if name in self.values}

    def arguments(self, spec: ModelSpec) -> dict[str, Any]:
        """The models that a loader takes, by parameter name."""
        return {name: self.values[name] for name in spec.parameters if name in self.values}

    def _shareable(self, spec: ModelSpec) -> dict[str, Any]:
        """The models that a loader took, as far as its result may refer to them instead of holding copies."""
        entries = {name: self._shelf.get(name) for name in self.arguments(spec)}
        return {
            name: self.values[name]
            for name, entry in entries.items()
            # On a GPU one may be written to only where both may.
            if not isinstance(entry, Hosted) and (not spec.mutable or (entry is not None and entry.is_mutable))
        }

    def _load(
        self, spec: ModelSpec, entry: Resident | Hosted | None, why: str, runtime: Runtime
    ) -> tuple[Resident | Hosted | None, str, str]:
        """Load a model; returns its entry (None: this worker's own), its home, and what to add to the reason."""
        if spec.hosted or (isinstance(entry, Hosted) and spec.hosted is None):
            if isinstance(entry, Resident):
                entry.forget()
                runtime.tell({"kind": "forget", "model": spec.name})
            return runtime.host(spec.name, why), "hosted", ""
        if isinstance(entry, Resident):
            entry.forget()
        self._shelf.pop(spec.name, None)
        recording = record(spec.loader, self.arguments(spec), self.dependencies(spec), self._project, self._patched)
        self._patched = recording.patched
        for note in recording.notes:
            _note(runtime, spec.name, note)
        if recording.cannot_stay:
            return self._stay_here(spec, recording, recording.cannot_stay, runtime)
        try:
            with _naming(spec.name):
                shared = Shared(self._shareable(spec), self._project)
                packed = pack(recording.value, self._project, shared, is_mutable=spec.mutable)
        except CannotPack as error:
            if spec.hosted is False:
                return self._stay_here(spec, recording, str(error), runtime)
            del recording
            gc.collect()
            return runtime.host(spec.name, why), "hosted", f"; hosted: {error}"
        made = self.found_by(recording.record)
        del recording  # the loader's own copy of the weights goes; what is used is the vault's
        gc.collect()
        cuda.give_back_unused()
        with _naming(spec.name):
            return self._keep(spec, made, packed, runtime), "resident", ""

    def _stay_here(self, spec: ModelSpec, recording: Recording, reason: str, runtime: Runtime) -> tuple[None, str, str]:
        runtime.tell({"kind": "forget", "model": spec.name})
        self.values[spec.name] = recording.value
        self._loads[spec.name] = f"worker {os.getpid()}"
        return None, "worker", f"; it can't stay resident: {reason}"

    def _keep(self, spec: ModelSpec, made: Record, packed: Packed, runtime: Runtime) -> Resident:
        header = {
            "kind": "keep", "model": spec.name, "record": made.to_json(), "needs_project": packed.needs_project,
            "modules": list(packed.modules), "size_bytes": packed.size_bytes,
            "is_mutable": spec.mutable,
        }  # fmt: skip
        runtime.tell(header, packed.header, packed.fds)
        return Resident(
            made, packed.header, packed.fds, packed.needs_project, packed.modules, packed.size_bytes, spec.mutable
        )


def _note(runtime: Runtime, model: str, text: str) -> None:
    runtime.tell({"kind": "notice", "key": f"{model}: {text}", "text": f"{model}: {text}"})


@contextlib.contextmanager
def _naming(model: str) -> Iterator[None]:
    """Have a lack of memory say what it was for: no line of the user's asked for it."""
    try:
        yield
    except MemoryError as error:
        error.add_note(f"model {model!r} is loaded, but there is no memory to keep it where later generations find it")
        raise


def module_digest(project: Project, module: str) -> str:
    """Name a module's code, whatever its comments and line numbers; empty if it is not imported."""
    code = project.code_of(module)
    return "" if code is None else code_digest(code)


def hosted_from(message: Message) -> Hosted:
    """Make a proxy of a socket that the runtime connected to a model's host."""
    header = message.header
    return Hosted(
        Record.from_json(header["record"]),
        Proxy(header["model"], socket.socket(fileno=message.fds[0]), header["host"]),
        header["project_code"],
        header["project_names"],
    )
