# pyright: basic
# (models are the user's objects)
"""What the project's code in a hosted model means by the names in it: it runs with what they were when its host began.

The digests of modules' code do not tell: a module may read a file, or a variable, when it is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint.reached import MAX_FUNCTIONS, Reached
from hotloop.gpu_runtime.user_env.fingerprint.uses import Meanings, Uses
from hotloop.gpu_runtime.user_env.fingerprint.values import Places

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.fingerprint.compare import Present
    from hotloop.gpu_runtime.user_env.source import Project


def all_meanings(project: Project) -> dict[str, str]:
    """Digests of what all names of the project's modules mean."""
    meanings = Meanings(project, Places(project))
    meanings.collect({}, is_wide=True)
    return meanings.digests


def meanings_in(parts: list[Any] | None, before: dict[str, str], project: Project) -> dict[str, Any]:
    """What names mean to code that a model holds, as JSON.

    Args:
        parts: The project's functions and classes in it; None if it may be any.
        before: What all names meant before it was loaded.
        project: Whose they are.
    """
    uses = _uses_of(parts, project) if parts is not None else None
    is_wide = uses is None or any(used.is_dynamic for used in uses.values())
    found = Meanings(project, Places(project))
    found.collect(uses or {}, is_wide=is_wide)
    return {
        "uses": {module: used.to_json() for module, used in (uses or {}).items()},
        "is_wide": is_wide,
        # What is new was imported by the loader: a worker that keeps the model has not imported it.
        "digests": {key: before[key] for key in found.digests if key in before},
    }


def first_changed(held: dict[str, Any], present: Present) -> str:
    """Name the first that means something else here; empty for none."""
    now = Meanings(present.project, present.places, present.meanings)
    now.collect({module: Uses.from_json(each) for module, each in held["uses"].items()}, is_wide=held["is_wide"])
    return next((key for key, digest in sorted(held["digests"].items()) if now.digests.get(key) != digest), "")


def _uses_of(parts: list[Any], project: Project) -> dict[str, Uses] | None:
    """The names in code and in all that it leads to; None if that is too much to follow."""
    reached = Reached(project)
    reached.note(_methods(parts, project))  # any of them may be called from outside
    reached.add(parts)
    return reached.uses if len(reached.codes) < MAX_FUNCTIONS else None


def _methods(parts: list[Any], project: Project) -> Iterator[str]:
    for each in parts:
        if isinstance(each, type):
            for kind in each.__mro__:
                if project.owns_module(kind.__module__):
                    yield from vars(kind)
