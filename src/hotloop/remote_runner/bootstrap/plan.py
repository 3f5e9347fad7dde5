"""Which Python of a runner hotloop's environment there is made of. Does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

PYTHON_TO_FETCH = "3.12"
PREFERRED = ("3.12", "3.13", "3.11", "3.14")  # all of the packages are built for these


def choose_python(found: Sequence[Sequence[str]], wanted: str) -> tuple[str, str] | None:
    """Choose an interpreter.

    Args:
        found: Path and version of each that is new enough.
        wanted: A path, or a version such as ``3.12``; empty for any.

    Returns:
        Path and version; None if there is none.
    """
    if wanted and not wanted[0].isdigit():
        return next(((path, version) for path, version in found if path == wanted), None)
    for series in [wanted] if wanted else PREFERRED:
        for path, version in found:
            if version == series or version.startswith(f"{series}."):
                return path, version
    return None


def describe_pythons(host: dict[str, Any], wanted: str) -> str:
    """Say what is there in place of what is wanted."""
    own_path, own_version = host["own_python"]
    there = ", ".join(f"{path} is {version}" for path, version in host["pythons"]) or f"{own_path} is {own_version}"
    return f"Python {wanted or '3.11 to 3.14'} is wanted, {there}"
