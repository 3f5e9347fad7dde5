# pyright: basic
# (it reads the project's namespaces)
"""What the project's modules do to others when they are imported: statements that patch, register, configure.

Nothing of a loader need name what such a statement changed deep inside a package, so the statements themselves count,
with what their names mean and the project's functions that they call. Definitions, imports and plain assignments have no
such effect, unless they call a function of the project's that has.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint.parts import (
    CALL_NAMES,
    DEFINE_NAMES,
    Part,
    class_bodies,
    comprehended,
    displayed,
    parts_of,
)
from hotloop.gpu_runtime.user_env.fingerprint.reached import (
    Reached,
    Statement,
    changes_others,
    is_harmless,
    is_restless,
)
from hotloop.gpu_runtime.user_env.fingerprint.uses import Meaning, Meanings, Uses, is_of_project
from hotloop.gpu_runtime.user_env.fingerprint.wrappers import only_wraps
from hotloop.gpu_runtime.user_env.vault.code import code_digest, hashed, shallow_digest

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.fingerprint.values import Places
    from hotloop.gpu_runtime.user_env.source import Project


# What their decorators do to others: nothing.
_MAKERS = frozenset({"dataclasses", "functools", "contextlib", "typing", "typing_extensions", "abc", "enum"})
_MAKERS_IN_TORCH = frozenset({"no_grad", "inference_mode", "enable_grad"})
# Calls that do something also where what they return is kept: ``old = numpy.seterr(all="raise")``.
_SETS = ("set_", "enable_", "disable_", "register_", "add_", "configure")
_SETS_TOO = frozenset({"setattr", "delattr", "seterr", "setlocale", "setcontext", "update"})
_LEFT_OVER = ("IMPORT_FROM", "JUMP_BACKWARD", "END_FOR", "POP_TOP")  # by `import a.b as c`, and by a loop
# What is done to a list, dictionary or set alone: one that the module writes out is as if all of it had been written out.
_FILLS = frozenset({"append", "add", "insert", "setdefault", "remove", "discard", "pop", "clear"})
_KEYS = ("LOAD_NAME", "LOAD_CONST", "LOAD_SMALL_INT")


class Effects:
    """The effects of importing the project's modules, each looked at once.

    Attributes:
        meanings: What names mean, as far as that was found, by key; what is found from now on is added.
    """

    def __init__(self, project: Project, places: Places, meanings: dict[str, Meaning]) -> None:
        self.meanings = meanings
        self._project, self._places = project, places
        self._known: dict[str, dict[str, Any]] = {}
        self._looked_up: list[tuple[dict[str, Any], dict[str, str]]] = []  # uses, and what they mean now

    def keep(self, meanings: dict[str, Meaning]) -> None:
        """Look again at what names mean, save these; the statements are what they were."""
        gone = self.meanings.keys() - meanings.keys()
        self._looked_up = [each for each in self._looked_up if gone.isdisjoint(each[1])]
        self.meanings = meanings

    def of(self, module: str) -> dict[str, Any]:
        """The effects of one module.

        Returns:
            A digest (empty: none), the digests of the sources that it was taken from, and the names that the statements and
            what they call refer to.
        """
        if module not in self._known:
            self._known[module] = self._look(module)
        return self._known[module]

    def of_all(self, modules: list[str]) -> dict[str, Any]:
        """The effects of importing each of these modules, and what their names mean, by module, in the order of import."""
        found = {module: self.of(module) for module in modules if self._project.code_of(module) is not None}
        return {module: {**each, "meanings": self._meaning(each["uses"])} for module, each in found.items()}

    def changed(self, before: dict[str, Any], fresh: tuple[str, ...]) -> tuple[str, str]:
        """Name a module whose effects are others now; the statements of unchanged sources are not looked at.

        Returns:
            Its name, and the key of what its statements lead to that means something else now, if they are the same; two
            times nothing if no module's are others.
        """
        modules = self._project.modules()
        unchanged = {name: each for name, each in before.items() if self._are_as_before(each["sources"])}
        self._known = {**unchanged, **self._known}
        for module in modules:
            known = before.get(module)
            if known is None:
                is_same = module in fresh or not self.of(module)["digest"]
            elif module in unchanged:
                is_same = not known["digest"] or self._is_same_around(known)
            else:
                now = self.of(module)
                is_same = now["digest"] == known["digest"] and self._is_same_around(known)
            if not is_same:
                return module, self._first_other(module, known)
        earlier = [name for name, each in before.items() if each["digest"] and name not in fresh]
        now_in_order = [name for name in modules if name in earlier]
        gone = next((name for name in earlier if name not in now_in_order), "")
        return gone or _first_moved(earlier, now_in_order), ""

    def _are_as_before(self, sources: dict[str, str]) -> bool:
        return all(self._project.digest_of(name) == digest for name, digest in sources.items())

    def _is_same_around(self, known: dict[str, Any]) -> bool:
        is_same = self._present(known["optional"]) == known["optional"]
        return is_same and self._meaning_now(known["uses"]) == known["meanings"]

    def _first_other(self, module: str, known: dict[str, Any] | None) -> str:
        if known is None or self.of(module)["digest"] != known["digest"]:
            return ""
        before, now = known["meanings"], self._meaning_now(known["uses"])
        return min((key for key in before.keys() | now.keys() if before.get(key) != now.get(key)), default="")

    def _meaning_now(self, uses: dict[str, Any]) -> dict[str, str]:
        """As `_meaning`, looked up once for all models: those of one app are loaded among the same modules."""
        for looked_up, meaning in self._looked_up:
            if looked_up == uses:
                return meaning
        self._looked_up.append((uses, self._meaning(uses)))
        return self._looked_up[-1][1]

    def _present(self, names: Iterable[str]) -> dict[str, bool]:
        return {name: self._project.code_of(name) is not None and name in sys.modules for name in names}

    def _look(self, module: str) -> dict[str, Any]:
        project = self._project
        code = project.code_of(module)
        found = list(statements(code, sys.modules[module].__dict__, project)) if code else []
        if code is None or not found:
            return {
                "digest": "",
                "sources": {module: project.digest_of(module)},
                "uses": {},
                "optional": {},
            }
        found += _leading_to(found, code)
        reached = Reached(project)
        reached.start(module, found)
        uses = {name: used.to_json() for name, used in reached.uses.items()}
        return {
            "digest": hashed(
                found,
                self._order(code, sys.modules[module].__dict__),
                sorted(code_digest(each) for each in reached.codes),
                _told_bodies(found, code, sys.modules[module].__dict__, project),
            ),
            "sources": {name: project.digest_of(name) for name in {module, *reached.modules}},
            "uses": uses,
            "optional": self._present(_optional_imports(code)),
        }

    def _order(self, code: types.CodeType, namespace: dict[str, Any]) -> list[Any]:
        """Where, among the statements with effects, modules are imported that have some, and what is filled."""
        found: list[Any] = []
        for part in parts_of(code):
            if part.never_runs:
                continue
            if part.is_effect:
                step = ["statement", _filled(part.statement, code, namespace)]
                if found[-1:] != [step]:
                    found.append(step)
            elif part.imports and self._has_any(part.imports):
                found.append(part.imports)
        return found

    def _has_any(self, module: str) -> bool:
        known = self._known.get(module)
        if known is not None:
            return bool(known["digest"])
        code = self._project.code_of(module)
        if code is None or module not in sys.modules:
            return False
        return next(statements(code, sys.modules[module].__dict__, self._project), None) is not None

    def _meaning(self, uses: dict[str, Any]) -> dict[str, str]:
        meanings = Meanings(self._project, self._places, self.meanings)
        meanings.collect({name: Uses.from_json(each) for name, each in uses.items()}, is_wide=False)
        # A class counts by what of it may run here: its methods are among the bodies.
        return {key: each for key, each in meanings.digests.items() if not key.startswith("class ")}


def _told_bodies(
    found: list[Statement], code: types.CodeType, namespace: dict[str, Any], project: Project
) -> list[str]:
    """What the bodies of classes do which their bases, when they are made, may tell to others."""
    told = [
        name
        for part in parts_of(code)
        if part.is_definition and part.statement in found and _defines_more(part, namespace, project)
        for operation, name in part.statement
        if operation == "LOAD_CONST" and type(name) is str
    ]
    return [shallow_digest(each) for each in class_bodies(code) if each.co_qualname in told]


def _first_moved(before: list[str], now: list[str]) -> str:
    return next((name for name, other in zip(before, now, strict=True) if name != other), "")


def statements(code: types.CodeType, namespace: dict[str, Any], project: Project | None = None) -> Iterator[Statement]:
    """The statements that do more than define, import or assign; an assignment that calls what does more, too."""
    yield from _statements(code, namespace, project, is_class=False)
    for each in class_bodies(code):
        yield from _statements(each, namespace, project, is_class=True)


def _statements(
    code: types.CodeType, namespace: dict[str, Any], project: Project | None, *, is_class: bool
) -> Iterator[Statement]:
    for part in parts_of(code):
        if part.never_runs or _is_of_hotloop(part.statement, namespace):
            continue
        is_filling = not is_class and part.is_effect and bool(_filled(part.statement, code, namespace))
        if part.is_effect and not is_filling:
            is_effect = _is_effect(part.statement) and not _only_tells(part.statement, namespace)
        elif is_class or not (part.is_stored or is_filling):
            continue
        elif part.is_definition:
            is_effect = _is_decorated(part.statement) and not _is_made_only(part.decorators, namespace, project)
            is_effect = is_effect or (project is not None and _defines_more(part, namespace, project))
        else:
            named = [*part.statement, *comprehended(code, part.statement)]
            is_effect = part.has_call and project is not None and _does_more(named, namespace, project)
        if is_effect:
            yield part.statement


def look_ahead(code: types.CodeType) -> None:
    """Take a module's code apart before it is imported: what `Effects` finds then does not wait for it."""
    for each in (code, *class_bodies(code)):
        parts_of(each)


