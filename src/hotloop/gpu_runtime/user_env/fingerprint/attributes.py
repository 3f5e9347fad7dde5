# pyright: basic
# (it reads the user's code)
"""Which attributes of installed modules the project's code sets: ``torch.backends.cuda.matmul.allow_tf32 = True``.

They are set in one process; another that keeps the model must have them too.
"""

from __future__ import annotations

import dis
import sys
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.fingerprint.ambient import PLAIN
from hotloop.gpu_runtime.user_env.fingerprint.uses import Step, steps_of
from hotloop.gpu_runtime.user_env.source import installed_folders

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project


@frozen
class Attribute:
    """One that code set, as it is now.

    Attributes:
        module: The module's name.
        path: From there, dotted.
        is_plain: Whether it can be set again by these: it is plain, and the module can be imported.
    """

    module: str
    path: str
    value: Any
    is_plain: bool


@frozen
class _Root:
    """What a name stands for: a module, or something that it has."""

    module: types.ModuleType
    path: tuple[str, ...] = ()


def attributes_set(codes: Mapping[types.CodeType, str], project: Project) -> list[Attribute]:
    """The attributes of modules that are not the project's, and of what these have, that code sets by name.

    Args:
        codes: Code that ran, with the module it ran in.
        project: Whose code it is.
    """
    found: dict[tuple[str, str], Attribute] = {}
    for code, module in list(codes.items()):
        if "STORE_ATTR" in {dis.opname[each] for each in code.co_code[0::2]}:
            for root, path in _targets(code, module, project):
                each = _attribute(root, path)
                found[each.module, each.path] = each
    return list(found.values())


def _attribute(root: _Root, path: list[str]) -> Attribute:
    value: Any = root.module
    for part in (*root.path, *path):
        value = getattr(value, part, None)
    name = root.module.__name__
    is_plain = type(value) in PLAIN and sys.modules.get(name) is root.module
    return Attribute(name, ".".join((*root.path, *path)), value, is_plain)


def _targets(code: types.CodeType, module: str, project: Project) -> Iterator[tuple[_Root, list[str]]]:
    steps = _steps(code)
    local = _local(steps)
    for number, each in enumerate(steps):
        if each.opname != "STORE_ATTR":
            continue
        path = [each.argval]
        at = number - 1
        while at >= 0 and steps[at].opname == "LOAD_ATTR":
            path.insert(0, steps[at].argval)
            at -= 1
        step = steps[at] if at >= 0 else each
        root = None
        if step.opname.startswith(("LOAD_FAST", "LOAD_DEREF")):
            root = local.get(step.argval)
        elif step.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            root = _global(module, step.argval, project)
        if root is not None and _is_installed(root.module):
            yield root, path


def _local(steps: list[Step]) -> dict[str, _Root]:
    """What names of a function stand for, of those that nothing but imports is stored under."""
    imported = list(_imported(steps))
    stored = Counter(each.argval for each in steps if each.opname.startswith("STORE_") and each.opname != "STORE_ATTR")
    stored.subtract(name for name, _ in imported)
    return {name: root for name, root in imported if not stored[name]}


def _steps(code: types.CodeType) -> list[Step]:
    return [each for each in steps_of(dis.get_instructions(code)) if each.opname not in {"COPY", "SWAP"}]


def _global(module: str, name: str, project: Project) -> _Root | None:
    value = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if isinstance(value, types.ModuleType):
        return _Root(value)
    if isinstance(value, type):
        home = sys.modules.get(value.__module__)
        return _Root(home, tuple(value.__qualname__.split("."))) if isinstance(home, types.ModuleType) else None
    top_level = project.code_of(module)
    return dict(_imported(_steps(top_level))).get(name) if top_level is not None and value is not None else None


def _imported(steps: Iterable[Step]) -> Iterator[tuple[str, _Root]]:
    module: Any = None
    root: _Root | None = None
    before: Step | None = None
    for each in steps:
        if each.opname == "IMPORT_NAME":
            # `import a.b` binds a; `import a.b as c` takes b from it by IMPORT_FROM, as `from a import b` does.
            is_from = before is not None and before.argval is not None
            module = sys.modules.get(each.argval if is_from else each.argval.partition(".")[0])
            root = _Root(module) if isinstance(module, types.ModuleType) else None
        elif each.opname == "IMPORT_FROM" and isinstance(module, types.ModuleType):
            value = getattr(module, each.argval, None)
            root = _Root(value) if isinstance(value, types.ModuleType) else _Root(module, (each.argval,))
        elif root is not None and each.opname.startswith("STORE_"):
            yield each.argval, root
            root = None
        elif each.opname != "POP_TOP":  # which `import a.b as c` has before it stores
            root = None
        before = each


def _is_installed(module: types.ModuleType) -> bool:
    path = getattr(module, "__file__", None)
    return path is None or path.startswith(installed_folders())
