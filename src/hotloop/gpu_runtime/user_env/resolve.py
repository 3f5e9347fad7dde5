"""Decide how an app fits together: which parameter is a model, which comes from a request, in which order to load.

Finds every mistake that can be found without running the app, and names where it stands.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from hotloop.events.codec import JsonObject, to_json
from hotloop.events.records import EndpointShape
from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env import decode, hints
from hotloop.gpu_runtime.user_env.annotations import Annotations
from hotloop.gpu_runtime.user_env.app import App, AppError, EndpointSpec, ModelSpec, ProbeSpec, at
from hotloop.gpu_runtime.user_env.validators import has_constraints

_CLIENT = "client"
_PLAIN = frozenset({str, int, float, bool, bytes})


@frozen
class RequestParameter:
    """A parameter whose value comes from the request.

    Attributes:
        hint: Its type; of one item for a batched endpoint. `typing.Any` if it has none.
        default: `hints.REQUIRED` if it has none.
    """

    name: str
    hint: Any
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether a request without it is refused."""
        return self.default is hints.REQUIRED


@frozen
class PlannedEndpoint:
    """An endpoint with its parameters sorted out.

    Attributes:
        injected: Names of the parameters that are given models.
        methods: As the decorator said, or chosen by the parameters.
        returns: What it returns as the user annotated it, `typing.Any` if not.
    """

    spec: EndpointSpec
    injected: tuple[str, ...]
    parameters: tuple[RequestParameter, ...]
    methods: tuple[str, ...]
    returns: Any


@frozen
class PlannedProbe:
    """A probe, whether it takes the client, and the models it takes."""

    spec: ProbeSpec
    injected: tuple[str, ...]
    takes_client: bool


@frozen
class Plan:
    """How an app runs.

    Attributes:
        models: Each after those it needs; those that no endpoint or probe needs come last.
        needs: By model, the models its loader takes.
    """

    app: App
    models: tuple[ModelSpec, ...]
    needs: dict[str, tuple[str, ...]]
    endpoints: tuple[PlannedEndpoint, ...]
    probes: tuple[PlannedProbe, ...]


def find_app(module: ModuleType, wanted: str = "") -> App:
    """Find the app in a module that was imported.

    Args:
        module: The module.
        wanted: The variable's name, needed only if the module has several apps.

    Raises:
        AppError: There is none, or several and none was named, or not the one that was named.
    """
    file = module.__file__ or ""
    found = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if wanted:
        if wanted in found:
            return found[wanted]
        msg = f"{at(file, 1)} has no app called {wanted!r}" + (f", it has {_listed(found)}" if found else "")
        raise AppError(msg, _meant(wanted, found) or 'write app = hotloop.App("search")', file, 1)
    different = {id(app): app for app in found.values()}
    if len(different) == 1:
        return next(iter(different.values()))
    if not found:
        msg = f"{at(file, 1)} defines no app"
        raise AppError(msg, 'write app = hotloop.App("search") in it', file, 1)
    places = ", ".join(f"{name} ({at(app.file, app.line)})" for name, app in found.items())
    msg = f"{len(different)} apps in one module: {places}"
    last = list(found.values())[-1]
    raise AppError(msg, f"name one of them: {file}:{next(iter(found))}", last.file, last.line)


def check(app: App) -> Plan:
    """Fit an app together.

    Raises:
        AppError: The first mistake found.
    """
    needs = {spec.name: _models_of(app, spec) for spec in app.models.values()}
    _check_cycles(app, needs)
    endpoints = tuple(_planned(app, spec) for spec in app.endpoints.values())
    _check_routes(endpoints)
    probes = tuple(_planned_probe(app, spec) for spec in app.probes.values())
    used = (name for planned in (*endpoints, *probes) for name in planned.injected)
    order = _ordered((*used, *app.models), needs)
    return Plan(app, tuple(app.models[name] for name in order), needs, endpoints, probes)


def shapes(plan: Plan) -> list[JsonObject]:
    """Describe the endpoints: JSON of `events.EndpointShape`."""
    return [to_json(_shape(endpoint)) for endpoint in plan.endpoints]


