"""Which changesets may overtake which: those that touch none of the same paths. Knows no network."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hotloop.remote_runner.tree import ancestors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable


class PathOrder:
    """Has a changeset wait for those before it that touch a path of its own, or one above or below."""

    def __init__(self) -> None:
        self._before: list[_Turn] = []

    @asynccontextmanager
    async def turn(self, paths: Iterable[str]) -> AsyncGenerator[None]:
        """Wait until no earlier block touches these paths; later ones that do wait for this block."""
        own = _Turn(frozenset(paths))
        waits_for = [turn for turn in self._before if turn.touches(own)]
        self._before.append(own)
        try:
            for turn in waits_for:
                await turn.is_over.wait()
            yield
        finally:
            self._before.remove(own)
            own.is_over.set()


class _Turn:
    def __init__(self, paths: frozenset[str]) -> None:
        self.paths = paths
        self.above = frozenset(above for path in paths for above in ancestors(path))
        self.is_over = asyncio.Event()

    def touches(self, other: _Turn) -> bool:
        is_apart = self.paths.isdisjoint(other.paths | other.above) and self.above.isdisjoint(other.paths)
        return not is_apart
