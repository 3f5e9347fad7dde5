# pyright: basic
# (it reads values of any type)
"""What a code object refers to by name, and what those names mean in the modules as they are now."""

from __future__ import annotations

import builtins
import dis
import functools
import importlib.util
import sys
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint.values import Canon, Places, namespace_of
from hotloop.gpu_runtime.user_env.vault import code
from hotloop.gpu_runtime.user_env.vault.code import hashed, shallow_digest

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL", "DELETE_NAME"})
_BY_COMPUTED_NAME = frozenset({"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller"})
_ANY_NAME_BUILTIN = frozenset({"globals", "vars", "eval", "exec", "__import__", "dir", "builtins", "__builtins__"})
_ANY_NAME = frozenset({
    "import_module", "__dict__", "__subclasses__", "modules", "__getattribute__", "getmembers", "resolve_name", "run_path", "run_module", "f_globals", "f_locals", "__globals__",
})  # fmt: skip
_SOURCE = frozenset({
    "inspect", "getsource", "getsourcelines", "__doc__", "getdoc", "_getframe", "currentframe", "__code__", "linecache",
    "f_lineno", "co_firstlineno", "__annotations__", "get_type_hints", "signature", "extract_stack", "getsourcefile",
    "get_annotations",
})  # fmt: skip
_SEARCHES = frozenset({"find_spec", "find_loader", "import_module", "__import__", "resolve_name"})
_MAX_SHOWN = 40


@dataclass
class Uses:
    """The names that executed code of one module refers to.

    Attributes:
        names: Looked up in the module, then among the builtins.
        attributes: Looked up on something: only matters where that is a module.
        imports: Modules that functions import when they run, by absolute name.
        is_dynamic: Some name is computed while running: any name of any module may be meant.
        reads_source: It looks at source text, docstrings, lines or signatures.
        has_star: It imports all that a module has: any name may be that module's.
    """

    names: set[str] = field(default_factory=set[str])
    attributes: set[str] = field(default_factory=set[str])
    imports: set[str] = field(default_factory=set[str])
    is_dynamic: bool = False
    reads_source: bool = False
    has_star: bool = False

    def add(self, code: types.CodeType, package: str) -> None:
        """Add what one code object itself refers to."""
        more = uses_of(code, package)
        self.names |= more.names
        self.attributes |= more.attributes
        self.imports |= more.imports
        self.is_dynamic = self.is_dynamic or more.is_dynamic
        self.reads_source = self.reads_source or more.reads_source
        self.has_star = self.has_star or more.has_star
        if self.has_star:
            self.attributes |= self.names

    def take(self, code: types.CodeType, package: str) -> None:
        """Take what one code object itself refers to; nothing else was added before."""
        instructions = list(dis.get_instructions(code))
        for instruction in instructions:
            name = instruction.argval
            if instruction.opname == "IMPORT_NAME":
                self._import(code, name, package)
            elif instruction.opname in _GLOBAL:
                self.names.add(name)
            elif instruction.opcode in dis.hasname:
                self.attributes.add(name)
        strings = {each for each in code.co_consts if isinstance(each, str) and each.isidentifier()}
        self.attributes |= strings
        met = {*self.names, *code.co_names}
        # As an attribute each of the builtins is another thing: `model.eval()` computes no name.
        is_dynamic = bool(self.names & _ANY_NAME_BUILTIN or met & _ANY_NAME) or _computes_a_name(code)
        self.is_dynamic = self.is_dynamic or is_dynamic
        self.reads_source = self.reads_source or _reads_source(instructions)
        self.has_star = self.has_star or ("*",) in code.co_consts  # as IMPORT_NAME takes it

    def _import(self, code: types.CodeType, name: str, package: str) -> None:
        # The level is a constant loaded before; trying the absolute and the relative meaning covers both.
        found = {name}
        for level in (1, 2, 3):
            try:
                found.add(importlib.util.resolve_name("." * level + name, package) if package else name)
            except ImportError:
                break
        parents = name.split(".")
        found.update(".".join(parents[: length + 1]) for length in range(len(parents)))
        self.imports |= found  # of this import alone: each name of the code may be one of its parts
        self.imports.update(f"{each}.{used}" for each in found for used in code.co_names)

    @property
    def may_import(self) -> set[str]:
        """Names of modules that may be imported, or looked for, when the code runs."""
        by_text = self.attributes if self.attributes & _SEARCHES or self.names & _SEARCHES else set[str]()
        return self.imports | by_text

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "names": sorted(self.names), "attributes": sorted(self.attributes), "imports": sorted(self.imports),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Uses:
        """Undo `to_json`."""
        return cls(set(data["names"]), set(data["attributes"]), set(data["imports"]))


