# pyright: basic, reportMissingImports=false
# (it handles values of any type: the user's, torch's, numpy's)
"""How to store what `pickle` refuses or, worse, silently gets wrong. One function a kind; each says how to rebuild."""

from __future__ import annotations

import importlib
import io
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.vault.code import Place, code_at, name_in_module, place_of

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())
_WEAK_DICTS = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
# The random generators that a process has one of each: `random.choice` is a method of the first.
_IN_PROCESS = (("random", "_inst"), ("numpy.random.mtrand", "_rand"), ("torch", "default_generator"))


class Refused(Exception):
    """A value that must not be stored, with the reason.

    Attributes:
        culprit: The value, once it is known.
    """

    culprit: Any = None


class CannotAttach(Exception):
    """A stored value does not fit the code that is there now: load the model again."""


class _Attaching(threading.local):
    project: Project | None = None


attaching = _Attaching()  # the unpickler has no other way to hand the project to what rebuilds a function


def reduce(value: Any, project: Project) -> Any:
    """Say how to store a value.

    Returns:
        A reduce tuple, or NotImplemented where `pickle` does right by itself.

    Raises:
        Refused: The value can't be stored.
    """
    if in_process := name_in_process(value):
        return _attribute, in_process
    kind = type(value)
    rule = _RULES.get(kind)
    if rule is not None:
        return rule(value, project)
    if kind is types.FunctionType:
        return _function(value, project)
    if isinstance(value, type):
        return _class(value)
    if isinstance(value, threading.Thread):
        msg = "a thread"
        raise Refused(msg)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "nn"):
        return _torch(value, torch)
    return NotImplemented


def name_in_process(value: Any) -> tuple[str, str] | None:
    """Where a random generator is that all of a process draws from; None for anything else."""
    if type(value).__name__ not in {"Random", "RandomState", "Generator"}:
        return None
    return next((each for each in _IN_PROCESS if getattr(sys.modules.get(each[0]), each[1], None) is value), None)


# --- functions, methods, modules -----------------------------------------------------------------------------------


def _function(function: types.FunctionType, project: Project) -> Any:
    if hasattr(function, "_torchdynamo_orig_callable"):
        msg = "a function wrapped by torch.compile, whose options live in a closure"
        raise Refused(msg)
    named = name_in_module(function)
    if named is not None:
        return NotImplemented if named == (function.__module__, function.__qualname__) else (_attribute, named)
    place = place_of(function, project)
    if place is None:
        msg = f"function {function.__module__}.{function.__qualname__} stands in no module's source"
        raise Refused(msg)
    names = function.__code__.co_freevars
    state = {
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "__dict__": dict(function.__dict__),
    }
    cells = tuple(function.__closure__ or ())
    return rebuild_function, (place, function.__name__, names, cells), state, None, None, _set_function_state


def rebuild_function(place: Place, name: str, freevars: tuple[str, ...], cells: tuple[Any, ...]) -> Any:
    """Build a function anew from the code that stands at its place now."""
    project = attaching.project
    if project is None:
        msg = f"{place.module}.{place.name} can be rebuilt only by attaching"
        raise CannotAttach(msg)
    code = code_at(place, project)
    if code is None or code.co_freevars != freevars:
        msg = f"{place.module}.{place.name} changed"
        raise CannotAttach(msg)
    return types.FunctionType(code, sys.modules[place.module].__dict__, name, None, cells or None)


def _set_function_state(function: Any, state: dict[str, Any]) -> None:
    own = state.pop("__dict__")
    for name, value in state.items():
        setattr(function, name, value)
    function.__dict__.update(own)


def _attribute(module: str, name: str) -> Any:
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _class(value: type) -> Any:
    named = name_in_module(value)
    if named is None and value.__module__ == "builtins":
        # Types that only `types` has a name for, such as those of cells and methods.
        named = next((("types", name) for name, each in vars(types).items() if each is value), None)
    if named is None or named == (value.__module__, value.__qualname__):
        return NotImplemented
    return _attribute, named


def _method(method: types.MethodType, _: Project) -> Any:
    # pickle stores getattr(self, name), which is another method once the instance was patched under that name.
    owner = method.__self__
    name = method.__func__.__name__
    if getattr(type(owner), name, None) is method.__func__ and name not in getattr(owner, "__dict__", {}):
        return NotImplemented
    if isinstance(owner, type) and getattr(owner, name, None) == method:
        return NotImplemented
    return types.MethodType, (method.__func__, owner)


def _cell(cell: types.CellType, _: Project) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:
        return types.CellType, ()
    return types.CellType, (), (content,), None, None, _fill_cell


