"""Where the dashboard's facts come from: a session's events, and answers to what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hotloop.events import Event


class Feed(Protocol):
    """One session of `dev serve`, seen from another process."""

    def events(self) -> AsyncIterator[Event]:
        """Give what happened so far, in order, then each event as it happens; ends with the session or the connection."""
        ...

    async def ask(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """Have the session do something, such as ``reload`` or ``pause``.

        Raises:
            HotloopError: It refuses, or is gone.
        """
        ...
