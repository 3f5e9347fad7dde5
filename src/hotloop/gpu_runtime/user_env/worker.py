# pyright: basic
# (runs the user's code)
"""A worker process: standby until a save, then one generation of the app.

As a standby it attaches the resident models and compiles the project's files, and never runs the project's code. Told to
go, it imports the project, provides the models, says "ready", and serves calls until it is told to exit or the
runtime is gone.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from hotloop.gpu_runtime.user_env import gauges, operations, pages, problem, resolve, start, wire
from hotloop.gpu_runtime.user_env.call import Caller, serve
from hotloop.gpu_runtime.user_env.fingerprint.effects import look_ahead
from hotloop.gpu_runtime.user_env.fingerprint.record import Record
from hotloop.gpu_runtime.user_env.lending import Lender, Payload
from hotloop.gpu_runtime.user_env.models import Hosted, HostFailed, Models, Runtime, hosted_from
from hotloop.gpu_runtime.user_env.probe import ProbeRunner
from hotloop.gpu_runtime.user_env.rehearse import rehearse
from hotloop.gpu_runtime.user_env.source import RevisionMoved, installed_folders
from hotloop.gpu_runtime.user_env.threads import Threads
from hotloop.gpu_runtime.user_env.variables import Variables
from hotloop.variables import Of

SLOW_IMPORTS_S = 0.5
_MODEL_KINDS = ("model", "hosted")
_NEVER = 100_000_000  # objects made since the last collection


def main(link: wire.Link, boot: dict[str, Any], rehearsed: Record | None = None) -> None:
    """Live one worker's life; returns when the process should end."""
    worker = Worker(link, boot, rehearsed)
    try:
        go = worker.stand_by()
        if go is not None and worker.go(go.header):
            worker.serve()
    except wire.LinkClosed:
        return  # the runtime is gone, and with it the reason to live
    finally:
        _run_exit_handlers()


