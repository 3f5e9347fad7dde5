# pyright: basic
# (models are the user's objects)
"""What a model has in common with the models that it was made from, and with globals of the project's modules.

It is stored by the way to it, not by value: what is one object after a cold start is one after a reload, and weights that
two models share are in memory once.
"""

from __future__ import annotations

import enum
import importlib
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.fingerprint.values import namespace_of
from hotloop.gpu_runtime.user_env.vault.reducers import CannotAttach

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_CONTAINERS = (list, dict, set, bytearray, OrderedDict, defaultdict, deque)
# What is one for all who have it, though it is of no class of the project's. By name: they may not be imported.
_ONE_FOR_ALL = frozenset({
    ("builtins", "object"), ("_thread", "lock"), ("_thread", "RLock"), ("threading", "Event"), ("threading", "Condition"),
    ("threading", "Semaphore"), ("threading", "BoundedSemaphore"), ("queue", "Queue"), ("types", "SimpleNamespace"),
    ("argparse", "Namespace"), ("array", "array"), ("random", "Random"), ("numpy.random", "RandomState"),
    ("numpy.random.mtrand", "RandomState"), ("numpy.random._generator", "Generator"), ("torch", "Generator"),
    ("torch._C", "Generator"),
})  # fmt: skip
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, enum.Enum)
_MAX_PARTS = 1000  # of a container or an object, that are looked at one by one


@frozen
class Way:
    """How to get to an object that is there already.

    Attributes:
        owner: A model's name; of a global, the module's.
        is_global: Whether it is a global.
        steps: From there, each the kind of step and its name.
    """

    owner: str
    is_global: bool
    steps: tuple[tuple[str, Any], ...]


class Shared:
    """The objects that a model may have in common with others.

    Args:
        models: Those that it was made from, by name.
        project: Whose modules' globals count.
    """

    def __init__(self, models: Mapping[str, Any], project: Project) -> None:
        self._ways: dict[int, Way] = {}
        self._storages: dict[int, Way] = {}
        self._alive: list[Any] = []  # an identity is good for as long as its object is
        for name, value in models.items():
            for steps, part in _parts(value):
                self._note(part, Way(name, is_global=False, steps=steps))
        for module in project.modules():
            for name, value in namespace_of(module).items():
                if _is_stateful(value, project):
                    for steps, part in _modules(value, (("attribute", name),)):
                        self._note(part, Way(module, is_global=True, steps=steps))
                elif isinstance(value, type) and value.__module__ == module:
                    for key, part in list(vars(value).items()):
                        if _is_stateful(part, project):
                            steps = (("attribute", name), ("attribute", key))
                            self._note(part, Way(module, is_global=True, steps=steps))

    def _note(self, part: Any, way: Way) -> None:
        self._ways.setdefault(id(part), way)
        self._alive.append(part)
        key = _storage_of(part)
        if key is not None:
            self._storages.setdefault(key, way)

    def way_to(self, value: Any) -> Way | None:
        """The way to an object, if it is shared."""
        return self._ways.get(id(value))

    def way_to_storage(self, storage: Any) -> Way | None:
        """The way to a tensor that has a storage, if one is shared."""
        return self._storages.get(storage._cdata)  # noqa: SLF001


def follow(way: Way, models: Mapping[str, Any]) -> Any:
    """Give the object at the end of a way.

    Raises:
        CannotAttach: It is not there any more.
    """
    try:
        found: Any = importlib.import_module(way.owner) if way.is_global else models[way.owner]
        for kind, name in way.steps:
            found = found[name] if kind == "item" else getattr(found, name)
    except (AttributeError, LookupError, TypeError, ImportError) as error:
        msg = f"what it shares with {way.owner} is not there: {error}"
        raise CannotAttach(msg) from error
    return found


def _parts(value: Any) -> Iterator[tuple[tuple[tuple[str, Any], ...], Any]]:
    """A model, and what is in it one step away: of torch's modules all modules, parameters and buffers."""
    if not _has_identity(value):
        return
    yield from _modules(value, ())
    for step, part in _inside(value):
        if _has_identity(part):
            yield from _modules(part, (step,))


def _inside(value: Any) -> Iterator[tuple[tuple[str, Any], Any]]:
    if _is(value, dict) and len(value) < _MAX_PARTS:
        yield from ((("item", key), part) for key, part in value.items() if type(key) in {str, int})
    elif _is(value, (list, tuple)) and len(value) < _MAX_PARTS:
        yield from ((("item", number), part) for number, part in enumerate(value))
    if not _is_module(value):
        yield from ((("attribute", name), part) for name, part in list((_attributes(value) or {}).items())[:_MAX_PARTS])


def _modules(value: Any, steps: tuple[tuple[str, Any], ...]) -> Iterator[tuple[tuple[tuple[str, Any], ...], Any]]:
    yield steps, value
    if not _is_module(value):
        return
    for found in (value.named_modules(), value.named_parameters(), value.named_buffers()):
        for name, part in found:
            if name:
                yield (*steps, *(("attribute", each) for each in name.split("."))), part


def _has_identity(value: Any) -> bool:
    """Whether it matters that it is the same object: not of a string, or a dtype."""
    if _is(value, _BY_NAME):
        return False
    is_container = _is(value, (*_CONTAINERS, tuple))
    return is_container or _attributes(value) is not None or _is_array(value) or _is_one_for_all(type(value))


def _is_stateful(value: Any, project: Project) -> bool:
    kind = type(value)
    if _is(value, _BY_NAME):
        return False
    if _is(value, _CONTAINERS) or _is_one_for_all(kind):
        return True
    return project.owns_module(kind.__module__) or _is_module(value) or _is_array(value)


def _is_one_for_all(kind: type) -> bool:
    return (kind.__module__, kind.__name__) in _ONE_FOR_ALL


def _is(value: Any, kinds: Any) -> bool:
    # By type(): what stands for another object says of itself that it is of that one's class, or fails to.
    return issubclass(type(value), kinds)


def _attributes(value: Any) -> dict[str, Any] | None:
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return own if type(own) is dict else None


def _is_module(value: Any) -> bool:
    module = getattr(getattr(sys.modules.get("torch"), "nn", None), "Module", ())
    return _is(value, module)


def _is_array(value: Any) -> bool:
    return _is_tensor(value) or _is(value, getattr(sys.modules.get("numpy"), "ndarray", ()))


def _is_tensor(value: Any) -> bool:
    return _is(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def _storage_of(value: Any) -> int | None:
    if not _is_tensor(value) or str(value.layout) != "torch.strided":
        return None
    storage = value.untyped_storage()
    return storage._cdata if storage.nbytes() and storage.device.type != "meta" else None  # noqa: SLF001
