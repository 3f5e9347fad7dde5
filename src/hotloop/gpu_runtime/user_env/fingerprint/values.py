# pyright: basic, reportMissingImports=false
# (it reads values of any type)
"""Digests of values: equal when structure, aliasing and content are equal, in whatever process they are taken.

A function of the project counts by its place in the source, not by its body: what of it runs is traced apart, and what
only is referred to is taken anew from the edited module. A class counts by its shape: bases, names, data.
"""

from __future__ import annotations

import contextvars
import copyreg
import ctypes
import enum
import functools
import io
import mmap
import os
import stat
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint import files
from hotloop.gpu_runtime.user_env.vault.code import code_digest, codes_by_name, hashed, is_of_project
from hotloop.gpu_runtime.user_env.vault.packing import deep_recursion
from hotloop.gpu_runtime.user_env.vault.reducers import name_in_process

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_ATOMS = (int, float, complex, bool, str, bytes, types.NoneType, types.EllipsisType, types.NotImplementedType, range)
_BUILT_IN = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType,
    types.MemberDescriptorType, types.MethodWrapperType, types.ClassMethodDescriptorType,
)  # fmt: skip
_SHAPELESS = frozenset({
    "__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__", "_abc_impl",
    "__abstractmethods__", "__parameters__", "__qualname__", "__slotnames__",
    # What pydantic makes of the fields and decorators, which are beside it; it names classes by their addresses.
    "__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__",
    # What an enumeration makes of its members, and adds to when two flags are combined.
    "_value2member_map_", "_hashable_values_", "_unhashable_values_", "_unhashable_values_map_",
})  # fmt: skip
_MODULE_OWN = frozenset({
    "__builtins__", "__doc__", "__loader__", "__spec__", "__cached__", "__file__", "__warningregistry__", "__path__",
})  # fmt: skip


# What torch.compile writes into the globals of what it compiles.
_OF_COMPILER = ("__builtins_dict__", "__compiled_fn_", "__import_", "__resume_at_")
_WITHOUT_ORDER = (types.FunctionType, staticmethod, classmethod, property)
_OF_EXECUTOR = ("_max_workers", "_initializer", "_initargs", "_thread_name_prefix")
# Its state is the moment's, and what it runs is in the statement that makes it.
_OF_THREAD = frozenset(vars(threading.Thread(name="a thread")))
_STORED_BY = ("__reduce__", "__reduce_ex__", "__getstate__")
_MAX_MAPPED_BYTES = 64 << 20


class Places:
    """Where each code object of the project stands. Each module is looked at once."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._known: dict[int, tuple[str, int]] = {}
        self._by_module: dict[str, dict[str, list[types.CodeType]]] = {}

    def of(self, code: types.CodeType, module: str) -> tuple[str, int] | None:
        """Qualified name and ordinal of a code object in its module, None if it is not from its source."""
        self.within(module, lambda: self.project.code_of(module))
        return self._known.get(id(code))

    def within(self, module: str, top_level: Callable[[], types.CodeType | None]) -> dict[str, list[types.CodeType]]:
        """The code objects of a module by qualified name; ``top_level`` gives the module's own, if it has any."""
        if module not in self._by_module:
            top = top_level()
            found = self._by_module[module] = codes_by_name(top) if top else {}
            for name, codes in found.items():
                self._known.update((id(each), (name, nth)) for nth, each in enumerate(codes))
        return self._by_module[module]