def _shape(endpoint: PlannedEndpoint) -> EndpointShape:
    spec = endpoint.spec
    return EndpointShape(
        name=spec.name,
        path=spec.path,
        methods=endpoint.methods,
        parameters=tuple((parameter.name, _parameter_text(parameter)) for parameter in endpoint.parameters),
        returns="" if endpoint.returns is Any else hints.text_of(endpoint.returns),
        is_batched=spec.batch is not None,
        is_stream=spec.is_stream,
    )


def _parameter_text(parameter: RequestParameter) -> str:
    text = hints.text_of(parameter.hint)
    return text if parameter.is_required else f"{text} = {parameter.default!r}"


def _models_of(app: App, spec: ModelSpec) -> tuple[str, ...]:
    place = (spec.file, spec.line)
    if inspect.iscoroutinefunction(spec.loader) or _is_generator(spec.loader):
        kind = "a generator" if _is_generator(spec.loader) else "async"
        msg = f"model {spec.name!r} at {at(*place)} is {kind}: a loader is a plain function that returns the model"
        raise AppError(msg, "write it with def and return", *place)
    parameters = spec.signature.parameters
    for name, parameter in parameters.items():
        if name not in app.models and parameter.default is parameter.empty:
            msg = f"model {spec.name!r} at {at(*place)} takes {name!r}, which is no model of this app"
            advice = _meant(name, app.models) or f"write @app.model above def {name}(), or give {name!r} a default"
            raise AppError(msg, advice, *place)
    return tuple(name for name in parameters if name in app.models)


