# pyright: basic
# (it reads values of any type)
"""What a code object refers to by name, and what those names mean in the modules as they are now."""

from __future__ import annotations

import builtins
import dis
import functools
import importlib.util
import itertools
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from hotloop.frozen import frozen
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
_LOADS = (
    "LOAD_GLOBAL",
    "LOAD_NAME",
    "LOAD_ATTR",
    "LOAD_FAST",
    "LOAD_DEREF",
    "LOAD_CLOSURE",
    "LOAD_CLASSDEREF",
    "LOAD_FROM_DICT",
)
OF_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"})
SILENT = frozenset({"RESUME", "NOP", "CACHE", "PRECALL", "PUSH_NULL", "EXTENDED_ARG"})
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
        passed: Names whose values are handed on as they are, not asked for an attribute: of a module all may be meant then.
            Those of attributes begin with a dot.
        aliases: Names under which modules are imported, each with the last part of the module's own.
    """

    names: set[str] = field(default_factory=set[str])
    attributes: set[str] = field(default_factory=set[str])
    imports: set[str] = field(default_factory=set[str])
    is_dynamic: bool = False
    reads_source: bool = False
    has_star: bool = False
    passed: set[str] = field(default_factory=set[str])
    aliases: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

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
        self.passed |= more.passed
        self.aliases |= more.aliases
        self.passed |= {name for alias, name in self.aliases if alias in self.passed}

    def take(self, code: types.CodeType, package: str) -> None:
        """Take what one code object itself refers to; nothing else was added before."""
        instructions = list(dis.get_instructions(code))
        modules: set[str] = set()
        for instruction in instructions:
            name = instruction.argval
            if instruction.opname == "IMPORT_NAME":
                modules = _meant(name, package)
                self.imports |= modules
            elif instruction.opname == "IMPORT_FROM":
                self.imports.update(f"{each}.{name}" for each in modules)
                self.attributes.add(name)
            elif instruction.opname in _GLOBAL:
                self.names.add(name)
            elif instruction.opcode in dis.hasname:
                self.attributes.add(name)
        strings = {each for each in code.co_consts if isinstance(each, str) and each.isidentifier()}
        self.attributes |= strings
        steps = list(steps_of(instructions))
        met = {*self.names, *code.co_names}
        if "modules" in met and not _reads_modules(steps):
            met.discard("modules")
        # As an attribute each of the builtins is another thing: `model.eval()` computes no name.
        is_dynamic = bool(self.names & _ANY_NAME_BUILTIN or met & _ANY_NAME) or _computes_a_name(code)
        self.is_dynamic = self.is_dynamic or is_dynamic
        self.reads_source = self.reads_source or _reads_source(instructions)
        self.has_star = self.has_star or ("*",) in code.co_consts  # as IMPORT_NAME takes it
        self.aliases |= set(_aliases(steps))
        self.passed |= set(_passed(steps, {alias for alias, _ in self.aliases}))

    @property
    def may_import(self) -> set[str]:
        """Names of modules that may be imported, or looked for, when the code runs."""
        by_text = self.attributes if self.attributes & _SEARCHES or self.names & _SEARCHES else set[str]()
        return self.imports | by_text

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "names": sorted(self.names), "attributes": sorted(self.attributes), "imports": sorted(self.imports),
            "passed": sorted(self.passed),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Uses:
        """Undo `to_json`."""
        passed = set(data.get("passed", ()))
        return cls(set(data["names"]), set(data["attributes"]), set(data["imports"]), passed=passed)


_NOTHING = Uses()


@functools.lru_cache(maxsize=4096)
def uses_of(code: types.CodeType, package: str) -> Uses:
    """What one code object itself refers to; not to be changed."""
    found = Uses()
    found.take(code, package)
    return found


def _meant(name: str, package: str) -> set[str]:
    """The modules that an import may mean."""
    # The level is a constant loaded before; trying the absolute and the relative meaning covers both.
    found = {name}
    for level in (1, 2, 3):
        try:
            found.add(importlib.util.resolve_name("." * level + name, package) if package else name)
        except ImportError:
            break
    parents = name.split(".")
    return found | {".".join(parents[: length + 1]) for length in range(len(parents))}


class Step(NamedTuple):
    """An instruction; of those that Python 3.13 and newer join (``STORE_FAST_LOAD_FAST``), one."""

    opname: str
    argval: Any
    arg: int


def steps_of(instructions: Iterable[dis.Instruction]) -> Iterator[Step]:
    """The instructions that do something, one by one."""
    for each in instructions:
        if isinstance(each.argval, tuple) and "_FAST" in each.opname:
            first, second = each.argval
            yield Step("STORE_FAST" if each.opname.startswith("STORE") else "LOAD_FAST", first, 0)
            yield Step("STORE_FAST" if each.opname.endswith("STORE_FAST") else "LOAD_FAST", second, 0)
        elif each.opname not in SILENT:
            yield Step(each.opname, each.argval, each.arg or 0)


def _aliases(steps: list[Step]) -> Iterator[tuple[str, str]]:
    last = ""
    for each in steps:
        if each.opname in {"IMPORT_NAME", "IMPORT_FROM"}:
            last = each.argval.rpartition(".")[2]
        elif each.opname not in {"SWAP", "POP_TOP"}:  # which `import a.b as c` has between
            if last and each.opname.startswith("STORE_"):
                yield each.argval, last
            last = ""


def _passed(steps: list[Step], aliases: set[str]) -> Iterator[str]:
    is_called = False
    for number, each in enumerate(steps[:-1]):  # the last one returns, or jumps
        is_called = _is_called(each) or (is_called and each.opname == "LOAD_ATTR")  # of `a.b()` that is b
        if not each.opname.startswith(_LOADS) or is_called or steps[number + 1].opname in OF_ATTRIBUTE:
            continue
        if number and steps[number - 1].argval in _BY_COMPUTED_NAME:  # whose names are constants, or any may be meant
            continue
        is_local = each.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE"))
        if not is_local or each.argval in aliases:
            yield "." + each.argval if each.opname == "LOAD_ATTR" else each.argval


def _is_called(step: Step) -> bool:
    has_flag = step.opname == "LOAD_GLOBAL" or (step.opname == "LOAD_ATTR" and sys.version_info >= (3, 12))
    return has_flag and bool(step.arg & 1)


def _reads_modules(steps: list[Step]) -> bool:
    """Whether it may be those of `sys`: not ``network.modules()``, as all of torch's have it, and not ``torch.nn.modules``."""
    return any(
        each.argval == "modules" and each.opname != "LOAD_METHOD" and not _is_called(each) and before.argval != "nn"
        for before, each in itertools.pairwise(steps)
    )


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
    steps = list(steps_of(dis.get_instructions(code)))
    asked = [number for number, each in enumerate(steps) if each.argval in _BY_COMPUTED_NAME]
    return not all(_names_a_constant(steps[number:]) for number in asked)