def _does_more(statement: Statement, namespace: dict[str, Any], project: Project) -> bool:
    if any(_is_setter(operation, name, namespace, project) for operation, name in statement):
        return True
    reached = Reached(project)
    reached.note(name for operation, name in statement if operation in {"LOAD_ATTR", "LOAD_METHOD"})
    reached.add([namespace.get(name) for operation, name in statement if operation == "LOAD_NAME"])
    return any(is_restless(code, names) for code, names in reached.with_namespaces())


def _is_setter(operation: str, name: Any, namespace: dict[str, Any], project: Project) -> bool:
    if operation not in {"LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD"}:
        return False
    is_named_so = name.startswith(_SETS) or name in _SETS_TOO
    return is_named_so and not (operation == "LOAD_NAME" and is_of_project(namespace.get(name), project))


def _defines_more(part: Part, namespace: dict[str, Any], project: Project) -> bool:
    """Whether a definition has more to it: what decides about it, or what a class's bases do when one is made of them."""
    statement = part.statement
    is_class = any(operation == "LOAD_BUILD_CLASS" for operation, _ in statement)
    has_more_calls = part.has_call and (_decides(statement) or not (is_class or _is_decorated(statement)))
    if has_more_calls and _does_more(statement, namespace, project):
        return True
    if not is_class:
        return False
    named = [namespace.get(name) for operation, name in statement if operation == "LOAD_NAME"]
    kinds = [kind for each in named if isinstance(each, type) for kind in each.__mro__]
    makers = [
        vars(kind).get(name) for kind in kinds if project.owns_module(kind.__module__) for name in _makers_of(kind)
    ]
    reached = Reached(project)
    reached.add(each for each in makers if each is not None)
    return any(changes_others(code, names) for code, names in reached.with_namespaces())


