# pyright: basic
# The values are the user's: any class, with any attributes.
"""Describe any value in a few words, without running a line of the user's.

A class's own ``__repr__``, ``__len__`` or properties may hang, print or raise; so may a metaclass's ``__eq__``. So nothing of
a value is called: what it is comes from its type's base classes, compared by identity, and what it holds is read by the
methods of those that Python and the libraries of arrays define. Of a tensor this is its shape, type and device, for which
nothing is computed or copied.
"""

from __future__ import annotations

import collections
import enum
import itertools
import pathlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from hotloop.gpu_runtime.user_env.redaction import Secrecy, is_plain, looks_like_key, of_name

MAX_CHARACTERS = 200
HIDDEN_NAME = "hidden: its name looks like a secret's"
HIDDEN_VALUE = "hidden: it looks like a key"
_HIDDEN = "<hidden>"

_MAX_DEPTH = 3
_MAX_ITEMS = 24
_MAX_NAME = 80
_LOOKED_AT = 1000  # characters of a text that may be searched for a key
_MAX_BITS = 256  # of a number that is written out: that takes the square of its digits
_TAME = frozenset({  # their own repr is short, and no code of the user's
    ("datetime", "datetime"), ("datetime", "date"), ("datetime", "time"), ("datetime", "timedelta"),
    ("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID"), ("torch", "dtype"), ("torch", "device"),
})  # fmt: skip
_TABLES = frozenset({"pandas", "polars"})  # their attributes may be columns
_SHAPED = frozenset({"cupy", "jax", "jaxlib", "mlx", "scipy", "tensorflow", *_TABLES})
_ARRAY = frozenset({("numpy", "ndarray")})
_TENSOR = frozenset({("torch", "Tensor")})
_SCALAR = frozenset({("numpy", "number"), ("numpy", "bool"), ("numpy", "bool_")})


def describe(value: Any, secrecy: Secrecy = Secrecy.NONE) -> str:
    """Say what a value is, in at most `MAX_CHARACTERS`.

    Args:
        value: Anything.
        secrecy: What its name hides of it.
    """
    try:
        text = _text(value, 0, MAX_CHARACTERS, secrecy)
    except Exception:  # noqa: BLE001  a container changed meanwhile, or a library is not as it is known
        text = _class_name(type(value))
    if text == _HIDDEN:
        is_key = type(value) is str and looks_like_key(value[:_LOOKED_AT])
        return HIDDEN_VALUE if is_key or not secrecy else HIDDEN_NAME
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def bases(value: Any) -> tuple[type, ...]:
    """Give a value's class and those below it, asking neither."""
    return _mro(type(value))


# --- classes ----------------------------------------------------------------------------------------------------

_mro = type.__dict__["__mro__"].__get__  # not by attribute: a metaclass may have its own
_own = type.__dict__["__dict__"].__get__
_globals = _own(types.ModuleType)["__dict__"].__get__  # not by attribute either: a module may have a `__getattr__`


def _string(text: Any) -> str:
    """Take a name if it is one: it may be of a class of its own."""
    return text if type(text) is str and text.isprintable() else ""


def _module(cls: type) -> str:
    return _string(type.__dict__["__module__"].__get__(cls))


def _name(cls: type) -> str:
    return _string(type.__dict__["__qualname__"].__get__(cls)).replace("<locals>.", "") or "?"


def _class_name(cls: type) -> str:
    module = _module(cls)
    return f"{_name(cls) if module in {'builtins', ''} else f'{module}.{_name(cls)}':.{_MAX_NAME}}"


def _top(cls: type) -> str:
    """Name the package that a class is of; empty if it only says so."""
    name = _module(cls)
    module = sys.modules.get(name)
    is_module = any(base is types.ModuleType for base in bases(module))
    return name.partition(".")[0] if is_module and _globals(module).get(_name(cls)) is cls else ""


