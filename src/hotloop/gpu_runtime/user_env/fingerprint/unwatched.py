# pyright: basic
# (it runs the imports of the user's packages)
"""Imports of installed modules that a profile function need not follow: followed, they take four times as long.

What such an import runs is the packages' own, unless code of the project that ran before it has left them something of the
project's to call: a hook, a handler, an object of a class of its own.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint.parts import COMPREHENSIONS
from hotloop.gpu_runtime.user_env.fingerprint.uses import is_of_project, uses_of
from hotloop.gpu_runtime.user_env.source import installed_folders
from hotloop.gpu_runtime.user_env.vault.code import codes_within

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.fingerprint.trace import Trace
    from hotloop.gpu_runtime.user_env.source import Project

_ran_before: dict[CodeType, str] = {}  # in earlier loads of this process, whose hooks may be there still


class _Thread(threading.local):
    """Whether a thread is within an import that is not followed."""

    is_unwatched = False


@contextlib.contextmanager
def unwatched_imports(trace: Trace, profile: Callable[..., None]) -> Iterator[None]:
    """Take a profile function away while installed modules are imported, and note the modules.

    Args:
        trace: What it writes to.
        profile: The function; a thread that has another is left alone.
    """
    execute = SourceFileLoader.exec_module
    thread = _Thread()
    num_asked, is_left = -1, False

    def may_call_project() -> bool:
        nonlocal num_asked, is_left
        if num_asked != len(trace.codes):  # more of the project's code ran since it was asked last
            num_asked = len(trace.codes)
            is_left = leaves_something(_ran_before | trace.codes, trace.project)
        return is_left

    def exec_module(self: SourceFileLoader, module: ModuleType) -> None:
        path = getattr(module.__spec__, "origin", None) or ""
        if thread.is_unwatched:
            if trace.project.owns_file(path):  # a package imports the project's own: see that, and all that follows
                thread.is_unwatched = False
                sys.setprofile(profile)
            else:
                trace.installed.add(path)
            execute(self, module)
        elif sys.getprofile() is profile and path.startswith(installed_folders()) and not may_call_project():
            trace.installed.add(path)
            thread.is_unwatched = True
            sys.setprofile(None)
            try:
                execute(self, module)
            finally:
                thread.is_unwatched = False
                if sys.getprofile() is None:  # else the package has one of its own now
                    sys.setprofile(profile)
        else:
            execute(self, module)

    SourceFileLoader.exec_module = exec_module
    try:
        yield
    finally:
        SourceFileLoader.exec_module = execute
        _ran_before.update(trace.codes)


def leaves_something(codes: dict[CodeType, str], project: Project) -> bool:
    """Whether code of the project that ran may have left packages something of the project's that an import calls.

    Args:
        codes: The code, with the modules it ran in.
        project: Whose it is.
    """
    return any(_hands_on(code, module, project) for code, module in list(codes.items()))


def _hands_on(code: CodeType, module: str, project: Project) -> bool:
    if any(inner.co_name not in COMPREHENSIONS for inner in codes_within(code)):
        return True
    found = sys.modules.get(module)
    used = uses_of(code, getattr(found, "__package__", "") or "")
    named = [(name, getattr(found, "__dict__", {}).get(name)) for name in used.names]
    for each in project.modules():
        own = sys.modules[each].__dict__
        named += [("." + name, own[name]) for name in used.attributes & own.keys()]
    return any(_is_callback(value, project, is_passed=name in used.passed) for name, value in named)


def _is_callback(value: Any, project: Project, *, is_passed: bool) -> bool:
    if type(value) is FunctionType:
        return is_passed and is_of_project(value, project)
    kind = value if isinstance(value, type) else type(value)
    return any(project.owns_module(each.__module__) for each in kind.__mro__)
