# pyright: basic
# (it reads the user's code)
"""Which attributes of installed modules the project's code sets: ``torch.backends.cuda.matmul.allow_tf32 = True``.

They are set in one process; another that keeps the model must have them too.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from hotloop.gpu_runtime.user_env.source import installed_folders

_SILENT = frozenset({"PUSH_NULL", "PRECALL", "CACHE", "NOP", "RESUME", "EXTENDED_ARG", "COPY", "SWAP"})


def attributes_set(codes: Mapping[types.CodeType, str]) -> list[tuple[str, str, Any]]:
    """The attributes that code sets by name.

    Args:
        codes: Code that ran, with the module it ran in.

    Returns:
        The module, the dotted name in it, and the value now, of each.
    """
    found: dict[tuple[str, str], Any] = {}
    for code, module in list(codes.items()):
        if "STORE_ATTR" in {dis.opname[each] for each in code.co_code[0::2]}:
            for owner, path in _targets(code, getattr(sys.modules.get(module), "__dict__", {})):
                value: Any = owner
                for part in path:
                    value = getattr(value, part, None)
                found[owner.__name__, ".".join(path)] = value
    return [(*key, value) for key, value in found.items()]


def _targets(code: types.CodeType, namespace: dict[str, Any]) -> Iterator[tuple[types.ModuleType, list[str]]]:
    steps = [each for each in dis.get_instructions(code) if each.opname not in _SILENT]
    local: dict[Any, Any] = dict(_imported(steps))
    for number, each in enumerate(steps):
        if each.opname != "STORE_ATTR":
            continue
        path = [each.argval]
        at = number - 1
        while at >= 0 and steps[at].opname == "LOAD_ATTR":
            path.insert(0, steps[at].argval)
            at -= 1
        root = steps[at] if at >= 0 else each
        argument: Any = root.argval
        name: Any = argument[-1] if type(argument) is tuple else argument  # one that loads two
        owner = local.get(name) if root.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) else None
        if root.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            owner = namespace.get(root.argval)
        if isinstance(owner, types.ModuleType) and _is_installed(owner):
            yield owner, path


def _imported(steps: list[dis.Instruction]) -> Iterator[tuple[str, Any]]:
    module: Any = None
    for number, each in enumerate(steps):
        if each.opname == "IMPORT_NAME":
            # `import a.b` binds a; `import a.b as c` takes b from it by IMPORT_FROM, as `from a import b` does.
            is_from = steps[number - 1].argval is not None
            module = sys.modules.get(each.argval if is_from else each.argval.partition(".")[0])
            value = module
        elif each.opname == "IMPORT_FROM":
            value = getattr(module, each.argval, None) if module is not None else None
        elif each.opname.startswith("STORE_") and number and steps[number - 1].opname.startswith("IMPORT_"):
            yield each.argval, value


def _is_installed(module: types.ModuleType) -> bool:
    path = getattr(module, "__file__", None)
    return path is None or path.startswith(installed_folders())
