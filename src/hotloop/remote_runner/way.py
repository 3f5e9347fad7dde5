"""A way to a runner's agent: this machine's own, through SSH, or into a container."""

from __future__ import annotations

from typing import Protocol

from hotloop.errors import RunnerError


class NoAgentError(RunnerError):
    """No agent runs there, and none was to be started."""


class Way(Protocol):
    """How a client reaches an agent. Knows no session and no message."""

    @property
    def name(self) -> str:
        """The runner as shown to people: ``local``, ``gpu1``, ``docker://...``."""
        ...

    @property
    def num_lanes(self) -> int:
        """Connections worth having that do not wait for each other: 1 on this machine, 2 over a network."""
        ...

    async def dial(self, lane: int = 0) -> str:
        """Give the gRPC address of an agent that listens, started if need be. After a cut, on a fresh connection.

        Args:
            lane: Which connection, from 0 to `num_lanes` - 1.

        Raises:
            RunnerError: The runner can't be reached, or its agent does not start; says which and what to do.
        """
        ...

    async def close(self) -> None:
        """Close the connections; the agent goes on."""
        ...