class Worker:
    """One worker: its link to the runtime, its project, its models."""

    def __init__(self, link: wire.Link, boot: dict[str, Any], rehearsed: Record | None) -> None:
        self._link = link
        self._boot = boot
        self._rehearsed = rehearsed
        self._project = start.prepare(boot)
        self._models = Models(self._project)
        self._variables = Variables(self._project, self.tell) if boot["keeps_locals"] else None
        self._lock = threading.Lock()
        self._modules_at_fork = set(sys.modules)
        self._rehearsed_endpoints: set[str] = set()  # whose operations on the GPU ran ahead
        self._caller: Caller | None = None
        self._probes: ProbeRunner | None = None
        self._plan: resolve.Plan | None = None
        self._pages: pages.Pages | None = None  # as they were before it was told to go; None if nobody asks

    def tell(self, header: dict[str, Any], payload: Payload = b"", fds: tuple[int, ...] = ()) -> None:
        """Send a frame to the runtime, from any thread."""
        with self._lock:
            self._link.send(header, payload, fds)

    def stand_by(self) -> wire.Message | None:
        """Warm up while nothing is asked, and wait for "go".

        Returns:
            The "go", or None if the worker is not needed any more.
        """
        # Models first: attaching one may set a GPU up, which takes longest if it is left for the reload.
        soon: list[Callable[[], object]] = []
        later: list[Callable[[], object]] = [partial(self._project.precompile, path) for path in self._boot["sources"]]
        if self._rehearsed is not None:
            later.append(lambda: rehearse(self._rehearsed))
        is_told = False
        while True:
            if not self._is_asked():
                if soon or later:
                    (soon or later).pop(0)()
                    continue
                if not is_told:
                    if self._rehearsed is not None:
                        self._prepare_pages()
                    self.tell({"kind": "warm"})
                    is_told = True
            message = self._link.receive()
            if message.kind == "go":
                return message
            if message.kind == "exit":
                return None
            (later if message.kind == "operations" else soon).extend(self._steps_for(message))

    def _steps_for(self, message: wire.Message) -> list[Callable[[], object]]:
        """Take in what came; gives what is to be done ahead because of it."""
        if message.kind in _MODEL_KINDS:
            name = self._models.shelve(message)
            return [partial(self._attach, name, message.header.get("modules", []))]
        if message.kind == "operations":
            self._rehearsed_endpoints.add(message.header["endpoint"])
            return [partial(operations.run_ahead, message.payload, self._is_asked)]
        if message.kind == "incoming":
            self._compile(message)
            return [partial(self._models.warm_up, name) for name in self._models.names]
        return []

    def _is_asked(self) -> bool:
        return self._link.has_message or bool(select.select([self._link.fileno()], [], [], 0)[0])

    def _compile(self, message: wire.Message) -> None:
        start = 0
        for file in message.header["files"]:
            if self._is_asked():
                return
            end = start + file["size"]
            code = self._project.compile_ahead(file["path"], message.payload[start:end])
            if code is not None:
                look_ahead(code)
            start = end

    def _attach(self, name: str, modules: list[str]) -> None:
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception:  # noqa: BLE001  the reload says it, with a place to say it
                return
        self._models.attach_early(name)

    def go(self, go: dict[str, Any]) -> bool:
        """Import the revision and provide its models.

        Returns:
            Whether this worker is ready to serve; if not, the runtime was told why.
        """
        self._project.update(go["changed"])
        gauges.connect(self.tell)
        # A full collection right now would cost more than the reload. Not by `gc.disable`, which the app may call itself.
        usual, *others = gc.get_threshold()
        gc.set_threshold(_NEVER, *others)
        try:
            is_ready = self._start(go)
            gc.freeze()  # what lives now lives as long as the generation: no collection need look at it
        finally:
            now, *others = gc.get_threshold()
            if now == _NEVER:  # else the app said when
                gc.set_threshold(usual, *others)
        return is_ready

    def _start(self, go: dict[str, Any]) -> bool:
        threads = Threads()
        try:
            began_at_s = time.monotonic()
            imported = start.import_app(self._project, self._boot)
            imported_at_s = time.monotonic()
            if self._rehearsed is None and imported_at_s - began_at_s > SLOW_IMPORTS_S:
                # The first start ever: while its models load, a zygote is made that has these imports.
                self.tell({
                    "kind": "imported", "modules": self._third_party_modules(), "environment": imported.environment,
                })  # fmt: skip
            replicas = self._boot["replicas"] or imported.app.replicas
            threads.divide(replicas)
            runtime = Runtime(self.tell, self._host)
            for spec in imported.plan.models:
                self._models.provide(spec, set(go["forced"]), runtime, is_replica=go["is_replica"])
        except (wire.LinkClosed, RevisionMoved) as error:
            if isinstance(error, RevisionMoved):
                self.tell({"kind": "moved", "path": self._project.relative(str(error))})
            return False
        except HostFailed as error:
            self.tell({"kind": "failed", "problem": error.problem})
            return False
        except BaseException as error:  # noqa: BLE001  sys.exit() in the user's module is the user's failure too
            self.tell({"kind": "failed", "problem": self._problem(error, "start")})
            return False
        threads.divide(replicas)  # a loader may have been the first to import torch
        self._become_ready(imported, imported_at_s, go["address"])
        return True

    def _problem(self, error: BaseException, of: Of, name: str = "") -> dict[str, Any]:
        described = problem.from_exception(error, self._project, self._boot["packages"], self._models.sizes())
        return described if self._variables is None else self._variables.keep(error, described, of, name)

    def _become_ready(self, imported: start.Imported, imported_at_s: float, address: str) -> None:
        plan = imported.plan
        self.tell({
            "kind": "ready", "imported_at_s": imported_at_s, "models": self._models.outcomes,
            "shapes": resolve.shapes(plan),
            "endpoints": [_endpoint_header(endpoint) for endpoint in plan.endpoints],
            "probes": [probe.spec.name for probe in plan.probes], "environment": imported.environment,
            "replicas": imported.app.replicas,
            "imports": imported.times.slowest(), "import_bytes": imported.times.read_bytes,
        })  # fmt: skip
        # What comes from here on is done while the first request is on its way.
        self._tell_sources()
        self._link.lender = Lender()
        self._plan = plan
        known = frozenset[str]() if self._models.has_loaded else self._rehearsed_endpoints
        learner = operations.learner(self.tell, known)
        self._caller = Caller(
            plan, self._models.values, self.tell, self._project, learner, self._variables, self._models.sizes()
        )
        describe = partial(self._problem, of="probe")
        self._probes = ProbeRunner(plan, self._models.values, self.tell, describe, address)
        self._probes.prepare()

    def _host(self, name: str, why: str) -> Hosted:
        """Have the runtime load a model in a process of its own."""
        self.tell({"kind": "host", "model": name, "why": why})
        while True:
            message = self._link.receive()
            if message.kind == "host_failed":
                raise HostFailed(message.header["problem"])
            if message.kind != "hosted":
                continue
            if message.header["model"] == name and not message.header["is_replacement"]:
                return hosted_from(message)
            self._reconnect(message)

    def _reconnect(self, message: wire.Message) -> None:
        """Call a hosted model in its new process from now on."""
        connection = socket.socket(fileno=message.fds[0])
        proxy = self._models.proxies().get(message.header["model"])
        if proxy is None:
            connection.close()
        else:
            proxy.reconnect(connection, message.header["host"])

    def serve(self) -> None:
        """Answer calls until told to exit."""
        assert self._caller is not None  # noqa: S101  set by `go`
        serve(self._link, self._caller, self._control)

    def _control(self, message: wire.Message) -> bool:
        """Do what the runtime asks beside calls; returns False to end the process."""
        if message.kind == "probe" and self._probes is not None:
            self._probes.start(message.header.get("only", ""))
        elif message.kind == "hosted":
            self._reconnect(message)
        elif message.kind == "document" and self._plan is not None:
            from hotloop.gpu_runtime.user_env import openapi  # nothing that a reload would have to wait for

            self.tell(*openapi.answer(self._plan, message.header))
        elif message.kind == "learn":
            self.tell({"kind": "learned", "modules": self._third_party_modules()})
            self._tell_sources()
        elif message.kind == "pages":
            self.tell({"kind": "pages", "written": self._written_pages()})
        return message.kind != "exit"

    def _tell_sources(self) -> None:
        """Say which files were imported, for the next standby to compile them ahead, unless it is known."""
        sources = self._project.imported_files()
        if not set(sources).issubset(self._boot["sources"]):
            self.tell({"kind": "sources", "paths": sources})

    def _prepare_pages(self) -> None:
        """Copy the pages that an earlier worker of this zygote wrote to, or see what there is, to tell them afterwards."""
        if self._boot["pages"]:
            pages.make_own(self._boot["pages"])
        else:
            self._pages = pages.look()

    def _written_pages(self) -> pages.Ranges:
        before, self._pages = self._pages, None
        return before.written_since() if before is not None else []

    def _third_party_modules(self) -> list[str]:
        """What was imported since the fork and lies in the folders of installed packages, in order."""
        folders = installed_folders()
        new = [name for name in list(sys.modules) if name not in self._modules_at_fork]
        return [
            name for name in new if _is_installed(sys.modules.get(name), folders) and not name.startswith("hotloop.")
        ]


def _is_installed(module: Any, folders: tuple[str, ...]) -> bool:
    spec = getattr(module, "__spec__", None)
    if spec is None or spec.name != getattr(module, "__name__", None):
        return False
    origin = spec.origin
    return origin in {"built-in", "frozen"} or (
        isinstance(origin, str) and os.path.realpath(origin).startswith(folders)
    )


def _endpoint_header(endpoint: resolve.PlannedEndpoint) -> dict[str, Any]:
    spec = endpoint.spec
    batch = spec.batch
    return {
        "name": spec.name, "path": spec.path, "methods": list(endpoint.methods), "kind": spec.kind,
        "is_stream": spec.is_stream, "idempotent": spec.idempotent, "concurrency": spec.concurrency,
        "batch": None if batch is None else batch.to_header(),
    }  # fmt: skip


def _run_exit_handlers() -> None:
    """End as Python ends: the project's exit handlers run, what was printed comes out."""
    try:
        atexit._run_exitfuncs()  # noqa: SLF001  os._exit, which ends a forked child, runs none
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                continue