def _names_a_constant(steps: list[Step]) -> bool:
    # getattr(thing.part, "name"): anything else may compute the name.
    operations = iter(steps[1:])
    asked = next(operations, None)  # none where the name itself is a constant, at the end
    if asked is None or not asked.opname.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")):
        return False
    following = next((each for each in operations if each.opname != "LOAD_ATTR"), None)
    return following is not None and following.opname == "LOAD_CONST" and isinstance(following.argval, str)


@frozen
class Meaning:
    """What one name means: a digest of its value, the project's classes and modules in it, and of the `Canon` that took it."""

    digest: str
    classes: dict[str, type]
    modules: frozenset[str]
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
        self._whole: dict[str, bool] = {}  # modules that are values: whether all in them was looked at
        self._visited: set[tuple[str, int]] = set()  # modules, with the uses whose attributes were looked up in them
        self._all = Uses()

    def collect(self, uses: dict[str, Uses], *, is_wide: bool) -> None:
        """Look up all names that were used, by module; all names of all modules if any could have been."""
        for used in uses.values():
            self._all.attributes |= used.attributes
        for module, used in uses.items():
            if module in sys.modules:
                self._names_of(module, used)
            self._imports(used)  # those of one that only the loader imports, too
        if is_wide:
            for module in self._project.modules():
                for name in namespace_of(module):
                    self._global(module, name, _NOTHING)
        self._shapes()
        while waiting := [module for module, is_done in self._whole.items() if not is_done]:
            self._look_at_all(waiting)

    def _look_at_all(self, modules: list[str]) -> None:
        for module in modules:
            self._whole[module] = True
            for name in namespace_of(module):
                self._global(module, name, self._all)
        self._shapes()

    def _names_of(self, module: str, used: Uses) -> None:
        for name in used.names:
            self._global(module, name, used)
        for part in self._enclosing(module, used):
            self._note_class(part)

    def _imports(self, used: Uses) -> None:
        for name in used.imports:  # hundreds, for any name may be a module's: most are none
            if name not in sys.modules:
                continue
            if self._project.owns_module(name):
                self._imported(name, used)
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

    def _global(self, module: str, name: str, used: Uses, spelt: str = "") -> None:
        key = f"{module}.{name}"
        namespace = sys.modules[module].__dict__
        if name not in namespace:
            self.digests[key] = "builtin" if hasattr(builtins, name) else "absent"
            return
        value = namespace[name]
        if key not in self.digests:
            self._value(key, value)
        if isinstance(value, types.ModuleType):
            self._attributes(value, used)
            self._note_passed(value.__name__, spelt or name, used)

    def _imported(self, name: str, used: Uses) -> None:
        found: Any = sys.modules.get(name)
        if isinstance(found, types.ModuleType):
            self._attributes(found, used)
            self._note_passed(name, name.rpartition(".")[2], used)
        elif found is not None:  # what the module put in its own place
            self._value(f"module {name}", found)

    def _note_passed(self, module: str, spelt: str, used: Uses) -> None:
        if spelt in used.passed and self._project.owns_module(module):
            self._whole.setdefault(module, False)

    def _attributes(self, module: types.ModuleType, used: Uses) -> None:
        if not self._project.owns_module(module.__name__):
            self._installed(module, used.attributes, set())
            return
        if (module.__name__, id(used)) in self._visited:
            return
        self._visited.add((module.__name__, id(used)))
        for name in used.attributes:
            if f"{module.__name__}.{name}" not in self.digests or isinstance(
                module.__dict__.get(name), types.ModuleType
            ):
                self._global(module.__name__, name, used, "." + name)

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
                self._value(f"{module.__name__}.{name}", value)

    def _value(self, key: str, value: Any) -> None:
        meaning = self._known.get(key)
        if meaning is None:
            canon = Canon(self._project, self._places)
            meaning = self._known[key] = _meaning(value, canon)
        self.digests[key] = meaning.digest
        self._classes.update(meaning.classes)
        for module in meaning.modules:
            self._whole.setdefault(module, False)
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
                for module in canon.modules:
                    self._whole.setdefault(module, False)


def _meaning(value: Any, canon: Canon) -> Meaning:
    digest = canon.digest(value)
    modules = frozenset[str]() if isinstance(value, types.ModuleType) else frozenset(canon.modules)
    return Meaning(digest, canon.classes, modules, bool(canon.opaque), canon.is_plain)


def is_of_project(value: Any, project: Project) -> bool:
    """Whether a function or class was defined by the project."""
    # By type(): asking an object for its __class__ may run code of a package, or print its warnings.
    if type(value) is types.FunctionType:
        return code.is_of_project(value.__code__, project)
    return issubclass(type(value), type) and project.owns_module(value.__module__)


def _statements(project: Project) -> list[tuple[str, str]]:
    codes = [(module, project.code_of(module)) for module in sorted(project.modules())]
    return [(module, shallow_digest(code)) for module, code in codes if code]