def _makers_of(kind: type) -> tuple[str, ...]:
    return ("__new__", "__init__", "__call__", "__prepare__") if issubclass(kind, type) else ("__init_subclass__",)


def _leading_to(found: list[Statement], code: types.CodeType) -> list[Statement]:
    """The assignments of names that the statements use, and what decides whether a statement runs."""
    rest = [part.statement for part in parts_of(code) if part.statement not in found and not part.never_runs]
    names = {name for statement in found for operation, name in statement if operation == "LOAD_NAME"}
    chosen: list[Statement] = []
    is_more = True
    while is_more:
        more = [each for each in rest if each not in chosen and (_decides(each) or _assigns(each, names))]
        chosen += more
        new = {name for statement in more for operation, name in statement if operation == "LOAD_NAME"}
        is_more, names = bool(new - names), names | new
    return [each for each in rest if each in chosen]


def _assigns(statement: Statement, names: set[str]) -> bool:
    operation, name = statement[-1] if statement else ("", "")
    return operation == "STORE_NAME" and name in names and not any(each[0] in DEFINE_NAMES for each in statement)


def _decides(statement: Statement) -> bool:
    return any(operation.startswith("POP_JUMP") for operation, _ in statement)


def _optional_imports(code: types.CodeType) -> list[str]:
    """The modules that are imported where an error is caught."""
    if not code.co_exceptiontable:
        return []
    bytecode: Any = dis.Bytecode(code)
    guarded = [(each.start, each.end) for each in bytecode.exception_entries]
    return [
        each.argval
        for each in bytecode
        if each.opname == "IMPORT_NAME" and any(start <= each.offset < end for start, end in guarded)
    ]