@functools.lru_cache(maxsize=4096)
def uses_of(code: types.CodeType, package: str) -> Uses:
    """What one code object itself refers to; not to be changed."""
    found = Uses()
    found.take(code, package)
    return found


def _reads_source(instructions: list[dis.Instruction]) -> bool:
    # Docstrings and annotations are stored where they are written: that reads nothing.
    return any(
        each.argval in _SOURCE
        and each.opcode in dis.hasname
        and not each.opname.startswith("STORE_")
        and not (each.argval == "__annotations__" and _is_stored_into(instructions[number + 1 : number + 3]))
        for number, each in enumerate(instructions)
    )


def _is_stored_into(following: list[dis.Instruction]) -> bool:
    return [each.opname for each in following] == ["LOAD_CONST", "STORE_SUBSCR"]


def _computes_a_name(code: types.CodeType) -> bool:
    if not _BY_COMPUTED_NAME & set(code.co_names):
        return False
    steps = [each for each in dis.get_instructions(code) if each.opname not in {"PUSH_NULL", "PRECALL", "CACHE"}]
    asked = [number for number, each in enumerate(steps) if each.argval in _BY_COMPUTED_NAME]
    return not all(_names_a_constant(steps[number:]) for number in asked)


def _names_a_constant(steps: list[dis.Instruction]) -> bool:
    # getattr(thing.part, "name"): anything else may compute the name.
    operations = iter(steps[1:])
    if not next(operations).opname.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")):
        return False
    following = next((each for each in operations if each.opname != "LOAD_ATTR"), None)
    return following is not None and following.opname == "LOAD_CONST" and isinstance(following.argval, str)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one name means: a digest of its value, the project's classes in it, and of the `Canon` that took it."""

    digest: str
    classes: dict[str, type]
    is_opaque: bool
    is_plain: bool


