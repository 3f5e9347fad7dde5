# pyright: basic
# (runs the user's code)
"""The process of one hosted model: load it once, then answer the workers' calls on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env import gauges, hosted, problem, start, wire
from hotloop.gpu_runtime.user_env.app import ModelSpec
from hotloop.gpu_runtime.user_env.fingerprint import held
from hotloop.gpu_runtime.user_env.fingerprint.record import Record, record
from hotloop.gpu_runtime.user_env.models import Models, Runtime, module_digest
from hotloop.gpu_runtime.user_env.source import Project, RevisionMoved
from hotloop.gpu_runtime.user_env.variables import Variables


def main(link: wire.Link, boot: dict[str, Any]) -> None:
    """Load the model, tell the runtime, and serve until the runtime closes the link."""
    project = start.prepare(boot)
    models = Models(project)
    lock = threading.Lock()

    def tell(header: dict[str, Any], payload: bytes = b"") -> None:
        with lock:
            link.send(header, payload)

    gauges.connect(tell)
    try:
        while (message := link.receive()).kind != "load":
            models.shelve(message)
        value, made, before = _load(project, models, boot, tell)
    except wire.LinkClosed:
        return
    except BaseException as error:  # noqa: BLE001  the runtime shows it, whatever it is
        if not isinstance(error, RevisionMoved):
            described = problem.from_exception(error, project, boot["packages"])
            if boot["keeps_locals"]:
                described = Variables(project, tell).keep(error, described, "model", boot["model"])
            tell({"kind": "failed", "problem": described})
        return
    parts = hosted.project_code_in(value, project)
    holds_code = parts is None or bool(parts)
    tell({
        "kind": "hosted", "model": boot["model"], "record": made.to_json(),
        "project_code": {name: module_digest(project, name) for name in project.modules()} if holds_code else {},
        "project_names": held.meanings_in(parts, before, project) if holds_code else {},
    })  # fmt: skip
    hosted.host(value, link)


def _load(
    project: Project, models: Models, boot: dict[str, Any], tell: Callable[..., None]
) -> tuple[Any, Record, dict[str, str]]:
    """Load the model as a start would, after the others; returns it, its record, and what names meant before."""
    imported = start.import_app(project, boot)
    specs = {spec.name: spec for spec in imported.plan.models}
    runtime = Runtime(lambda header, *_: tell(header) if header["kind"] == "notice" else None, _refuse)
    wanted = specs[boot["model"]]
    needed = _closure(wanted, specs)
    for spec in imported.plan.models[: imported.plan.models.index(wanted)]:
        if spec.name in needed:
            models.provide(spec, set(), runtime)
        else:
            models.set_up_as_left(spec.name, runtime)
    before = held.all_meanings(project)
    recording = record(wanted.loader, models.arguments(wanted), models.dependencies(wanted), project)
    return recording.value, models.found_by(recording.record), before


def _closure(spec: ModelSpec, specs: dict[str, ModelSpec]) -> list[str]:
    """Names of the models that one is made from, each after those it needs itself."""
    names: list[str] = []
    for name in spec.parameters:
        if name in specs:
            names += [n for n in (*_closure(specs[name], specs), name) if n not in names]
    return names


def _refuse(name: str, why: str) -> Any:
    msg = f"model {name!r} has to be in a process of its own, and none is ready ({why})"
    raise RuntimeError(msg)