class Canon:
    """Takes the digest of one value; a new one for each, since aliases are numbered as they are met.

    Attributes:
        classes: The project's classes that were met.
        opaque: Names of types that hide what they hold.
        modules: Names of the project's modules that were met.
    """

    def __init__(self, project: Project | None, places: Places | None = None, *, is_quick: bool = False) -> None:
        """Prepare.

        Args:
            project: Whose functions and classes are described; None describes all by name.
            places: Where its code stands; None counts bodies instead.
            is_quick: Tell a tensor's change by its version instead of its content: only good within one process.
        """
        self.classes: dict[str, type] = {}
        self.opaque: set[str] = set()
        self.modules: set[str] = set()
        self._project, self._places, self._is_quick = project, places, is_quick
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []
        self._around: frozenset[int] = frozenset()  # the sets that this is in

    @property
    def is_plain(self) -> bool:
        """Whether all that was met is an atom, a module, a class or built in: nothing that is changed in place."""
        return not self._numbers

    def digest(self, value: Any) -> str:
        """Digest of a value."""
        with deep_recursion():
            return hashed(self.describe(value))

    def describe(self, value: Any) -> Any:
        """What a value is, as nested tuples of strings and numbers."""
        kind = type(value)
        if kind in _ATOMS:
            return kind.__name__, repr(value)
        if kind in _BUILT_IN:
            return self._built_in(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.CodeType):
            return "code", code_digest(value)
        return self._numbered(value, kind)

    def _built_in(self, value: Any) -> Any:
        """A function written in C, with what it is bound to: ``re.compile("a").match``."""
        named = "builtin", getattr(value, "__module__", None), getattr(value, "__qualname__", repr(value))
        owner = getattr(value, "__self__", None)
        is_free = owner is None or isinstance(owner, types.ModuleType)
        return named if is_free else (*named, self.describe(owner))

    def _module(self, value: types.ModuleType) -> Any:
        is_own = bool(self._project and self._project.owns_module(value.__name__))
        if is_own:
            self.modules.add(value.__name__)
        return "module", value.__name__, is_own

    def _numbered(self, value: Any, kind: type) -> Any:
        number = self._numbers.get(id(value))
        if number is not None:
            return "same", number
        self._numbers[id(value)] = number = len(self._numbers)
        self._alive.append(value)
        return "object", number, self._class(kind), self._body(value, kind)

    def _class(self, value: type) -> Any:
        if self._project is None or not self._project.owns_module(value.__module__):
            return "installed", value.__module__, value.__qualname__
        name = f"{value.__module__}.{value.__qualname__}"
        if not _is_under_its_name(value):  # one of several that a function made, say: each counts by itself
            number = self._numbers.get(id(value))
            if number is not None:
                return "same", number
            self._numbers[id(value)] = number = len(self._numbers)
            self._alive.append(value)
            return "class", name, number, self.shape(value)
        self.classes.setdefault(name, value)
        return "class", name

    def shape(self, value: type) -> Any:
        """What a class is beside the bodies of its methods."""
        items = [(k, v) for k, v in value.__dict__.items() if k not in _SHAPELESS]
        return (
            self._class(type(value)),
            [self._class(base) for base in value.__mro__[1:]],
            sorted((name, repr(self.describe(each))) for name, each in items),
            [name for name, each in items if not isinstance(each, _WITHOUT_ORDER)],
        )

    def _body(self, value: Any, kind: type) -> Any:
        rule = _BODIES.get(kind)
        if rule is not None:
            return rule(self, value)
        if isinstance(value, enum.Enum):
            return value.name, self.describe(value.value)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
            return self._tensor(value)
        if torch is not None and isinstance(value, getattr(torch, "Generator", ())):
            return self._generator(value)
        if kind.__module__ == "sqlite3" and kind.__name__ == "Connection":
            return self._database(value)
        if str(kind.__module__).startswith("pydantic."):
            return self._of_pydantic(value, kind)
        if str(kind.__module__).startswith("concurrent.futures.") and hasattr(value, "_max_workers"):
            return self.describe([getattr(value, name, None) for name in _OF_EXECUTOR])  # its threads are no state
        if isinstance(value, threading.local | threading.Thread):  # of a local, this thread's
            hidden = _OF_THREAD if isinstance(value, threading.Thread) else ()
            shown = {name: each for name, each in vars(value).items() if name not in hidden}
            given = value.name if isinstance(value, threading.Thread) else ""
            return self.describe(shown), "" if given.startswith("Thread-") else given  # those are counted
        if kind.__name__ == "_lru_cache_wrapper":
            return self.describe(value.__wrapped__)
        return self._reduced(value)

    def _sequence(self, value: Any) -> Any:
        return [self.describe(each) for each in value]

    def _set(self, value: Any) -> Any:
        found: list[str] = []
        if id(value) in self._around:
            return "around"
        for each in value:
            if type(each) in _ATOMS:
                found.append(repr(self.describe(each)))
                continue
            canon = Canon(self._project, self._places, is_quick=self._is_quick)
            canon._around = self._around | {id(value)}
            found.append(repr(canon.describe(each)))
            self.classes.update(canon.classes)
            self.opaque |= canon.opaque
            self.modules |= canon.modules
            self._alive += canon._alive
        return sorted(found)

    def _dict(self, value: dict[Any, Any]) -> Any:
        return [(self.describe(key), self.describe(each)) for key, each in list(value.items())]

    def function(self, value: types.FunctionType) -> Any:
        """What a function is: where its code stands (or does), and what it is bound to."""
        if hasattr(value, "_clear_cache") and hasattr(value, "registry"):  # of singledispatch: its cache is no state
            return "dispatch", self.describe(dict(value.registry)), value.__qualname__
        compiled = value.__dict__.get("_torchdynamo_orig_callable")
        if compiled is not None:  # what torch.compile knows of earlier calls is no state
            return "compiled", self.describe(compiled)
        code = value.__code__
        module = value.__globals__.get("__name__", "")
        place: Any = value.__module__, value.__qualname__
        if self._project is not None and is_of_project(code, self._project):
            where = self._places.of(code, module) if self._places else None
            place = (module, *where) if where else (module, code_digest(code))
        elif self._project is None:
            place = module, code_digest(code)
        return (
            place,
            self.describe(value.__defaults__),
            self.describe(value.__kwdefaults__),
            [self._cell(cell) for cell in value.__closure__ or ()],
            self.describe({k: v for k, v in value.__dict__.items() if k != "__wrapped__" or v is not value}),
        )

    def _cell(self, cell: types.CellType) -> Any:
        try:
            return self.describe(cell.cell_contents)
        except ValueError:
            return "empty"

    def _tensor(self, value: Any) -> Any:
        described = (str(value.dtype), tuple(value.shape), value.requires_grad, str(value.device), str(value.layout))
        if str(value.layout) != "torch.strided" or value.is_quantized or getattr(value, "is_nested", False):
            return *described, self._reduced(value)
        storage = value.untyped_storage()
        key = storage._cdata  # noqa: SLF001
        self._alive.append(storage)
        number = self._numbers.setdefault(-key, len(self._numbers))
        aliasing = number, tuple(value.stride()), value.storage_offset()
        grad = self.describe(value.grad) if value.is_leaf else None
        return *described, aliasing, self._content(value), grad, self.describe(dict(getattr(value, "__dict__", {})))

    def _generator(self, value: Any) -> Any:
        if name := name_in_process(value):
            return "of the process", name
        state = value.get_state()  # a new tensor each time
        return str(value.device), hashed(ctypes.string_at(state.data_ptr(), state.numel()))

    def _content(self, value: Any) -> Any:
        if value.untyped_storage().device.type == "meta":  # the tensor itself may say otherwise: torch.compile's do
            return "meta"
        if self._is_quick:
            return value.data_ptr(), None if value.is_inference() else value._version  # noqa: SLF001
        torch = sys.modules["torch"]
        data = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1).view(torch.uint8)
        # Not bytes(storage), which takes a call for each byte: 49 s for a million numbers. And numpy may be absent.
        return hashed(ctypes.string_at(data.data_ptr(), data.numel()) if data.numel() else b"")

    def _reduced(self, value: Any) -> Any:
        if name := name_in_process(value):  # its state is `ambient`'s
            return "of the process", name
        try:
            registered = copyreg.dispatch_table.get(
                type(value)
            )  # asked first by pickle too: compiled patterns have this alone
            reduced = registered(value) if registered is not None else value.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 (any class may raise anything)
            self.opaque.add(type(value).__qualname__)
            return "opaque"
        if isinstance(reduced, str):
            return "global", reduced
        torch_nn = sys.modules.get("torch.nn")
        state = reduced[2] if len(reduced) > 2 else None
        if torch_nn is not None and isinstance(value, torch_nn.Module):
            state = value.__dict__
        parts = [self.describe(reduced[0]), self.describe(reduced[1]), self.describe(state)]
        if len(reduced) > 3 and reduced[3] is not None:
            parts.append([self.describe(each) for each in reduced[3]])
        if len(reduced) > 4 and reduced[4] is not None:
            parts.append([(self.describe(key), self.describe(each)) for key, each in reduced[4]])
        is_own = self._project is not None and self._project.owns_module(type(value).__module__)
        if is_own and (registered is not None or _hides(type(value))):
            parts.append(self.describe(dict(getattr(value, "__dict__", {}))))
        return parts

    def _file(self, value: Any) -> Any:
        """An open file: what it reads, if it was opened for that."""
        try:
            name, fd = str(value.name), value.fileno()
            seen = os.fstat(fd)
        except (OSError, ValueError, AttributeError):
            return "closed"
        if not stat.S_ISREG(seen.st_mode) or value.writable():
            return name
        return name, value.tell() if value.seekable() else 0, _content_of(fd, seen.st_size), seen.st_size

    def _of_pydantic(self, value: Any, kind: type) -> Any:
        """An object of pydantic's, without the addresses of classes."""
        if kind.__name__ == "TypeAdapter":
            return self.describe(value._type)  # noqa: SLF001
        if kind.__name__ == "Decorator" and hasattr(value, "cls_ref"):
            return [self.describe(each) for each in (value.cls_var_name, value.func, value.info)]
        return self._reduced(value)

    def _context_variable(self, value: contextvars.ContextVar[Any]) -> Any:
        try:
            return value.name, self.describe(value.get())
        except LookupError:
            return value.name, "not set"

    def _database(self, value: Any) -> Any:
        """A connection to a SQLite database: the files behind it."""
        try:
            paths = [row[2] for row in value.execute("PRAGMA database_list")]
        except Exception:  # noqa: BLE001 (closed, of another thread)
            self.opaque.add(type(value).__qualname__)
            return "opaque"
        return [(path, files.look(path, is_installed=False).get("digest")) for path in paths if path]


