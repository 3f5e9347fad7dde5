"""What a user writes: an app, its models, endpoints and probes.

Decorators only take notes. They give the function back unchanged, so that a unit test calls it like any other, and
nothing here runs it, reads a file or imports more than the standard library's cheap parts.
"""

from __future__ import annotations

import inspect
import linecache
import re
import sys
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Literal, TypeVar, overload

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.batch import Batch
from hotloop.gpu_runtime.user_env.mistakes import AppError, at, is_whole, place_of_caller

__all__ = ["App", "AppError", "Batch", "EndpointSpec", "ModelSpec", "ProbeSpec", "at", "place_of"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
MAX_REPLICAS = 64  # processes on one machine; a mistyped number must not start thousands
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_DEF = re.compile(r"\s*(async\s+)?def\b")


@frozen
class ModelSpec:
    """A model's loader. ``hosted`` None means: decided by trying. ``mutable``: each worker has weights of its own."""

    name: str
    loader: Callable[..., Any]
    signature: inspect.Signature
    hosted: bool | None
    mutable: bool
    file: str
    line: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """All its parameters' names."""
        return tuple(self.signature.parameters)


@frozen
class EndpointSpec:
    """A served function.

    Attributes:
        methods: Upper case; empty if the decorator named none: then `resolve.check` chooses by the parameters.
        is_stream: Whether the function is a generator, async or not.
        idempotent: Whether a request may run twice if a worker dies under it.
        concurrency: Most calls at a time in each worker, for an async function.
    """

    name: str
    function: Callable[..., Any]
    signature: inspect.Signature
    path: str
    methods: tuple[str, ...]
    batch: Batch | None
    kind: Literal["sync", "async"]
    is_stream: bool
    idempotent: bool
    concurrency: int
    file: str
    line: int


@frozen
class ProbeSpec:
    """A function that is tried after every reload."""

    name: str
    function: Callable[..., Any]
    signature: inspect.Signature
    kind: Literal["sync", "async"]
    file: str
    line: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """All its parameters' names."""
        return tuple(self.signature.parameters)


class App:
    """One app: its models, endpoints, probes, and the environment they need.

    Attributes:
        name: What people call it.
        gpu: The GPU it needs, such as ``"A10G"``; empty for none.
        packages: Requirements for its environment, such as ``"sentence-transformers>=3"``.
        data_packages: Requirements that carry only data, such as weights.
        replicas: How many workers serve it at a time, in one machine and with one copy of each model.
        models: By name, in order of definition; so are `endpoints` and `probes`.
        file: Where the app was made.
        line: The line there.
    """

    def __init__(
        self,
        name: str,
        *,
        gpu: str = "",
        packages: Iterable[str] = (),
        data_packages: Iterable[str] = (),
        replicas: int = 1,
    ) -> None:
        self.file, self.line = place_of_caller(depth=1)
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            msg = f"App({name!r}): expected the app's name"
            raise AppError(msg, 'write hotloop.App("search")', self.file, self.line)
        self.name = name
        self.gpu = gpu
        self.packages = self._requirements("packages", packages)
        self.data_packages = self._requirements("data_packages", data_packages)
        if not is_whole(replicas) or not 1 <= replicas <= MAX_REPLICAS:
            msg = f"App({name!r}, replicas={replicas!r}): expected a whole number from 1 to {MAX_REPLICAS}"
            raise AppError(msg, "write replicas=2 to have two calls run at a time", self.file, self.line)
        self.replicas = replicas
        self.models: dict[str, ModelSpec] = {}
        self.endpoints: dict[str, EndpointSpec] = {}
        self.probes: dict[str, ProbeSpec] = {}

    def __repr__(self) -> str:
        counts = f"{len(self.models)} models, {len(self.endpoints)} endpoints, {len(self.probes)} probes"
        return f"<App {self.name!r}: {counts}>"

    @overload
    def model(self, loader: _Function) -> _Function: ...
    @overload
    def model(self, *, hosted: bool | None = None, mutable: bool = False) -> Callable[[_Function], _Function]: ...
    def model(self, loader: Any = None, *, hosted: bool | None = None, mutable: bool = False) -> Any:
        """Register a loader: it runs once, and what it returns is given to parameters of the loader's name.

        Args:
            loader: The function, when used without parentheses.
            hosted: True keeps the model in a process of its own, False never does, None tries.
            mutable: Give each worker its own copy of weights on a GPU, to be changed in place (training, merging an
                adapter). Otherwise they are shared and can only be read. On the CPU each worker may write either way.
        """

        def register(loader: _Function) -> _Function:
            place, signature = _examine("model", loader)
            spec = ModelSpec(loader.__name__, loader, signature, hosted, mutable, *place)
            _add(self.models, "model", spec)
            return loader

        return register if loader is None else register(loader)

    @overload
    def endpoint(self, function: _Function) -> _Function: ...
    @overload
    def endpoint(
        self,
        *,
        path: str | None = None,
        methods: Iterable[str] | None = None,
        batch: Batch | None = None,
        idempotent: bool = False,
        concurrency: int = 64,
    ) -> Callable[[_Function], _Function]: ...
    def endpoint(
        self,
        function: Any = None,
        *,
        path: str | None = None,
        methods: Iterable[str] | None = None,
        batch: Batch | None = None,
        idempotent: bool = False,
        concurrency: int = 64,
    ) -> Any:
        """Serve a function. Parameters named like a model are given the model; the others come from the request.

        Args:
            function: The function, when used without parentheses. A generator streams: each item at once, or with
                the next ones if they come faster than they can be sent. When its client goes, it is closed.
            path: Default ``/`` and the function's name.
            methods: Default POST, and GET as well if every parameter is a scalar.
            batch: Gathers requests; the function then takes lists, one entry a request, and returns as many results,
                or yields them, again and again: see `Batch`.
            idempotent: Whether a request may be run again if the worker dies under it.
            concurrency: Most calls at a time in each worker, if the function is async.
        """

        def register(function: _Function) -> _Function:
            place, signature = _examine("endpoint", function)
            route = f"/{function.__name__}" if path is None else path
            verbs = _checked_methods(function.__name__, methods, place)
            _check_endpoint(function.__name__, route, batch, concurrency, place)
            kind, is_stream = _kind_of(function)
            spec = EndpointSpec(
                function.__name__, function, signature, route, verbs, batch, kind, is_stream, idempotent, concurrency, *place
            )  # fmt: skip
            _add(self.endpoints, "endpoint", spec)
            return function

        return register if function is None else register(function)

    def probe(self, function: _Function) -> _Function:
        """Run a function after every reload: `client` calls the endpoints, other parameters are models."""
        place, signature = _examine("probe", function)
        kind, is_stream = _kind_of(function)
        if is_stream:
            msg = f"probe {function.__name__!r} is a generator: expected a function that returns its result"
            raise AppError(msg, "return a list instead of yielding", *place)
        _add(self.probes, "probe", ProbeSpec(function.__name__, function, signature, kind, *place))
        return function

    def _requirements(self, name: str, given: Iterable[str]) -> tuple[str, ...]:
        found = () if isinstance(given, str) else tuple(given)
        if isinstance(given, str) or not all(isinstance(item, str) and item.strip() for item in found):  # pyright: ignore[reportUnnecessaryIsInstance]
            msg = f"App({self.name!r}, {name}={given!r}): expected a list of requirements"
            raise AppError(msg, f'write {name}=["sentence-transformers>=3"]', self.file, self.line)
        return found


def place_of(function: Callable[..., Any]) -> tuple[str, int]:
    """Say in which file and on which line a function's ``def`` stands, whatever decorates it."""
    code = inspect.unwrap(function).__code__
    first = code.co_firstlineno  # of the first decorator, if there is one
    for line in range(first, first + 50):
        text = linecache.getline(code.co_filename, line)
        if not text:
            break
        if _DEF.match(text):
            return code.co_filename, line
    return code.co_filename, first


def _examine(word: str, function: Any) -> tuple[tuple[str, int], inspect.Signature]:
    if not isinstance(inspect.unwrap(function) if callable(function) else function, FunctionType):
        msg = f"@app.{word} was given {_described(function)}: expected a function"
        raise AppError(
            msg, f"write it as a def, and put @app.{word} above", *place_of_caller(depth=2, outside=__file__)
        )
    place = place_of(function)
    if function.__name__ == "<lambda>":
        msg = f"@app.{word} was given a lambda at {at(*place)}: it has no name"
        raise AppError(msg, "write it as a def", *place)
    signature = _signature_of(function)
    _check_parameters(word, function.__name__, signature, place)
    return place, signature


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # annotations are evaluated when they are looked at, and may not exist
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _check_parameters(word: str, function: str, signature: inspect.Signature, place: tuple[str, int]) -> None:
    for name, parameter in signature.parameters.items():
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            continue
        shown = {
            parameter.VAR_POSITIONAL: f"*{name}",
            parameter.VAR_KEYWORD: f"**{name}",
            parameter.POSITIONAL_ONLY: f"{name!r} as positional only",
        }[parameter.kind]
        msg = f"{word} {function!r} at {at(*place)} takes {shown}: parameters are given by name"
        raise AppError(msg, "name each parameter, before any '/'" if "only" in shown else "name each parameter", *place)


def _kind_of(function: Callable[..., Any]) -> tuple[Literal["sync", "async"], bool]:
    # A decorator of the user's may hide the kind (a plain wrapper around a coroutine function) or add it.
    candidates = dict.fromkeys((function, inspect.unwrap(function)))
    if any(inspect.isasyncgenfunction(candidate) for candidate in candidates):
        return "async", True
    if any(inspect.iscoroutinefunction(candidate) for candidate in candidates):
        return "async", False
    return "sync", any(inspect.isgeneratorfunction(candidate) for candidate in candidates)


def _checked_methods(name: str, methods: Iterable[str] | None, place: tuple[str, int]) -> tuple[str, ...]:
    if methods is None:
        return ()
    given = (methods,) if isinstance(methods, str) else tuple(methods)
    found = tuple(sorted({str(method).upper() for method in given}))
    unknown = [method for method in found if method not in _METHODS]
    if unknown or not found:
        msg = f"endpoint {name!r} at {at(*place)} has methods={methods!r}: expected some of {', '.join(_METHODS)}"
        raise AppError(msg, 'write methods=["POST"]', *place)
    return found


def _check_endpoint(name: str, path: Any, batch: Any, concurrency: Any, place: tuple[str, int]) -> None:
    where = f"endpoint {name!r} at {at(*place)}"
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        msg = f"{where} has path={path!r}: expected a fixed path that begins with '/'"
        raise AppError(msg, f'write path="/{name}"; what varies is a parameter of the function', *place)
    if batch is not None and not isinstance(batch, Batch):
        msg = f"{where} has batch={batch!r}: expected a hotloop.Batch"
        raise AppError(msg, "write batch=hotloop.Batch(max_size=32)", *place)
    if not is_whole(concurrency) or concurrency < 1:
        msg = f"{where} has concurrency={concurrency!r}: expected a whole number, 1 or more"
        raise AppError(msg, "", *place)


def _add(registry: dict[str, Any], word: str, spec: Any) -> None:
    first = registry.get(spec.name)
    if first is not None:
        msg = f"two {word}s are called {spec.name!r}: {at(first.file, first.line)} and {at(spec.file, spec.line)}"
        raise AppError(msg, "rename one of them", spec.file, spec.line)
    registry[spec.name] = spec


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.60}"