def _is_generator(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _check_cycles(app: App, needs: dict[str, tuple[str, ...]]) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            _refuse_cycle(app, (*path[path.index(name) :], name))
        if name not in done:
            for needed in needs[name]:
                visit(needed, (*path, name))
            done.add(name)

    for name in needs:
        visit(name, ())


def _refuse_cycle(app: App, cycle: tuple[str, ...]) -> None:
    steps = " -> ".join(f"{name} ({at(app.models[name].file, app.models[name].line)})" for name in cycle[:-1])
    first = app.models[cycle[0]]
    msg = f"models need each other in a circle: {steps} -> {cycle[0]}"
    raise AppError(msg, "take the shared part out into a model of its own", first.file, first.line)


def _ordered(wanted: Iterable[str], needs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    order: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in order:
            for needed in needs[name]:
                add(needed)
            order[name] = None

    for name in wanted:
        add(name)
    return tuple(order)


def _planned(app: App, spec: EndpointSpec) -> PlannedEndpoint:
    annotations = Annotations(spec.function, spec.signature)
    injected: list[str] = []
    parameters: list[RequestParameter] = []
    for name, parameter in annotations.parameters.items():
        if name in app.models:
            _check_injected(app, spec, name, annotations)
            injected.append(name)
        else:
            hint = _item_hint(app, spec, name, annotations.of_parameter(name, spec))
            parameters.append(RequestParameter(name, hint, _default_of(spec, parameter, hint)))
    if spec.batch is not None and not parameters:
        msg = f"endpoint {spec.name!r} at {at(spec.file, spec.line)} is batched and takes nothing from the request"
        raise AppError(msg, "give it a list parameter, such as text: list[str], or drop batch=", spec.file, spec.line)
    methods = spec.methods or _default_methods(parameters)
    return PlannedEndpoint(spec, tuple(injected), tuple(parameters), methods, annotations.of_return())


def _default_methods(parameters: Sequence[RequestParameter]) -> tuple[str, ...]:
    return ("GET", "POST") if all(hints.is_scalar(parameter.hint) for parameter in parameters) else ("POST",)


def _check_injected(app: App, spec: EndpointSpec, name: str, annotations: Annotations) -> None:
    """A parameter that says it is plain data, and is named like a model that doesn't: which of the two was meant?"""
    hint = annotations.of_injected(name)
    plain = typing.get_args(hint)[0] if typing.get_origin(hint) is list and typing.get_args(hint) else hint
    model = app.models[name]
    if plain not in _PLAIN or Annotations(model.loader, model.signature).of_return() == hint:
        return
    msg = (
        f"endpoint {spec.name!r} at {at(spec.file, spec.line)} takes '{name}: {hints.text_of(hint)}', "
        f"but {name!r} is the model at {at(model.file, model.line)} and would be given to it"
    )
    advice = f"rename the parameter, or annotate the loader: def {name}() -> {hints.text_of(hint)}"
    raise AppError(msg, advice, spec.file, spec.line)


def _item_hint(app: App, spec: EndpointSpec, name: str, hint: Any) -> Any:
    try:
        hint = _without_wrappers(hint)
        if spec.batch is not None:
            hint = _entry_hint(app, spec, name, hint)
        decode.decoder(hint)
    except hints.UnknownType as error:
        msg = (
            f"endpoint {spec.name!r} at {at(spec.file, spec.line)} takes '{name}: {hints.text_of(hint)}', and "
            f"{hints.text_of(error.hint)} can't be read from a request{': ' if error.why else ''}{error.why}"
        )
        advice = _meant(name, app.models) or hints.READABLE
        raise AppError(msg, advice, spec.file, spec.line) from None
    return hint


def _entry_hint(app: App, spec: EndpointSpec, name: str, hint: Any) -> Any:
    """What one request brings to a batch."""
    if typing.get_origin(hint) is not list and hint is not list:
        shown = name if hint is Any else f"{name}: {hints.text_of(hint)}"
        msg = (
            f"endpoint {spec.name!r} at {at(spec.file, spec.line)} is batched and takes '{shown}': "
            "expected a list with one entry a request"
        )
        entry = "str" if hint is Any else hints.text_of(hint)
        advice = _meant(name, app.models) or f"write {name}: list[{entry}]"
        raise AppError(msg, advice, spec.file, spec.line)
    return _without_wrappers(next(iter(typing.get_args(hint)), Any))


def _without_wrappers(hint: Any) -> Any:
    """Take off what changes nothing, and so not what a value is checked by."""
    hint = hints.without_aliases(hint)
    return hint if has_constraints(hint) else hints.strip(hint)


def _default_of(spec: EndpointSpec, parameter: inspect.Parameter, hint: Any) -> Any:
    hint = hints.strip(hint)
    is_optional = hints.is_union(hint) and type(None) in typing.get_args(hint)
    if spec.batch is not None and is_optional:
        return None  # one entry a request, so what a request leaves out must be an entry too
    if parameter.default is parameter.empty:
        return hints.REQUIRED
    if spec.batch is not None:
        name, entry = parameter.name, hints.text_of(hint)
        msg = (
            f"endpoint {spec.name!r} at {at(spec.file, spec.line)} is batched and gives {name!r} a default: "
            "the list has one entry a request"
        )
        advice = f"write {name}: list[{entry} | None]; a request that leaves it out has None there"
        raise AppError(msg, advice, spec.file, spec.line)
    return parameter.default


def _check_routes(endpoints: tuple[PlannedEndpoint, ...]) -> None:
    taken: dict[tuple[str, str], EndpointSpec] = {}
    for endpoint in endpoints:
        spec = endpoint.spec
        for method in endpoint.methods:
            first = taken.setdefault((method, spec.path), spec)
            if first is not spec:
                msg = (
                    f"two endpoints answer {method} {spec.path}: {first.name} at {at(first.file, first.line)} "
                    f"and {spec.name} at {at(spec.file, spec.line)}"
                )
                raise AppError(msg, "give one of them another path=", spec.file, spec.line)


def _planned_probe(app: App, spec: ProbeSpec) -> PlannedProbe:
    if _CLIENT in spec.parameters and _CLIENT in app.models:
        model = app.models[_CLIENT]
        msg = (
            f"probe {spec.name!r} at {at(spec.file, spec.line)} takes 'client', which calls the endpoints, "
            f"but the model at {at(model.file, model.line)} has that name"
        )
        raise AppError(msg, "rename the model", model.file, model.line)
    for name, parameter in spec.signature.parameters.items():
        if name != _CLIENT and name not in app.models and parameter.default is parameter.empty:
            msg = f"probe {spec.name!r} at {at(spec.file, spec.line)} takes {name!r}: expected 'client' or a model"
            raise AppError(msg, _meant(name, (_CLIENT, *app.models)) or "drop the parameter", spec.file, spec.line)
    injected = tuple(name for name in spec.parameters if name in app.models)
    return PlannedProbe(spec, injected, _CLIENT in spec.parameters)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _meant(name: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