def _fill_cell(cell: types.CellType, content: tuple[Any]) -> None:
    cell.cell_contents = content[0]


def _module(module: types.ModuleType, _: Project) -> Any:
    if sys.modules.get(module.__name__) is not module:
        msg = f"module {module.__name__}, which can't be imported by that name"
        raise Refused(msg)
    return importlib.import_module, (module.__name__,)


# --- the standard library ------------------------------------------------------------------------------------------


def _reference(reference: weakref.ref[Any], _: Project) -> Any:
    target = reference()
    if target is None:
        return _dead_reference, ()
    callback = reference.__callback__
    return (weakref.ref, (target, callback)) if callback else (weakref.ref, (target,))


class _Gone:
    pass


def _dead_reference() -> weakref.ref[Any]:
    return weakref.ref(_Gone())


def _weak_dict(mapping: Any, _: Project) -> Any:
    return type(mapping), (dict(mapping.items()),)


def _lock(lock: Any, _: Project) -> Any:
    if lock.locked():
        msg = "a lock that is held"
        raise Refused(msg)
    return threading.Lock, ()


def _rlock(lock: Any, _: Project) -> Any:
    if "owner=0 " not in repr(lock):  # RLock.locked() came with 3.14
        msg = "a lock that is held"
        raise Refused(msg)
    return threading.RLock, ()


def _mapping_proxy(proxy: types.MappingProxyType[Any, Any], _: Project) -> Any:
    return types.MappingProxyType, (dict(proxy),)


_RULES: dict[type, Callable[[Any, Project], Any]] = {
    types.MethodType: _method,
    types.CellType: _cell,
    types.ModuleType: _module,
    types.MappingProxyType: _mapping_proxy,
    weakref.ReferenceType: _reference,
    _LOCK: _lock,
    _RLOCK: _rlock,
    **dict.fromkeys(_WEAK_DICTS, _weak_dict),
}


# --- torch ---------------------------------------------------------------------------------------------------------


def _torch(value: Any, torch: Any) -> Any:
    if isinstance(value, torch.jit.ScriptModule):
        data = io.BytesIO()
        torch.jit.save(value, data)
        return _load_script, (data.getvalue(),)
    if isinstance(value, torch.nn.Module):
        return _parametrized(value)
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, torch.Generator):
        return _rebuild_generator, (str(value.device), value.get_state())
    return NotImplemented


def _load_script(data: bytes) -> Any:
    import torch

    return torch.jit.load(io.BytesIO(data))


def _parametrized(module: Any) -> Any:
    # torch made a class for this module alone, which nothing can import.
    if "parametrizations" not in module.__dict__.get("_modules", {}):
        return NotImplemented
    base = type(module).__mro__[1]
    return _rebuild_parametrized, (base,), dict(module.__dict__), None, None, _set_parametrized


def _rebuild_parametrized(base: type) -> Any:
    from torch.nn.utils import parametrize

    module: Any = object.__new__(base)
    parametrize._inject_new_class(module)  # noqa: SLF001
    return module


def _set_parametrized(module: Any, state: dict[str, Any]) -> None:
    from torch.nn.utils import parametrize

    module.__dict__.update(state)
    for name in module._modules["parametrizations"]:  # noqa: SLF001
        parametrize._inject_property(module, name)  # noqa: SLF001


def _tensor(tensor: Any) -> Any:
    if tensor.grad_fn is not None and tensor.requires_grad:
        msg = "a tensor inside an autograd graph (detach() it)"
        raise Refused(msg)
    if getattr(tensor, "_backward_hooks", None) or getattr(tensor, "_post_accumulate_grad_hooks", None):
        msg = "a tensor with gradient hooks"
        raise Refused(msg)
    grad = tensor.grad if tensor.is_leaf else None
    if grad is None and not tensor.is_inference():
        return NotImplemented
    rebuild, arguments, *rest = tensor.__reduce_ex__(5)
    return _rebuild_tensor, (rebuild, arguments, grad, tensor.is_inference()), *rest


def _rebuild_tensor(rebuild: Any, arguments: tuple[Any, ...], grad: Any, is_inference: bool) -> Any:  # noqa: FBT001
    import torch

    if not is_inference:
        tensor = rebuild(*arguments)
        tensor.grad = grad
        return tensor
    with torch.inference_mode():
        return rebuild(*arguments)


def _rebuild_generator(device: str, state: Any) -> Any:
    import torch

    generator = torch.Generator(device)
    generator.set_state(state)
    return generator