_BODIES: dict[type, Any] = {
    io.TextIOWrapper: Canon._file,  # noqa: SLF001
    io.BufferedReader: Canon._file,  # noqa: SLF001
    io.FileIO: Canon._file,  # noqa: SLF001
    mmap.mmap: lambda _, value: (len(value), hashed(value[:]) if len(value) <= _MAX_MAPPED_BYTES else ""),
    contextvars.ContextVar: Canon._context_variable,  # noqa: SLF001
    list: Canon._sequence,  # noqa: SLF001
    tuple: Canon._sequence,  # noqa: SLF001
    set: Canon._set,  # noqa: SLF001
    frozenset: Canon._set,  # noqa: SLF001
    dict: Canon._dict,  # noqa: SLF001
    types.MappingProxyType: lambda canon, value: canon.describe(dict(value)),
    types.FunctionType: Canon.function,
    types.MethodType: lambda canon, value: (canon.describe(value.__self__), canon.describe(value.__func__)),
    types.CellType: Canon._cell,  # noqa: SLF001
    staticmethod: lambda canon, value: canon.describe(value.__func__),
    classmethod: lambda canon, value: canon.describe(value.__func__),
    property: lambda canon, value: [canon.describe(each) for each in (value.fget, value.fset, value.fdel)],
    functools.partial: lambda canon, value: [canon.describe(e) for e in (value.func, value.args, value.keywords)],
    functools.cached_property: lambda canon, value: canon.describe(value.func),
    functools.singledispatchmethod: lambda canon, value: canon.describe(value.func),
    weakref.ReferenceType: lambda canon, value: canon.describe(value()),
    weakref.WeakKeyDictionary: lambda canon, value: canon.describe(dict(value)),
    weakref.WeakValueDictionary: lambda canon, value: canon.describe(dict(value)),
    threading.Condition: lambda *_: "condition",  # who waits is the moment's
    type(sys.implementation): lambda canon, value: canon.describe(vars(value)),
}
for _stateless in ("_thread.lock", "_thread.RLock"):
    _BODIES[getattr(sys.modules["_thread"], {"_thread.lock": "LockType", "_thread.RLock": "RLock"}[_stateless])] = (
        lambda _canon, _value: "lock"
    )