class Meanings:
    """What names mean in this process: a digest for each, and how to show it.

    Attributes:
        digests: By key: ``module.NAME`` for a global, ``class module.Name`` for a class's shape.
        shown: The value, where it is short.
        installed: Modules, not of the project, that the names lead to.
    """

    def __init__(self, project: Project, places: Places, known: dict[str, Meaning] | None = None) -> None:
        """Prepare.

        Args:
            project: Whose names are looked up.
            places: Where its code stands.
            known: Meanings that were found before, by key; those found from now on are added.
        """
        self._known: dict[str, Meaning] = {} if known is None else known
        self.digests: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        self.installed: set[str] = set()
        self._project, self._places = project, places
        self._classes: dict[str, type] = {}

    def collect(self, uses: dict[str, Uses], *, is_wide: bool) -> None:
        """Look up all names that were used, by module; all names of all modules if any could have been."""
        for module, used in uses.items():
            if module in sys.modules:
                self._names_of(module, used)
            self._imports(used)  # those of one that only the loader imports, too
        if is_wide:
            for module in self._project.modules():
                for name in namespace_of(module):
                    self._global(module, name, set())
        self._shapes()

    def _names_of(self, module: str, used: Uses) -> None:
        for name in used.names:
            self._global(module, name, used.attributes)
        for part in self._enclosing(module, used):
            self._note_class(part)

    def _imports(self, used: Uses) -> None:
        for name in used.imports:  # hundreds, for any name may be a module's: most are none
            if name not in sys.modules:
                continue
            if self._project.owns_module(name):
                self._imported(name, used.attributes)
            else:
                self.installed.add(name)

    def _enclosing(self, module: str, used: Uses) -> list[type]:
        namespace = sys.modules[module].__dict__  # not getattr: asked for its __annotations__, a module makes some
        found = [namespace.get(name) for name in used.names]
        return [each for each in found if isinstance(each, type)]

    def note_class_of(self, module: str, qualified_name: str) -> None:
        """A method ran: what class it stands in counts."""
        owner: Any = sys.modules.get(module)
        for part in qualified_name.split(".")[:-1]:
            owner = getattr(owner, part, None)
            if isinstance(owner, type):
                self._note_class(owner)

    def _note_class(self, value: type) -> None:
        if self._project.owns_module(value.__module__):
            self._classes.setdefault(f"{value.__module__}.{value.__qualname__}", value)

    def _global(self, module: str, name: str, attributes: set[str]) -> None:
        key = f"{module}.{name}"
        namespace = sys.modules[module].__dict__
        if name not in namespace:
            self.digests[key] = "builtin" if hasattr(builtins, name) else "absent"
            return
        value = namespace[name]
        if key not in self.digests:
            self._value(key, value, module)
        if isinstance(value, types.ModuleType):
            self._attributes(value, attributes)

    def _imported(self, name: str, attributes: set[str]) -> None:
        found: Any = sys.modules.get(name)
        if isinstance(found, types.ModuleType):
            self._attributes(found, attributes)
        elif found is not None:  # what the module put in its own place
            self._value(f"module {name}", found, "")

    def _attributes(self, module: types.ModuleType, attributes: set[str]) -> None:
        if not self._project.owns_module(module.__name__):
            self._installed(module, attributes, set())
            return
        for name in attributes:
            if f"{module.__name__}.{name}" not in self.digests:
                self._global(module.__name__, name, attributes)

    def _installed(self, module: types.ModuleType, attributes: set[str], seen: set[str]) -> None:
        # Of an installed package only this counts: whether the project put something of its own there.
        seen.add(module.__name__)
        self.installed.add(module.__name__)
        namespace = module.__dict__
        for name in attributes & namespace.keys():
            value = namespace[name]
            if issubclass(type(value), types.ModuleType) and value.__name__ not in seen:
                self._installed(value, attributes, seen)
            elif is_of_project(value, self._project):
                self._value(f"{module.__name__}.{name}", value, "")

    def _value(self, key: str, value: Any, module: str) -> None:
        meaning = self._known.get(key)
        if meaning is None:
            canon = Canon(self._project, self._places)
            meaning = self._known[key] = Meaning(canon.digest(value), canon.classes, bool(canon.opaque), canon.is_plain)
        self.digests[key] = meaning.digest
        self._classes.update(meaning.classes)
        if meaning.is_opaque:
            # What it holds can't be seen: any other statement of the project may have made it another.
            self.digests[key] = hashed(self.digests[key], _statements(self._project))
        if isinstance(value, bool | int | float | str) and len(repr(value)) <= _MAX_SHOWN:
            self.shown[key] = repr(value)
        if isinstance(value, type) and not self._project.owns_module(value.__module__):
            self.installed.add(value.__module__)
        elif isinstance(value, types.FunctionType):
            self.installed.add(value.__module__ or "")

    def _shapes(self) -> None:
        while missing := [name for name in self._classes if f"class {name}" not in self.digests]:
            for name in missing:
                canon = Canon(self._project, self._places)
                self.digests[f"class {name}"] = hashed(canon.shape(self._classes[name]))
                self._classes.update({k: v for k, v in canon.classes.items() if k not in self._classes})


def is_of_project(value: Any, project: Project) -> bool:
    """Whether a function or class was defined by the project."""
    # By type(): asking an object for its __class__ may run code of a package, or print its warnings.
    if type(value) is types.FunctionType:
        return code.is_of_project(value.__code__, project)
    return issubclass(type(value), type) and project.owns_module(value.__module__)


def _statements(project: Project) -> list[tuple[str, str]]:
    codes = [(module, project.code_of(module)) for module in sorted(project.modules())]
    return [(module, shallow_digest(code)) for module, code in codes if code]
