"""A machine that runs commands for us: over an SSH connection, or in a container. What a bootstrap needs, and no more."""

from __future__ import annotations

from typing import Protocol


class HostProcess(Protocol):
    """A command that runs on a host, with its three streams."""

    async def write(self, data: bytes) -> None:
        """Send bytes to its stdin; returns when the connection takes more.

        Raises:
            OSError: The connection or the command is gone.
        """
        ...

    async def end_input(self) -> None:
        """Close its stdin."""
        ...

    async def read(self) -> bytes:
        """Give the next bytes of its stdout; empty at its end or when the connection is lost."""
        ...

    def errors(self) -> bytes:
        """The end of what it wrote to stderr so far, at most 64 KiB."""
        ...

    async def wait(self) -> int:
        """Give its exit status; -1 if the connection was lost before it was told."""
        ...

    def close(self) -> None:
        """Let go of it; a command that still runs sees the end of its stdin."""
        ...


class Host(Protocol):
    """One connection to a machine. All commands of a connection share it."""

    @property
    def name(self) -> str:
        """As shown to people: ``gpu1``, ``docker://search``."""
        ...

    async def start(self, command: str) -> HostProcess:
        """Run a command line of the user's login shell there, with stdin, stdout and stderr as pipes (no terminal).

        Raises:
            RunnerError: The connection is lost, or the host refuses to run commands.
        """
        ...

    async def close(self) -> None:
        """Close the connection; commands that were detached go on."""
        ...