def _is_effect(statement: Statement) -> bool:
    if all(operation in _LEFT_OVER for operation, _ in statement):
        return False
    is_annotation = statement[-1][0] == "STORE_SUBSCR" and ("LOAD_NAME", "__annotations__") in statement
    return len(statement) > 1 and not is_annotation


def _filled(statement: Statement, code: types.CodeType, namespace: dict[str, Any]) -> str:
    """The name of the list, dictionary or set that the module made and a statement changes, if it does nothing else by itself."""
    match statement:
        case [*_, ("LOAD_NAME", name), (key, _), ("STORE_SUBSCR" | "DELETE_SUBSCR", _)] if key in _KEYS:
            pass
        case [("LOAD_NAME", name), ("LOAD_ATTR" | "LOAD_METHOD", method), *rest, ("POP_TOP", _)] if method in _FILLS:
            if sum(operation in CALL_NAMES for operation, _ in rest) != 1:
                return ""
        case _:
            return ""
    return name if name in displayed(code) and type(namespace.get(name)) in {list, dict, set} else ""


def _only_tells(statement: Statement, namespace: dict[str, Any]) -> bool:
    """Whether a statement prints, logs, sets logging up, or has warnings ignored: no model is another by it."""
    if statement[-1][0] != "POP_TOP":
        return False
    values = [namespace.get(name, name) for operation, name in statement if operation == "LOAD_NAME"]
    if not values or not is_harmless(values[0]):
        return False
    if values[0] is sys.modules.get("warnings"):  # as errors they would end a loader
        return ("LOAD_CONST", ("str", "'ignore'")) in statement and len(values) == 1
    num_calls = sum(operation in CALL_NAMES for operation, _ in statement)
    return num_calls == 1 or all(is_harmless(value) or type(value) in {str, int, float, bool} for value in values)


def _is_decorated(statement: Statement) -> bool:
    # What is made by `def` alone is stored as it was made; a default of a parameter may be a name.
    return statement[0][0] == "LOAD_NAME" and statement[-2][0] not in {"MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"}


def _is_made_only(decorators: Statement, namespace: dict[str, Any], project: Project | None) -> bool:
    """Whether all decorators give something back and do nothing else, as `dataclass` and `lru_cache` do."""
    values = list(_named(decorators, namespace, project))
    homes = [
        each.__name__ if isinstance(each, types.ModuleType) else str(getattr(each, "__module__", "")) for each in values
    ]
    if homes and all(home.startswith("torch") for home in homes):  # `torch.no_grad()`, or `no_grad()`
        used = {name for operation, name in decorators if operation in {"LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD"}}
        return bool(used) and used - {"torch"} <= _MAKERS_IN_TORCH
    is_called = any(operation in CALL_NAMES for operation, _ in decorators)
    if any(operation == "MAKE_FUNCTION" for operation, _ in decorators):
        return False  # a lambda among the arguments: the decorator may give it back
    return bool(values) and all(
        home in _MAKERS
        or type(value) in {str, int, float, bool}
        or (project is not None and only_wraps(value, project, is_called=is_called))
        for home, value in zip(homes, values, strict=True)
    )


def _named(decorators: Statement, namespace: dict[str, Any], project: Project | None) -> Iterator[Any]:
    """The values of the names in decorators; of a module of the project's what is asked of it."""
    for (operation, name), (after, attribute) in zip(decorators, [*decorators[1:], ("", "")], strict=True):
        if operation == "LOAD_NAME":
            value = namespace.get(name)
            is_own = isinstance(value, types.ModuleType) and project and project.owns_module(value.__name__)
            yield vars(value).get(attribute) if is_own and after in {"LOAD_ATTR", "LOAD_METHOD"} else value


def _is_of_hotloop(statement: Statement, namespace: dict[str, Any]) -> bool:
    # @app.endpoint and the like: what the app defines is compared by itself.
    operation, name = statement[0]
    return operation == "LOAD_NAME" and type(namespace.get(name)).__module__.partition(".")[0] == "hotloop"
