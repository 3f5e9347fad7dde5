"""What differs between two environments. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def changes_between(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Say what was added, removed or replaced: ``+ numpy 2.1.3``, ``- tqdm 4.0``, ``torch 2.5 → 2.6``."""
    changed: list[str] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None:
            changed.append(f"+ {name} {new}")
        elif new is None:
            changed.append(f"- {name} {old}")
        elif old != new:
            changed.append(f"{name} {old} → {new}")
    return tuple(changed)