def _is_of(cls: type, names: frozenset[tuple[str, str]]) -> bool:
    return (_module(cls), _name(cls)) in names and bool(_top(cls))


# --- values -----------------------------------------------------------------------------------------------------


def _text(value: Any, depth: int, room: int, secrecy: Secrecy) -> str:
    """Describe a value in about so many characters."""
    if value is None or value is True or value is False:
        return repr(value)
    classes = bases(value)
    shaped = "" if id(classes[0]) in _WRITERS else _shaped(value, secrecy)
    if shaped:
        return shaped
    if any(base is enum.Enum for base in classes):
        return f"{_class_name(classes[0])}.{_string(_own(enum.Enum)['__dict__'].__get__(value)['_name_'])}"
    for base in classes:
        write = _WRITERS.get(id(base))  # by id: a metaclass may have its own hash
        if write is not None:
            return write(value, base, depth, room, secrecy)
    if _is_of(classes[0], _TAME):
        return _HIDDEN if secrecy is Secrecy.ALL else repr(value)
    return _class_name(classes[0])


def _number(value: Any, base: Any, _depth: int, _room: int, secrecy: Secrecy) -> str:
    if secrecy is Secrecy.ALL:
        return _HIDDEN
    if base is int and int.bit_length(value) > _MAX_BITS:
        return f"int of {int.bit_length(value):,} bits"
    return base.__repr__(value)


def _quoted(value: Any, _base: Any, _depth: int, room: int, secrecy: Secrecy) -> str:
    head, length = str.__getitem__(value, slice(0, _LOOKED_AT)), str.__len__(value)
    is_hidden = secrecy > Secrecy.WORDS or (secrecy is Secrecy.WORDS and not is_plain(head))
    if length and (is_hidden or looks_like_key(head)):
        return _HIDDEN
    return repr(head) if length <= room - 2 else f"{head[: max(room - 24, 8)]!r}… ({length:,} characters)"