def _is_under_its_name(value: type) -> bool:
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found is value


def _hides(kind: Any) -> bool:
    return any(getattr(kind, name, None) is not getattr(object, name, None) for name in _STORED_BY)


def _content_of(fd: int, size_bytes: int) -> str:
    return hashed(os.pread(fd, size_bytes, 0)) if size_bytes <= _MAX_MAPPED_BYTES else ""


def digest(value: Any, project: Project | None = None) -> str:
    """Digest of a value's structure, aliasing and content, the bodies of its own functions included."""
    return Canon(project).digest(value)


def namespace_of(module: str) -> dict[str, Any]:
    """What a module of the project defines and imports, by name."""
    namespace = getattr(sys.modules.get(module), "__dict__", {})
    own = [name for name in list(namespace) if name not in _MODULE_OWN and not name.startswith(_OF_COMPILER)]
    return {name: namespace[name] for name in own}


def state_of(modules: list[str], project: Project, places: Places) -> dict[str, str]:
    """Digests of all that lives in modules of the project, to see what a loader changes."""
    found: dict[str, str] = {}
    for module in modules:
        for name, value in namespace_of(module).items():
            canon = Canon(project, places, is_quick=True)
            described = canon.describe(value)
            shapes = [canon.shape(each) for each in list(canon.classes.values())]
            with deep_recursion():
                found[f"{module}.{name}"] = hashed(described, shapes)
    return found