def _octets(value: Any, base: Any, _depth: int, room: int, secrecy: Secrecy) -> str:
    head, length = bytes(base.__getitem__(value, slice(0, _LOOKED_AT))), base.__len__(value)
    if length and (secrecy or looks_like_key(head.decode("latin-1"))):
        return _HIDDEN
    shown = max(room // 5, 8)  # most of them are written as \x00
    return repr(head) if length <= shown else f"{head[:shown]!r}… ({length:,} bytes)"


def _sequence(value: Any, base: Any, depth: int, room: int, secrecy: Secrecy) -> str:
    def write(item: Any, left: int) -> str:
        return _text(item, depth + 1, left, secrecy)

    return _held(value, base.__len__(value), base.__iter__(value), write, depth, room)


def _mapping(value: Any, _base: Any, depth: int, room: int, secrecy: Secrecy) -> str:
    keys = Secrecy.WORDS if secrecy else Secrecy.NONE

    def write(entry: Any, left: int) -> str:
        key, item = entry
        hidden = of_name(key[:_MAX_NAME]) if type(key) is str else Secrecy.NONE
        written = _text(key, depth + 1, left, keys)
        return f"{written}: {_text(item, depth + 1, left - len(written), max(hidden, secrecy))}"

    return _held(value, dict.__len__(value), iter(dict.items(value)), write, depth, room)


def _held(
    value: Any, length: int, items: Iterator[Any], write: Callable[[Any, int], str], depth: int, room: int
) -> str:
    """Write the first of what a container holds, as much as there is room for, and how much it is."""
    name = f"{_class_name(type(value))} of {length:,}"
    if depth >= _MAX_DEPTH or not length:
        return name
    shown: list[str] = []
    left = room - len(name) - 16
    for item in itertools.islice(items, _MAX_ITEMS):
        if shown and left < 4:
            break
        shown.append(write(item, max(left, 8)))
        left -= len(shown[-1]) + 2
    if left < 0 and len(shown) > 1:
        shown.pop()
    rest = length - len(shown)
    begin, end = next(_ENDS[id(base)] for base in bases(value) if id(base) in _ENDS)
    inside = f"{begin}{', '.join([*shown, f'… {rest:,} more'] if rest else shown)}{end}"
    return f"{name}: {inside}" if rest or not depth else inside


def _error(value: Any, _base: Any, depth: int, room: int, secrecy: Secrecy) -> str:
    arguments = BaseException.__dict__["args"].__get__(value)
    name = _class_name(type(value))
    told = [_text(each, depth + 1, room - len(name) - 2, secrecy) for each in arguments[:2]]
    return f"{name}({', '.join(told)}{', …' if len(arguments) > 2 else ''})"


def _path(value: Any, _base: Any, depth: int, room: int, secrecy: Secrecy) -> str:
    if _top(type(value)) != "pathlib":
        return _class_name(type(value))
    return f"{_name(type(value))}({_text(str(value), depth, room - 16, secrecy)})"


def _function(value: Any, *_: Any) -> str:
    return f"function {_string(types.FunctionType.__dict__['__qualname__'].__get__(value)):.{_MAX_NAME}}"


def _module_itself(value: Any, *_: Any) -> str:
    return f"module {_string(_globals(value).get('__name__')):.{_MAX_NAME}}"


_WRITERS: dict[int, Callable[..., str]] = {
    **dict.fromkeys(map(id, (int, float, complex)), _number),
    id(str): _quoted,
    **dict.fromkeys(map(id, (bytes, bytearray)), _octets),
    **dict.fromkeys(map(id, (list, tuple, set, frozenset, collections.deque)), _sequence),
    id(dict): _mapping,
    id(BaseException): _error,
    id(pathlib.PurePath): _path,
    id(types.FunctionType): _function,
    id(types.ModuleType): _module_itself,
    id(type): lambda value, *_: f"class {_class_name(value)}",
    id(range): lambda value, *_: range.__repr__(value),
}
_ENDS = {
    id(list): "[]", id(collections.deque): "[]", id(tuple): "()", id(set): "{}", id(frozenset): "{}", id(dict): "{}",
}  # fmt: skip


# --- arrays -----------------------------------------------------------------------------------------------------


def _shaped(value: Any, secrecy: Secrecy) -> str:
    """Describe a tensor, an array or a number of theirs; empty if it is none."""
    classes = bases(value)
    for index, base in enumerate(classes):
        if _is_of(base, _ARRAY):
            own = _own(base)  # a subclass may have properties of its own
            name = "array" if index == 0 else _class_name(classes[0])
            return f"{name} {list(own['shape'].__get__(value))} {own['dtype'].__get__(value)}"
        if _is_of(base, _TENSOR):
            return _tensor(value, classes, index)
        if _is_of(base, _SCALAR) and _top(classes[0]) == "numpy":
            return _HIDDEN if secrecy is Secrecy.ALL else repr(value)
    top = _top(classes[0])
    if top not in _SHAPED or not hasattr(value, "shape"):
        return ""
    dtype = "" if top in _TABLES else str(getattr(value, "dtype", ""))
    return f"{_name(classes[0])} {list(value.shape)} {dtype}".rstrip()


def _tensor(value: Any, classes: tuple[type, ...], index: int) -> str:
    users = [cls for cls in classes[:index] if _top(cls) != "torch"]
    if any("__torch_dispatch__" in _own(cls) for cls in users):
        return _class_name(classes[0])  # its shape is what its own code says
    places = [_own(cls) for cls in classes[index:]]
    shape, dtype, device = (
        next(place[name] for place in places if name in place) for name in ("shape", "dtype", "device")
    )
    name = _class_name(classes[0]) if users else _name(classes[0])
    with sys.modules["torch"]._C.DisableTorchFunctionSubclass():  # noqa: SLF001  else a subclass's own code may run
        kind = str(dtype.__get__(value)).removeprefix("torch.")
        return f"{name} {list(shape.__get__(value))} {kind} {device.__get__(value)}"
