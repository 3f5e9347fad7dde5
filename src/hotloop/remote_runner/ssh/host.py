# pyright: basic
"""A machine reached by SSH, as a `Host`. Basic type checks: paramiko has no types."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from hotloop.remote_runner.ssh import failures, library
from hotloop.remote_runner.ssh.link import Connector, Link
from hotloop.remote_runner.ssh.process import SshProcess
from hotloop.remote_runner.threads import in_thread

if TYPE_CHECKING:
    from paramiko import Channel

OPEN_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 2.0


class SshHost:
    """One connection; commands are channels of it."""

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self._link = link

    async def start(self, command: str) -> SshProcess:
        """As `host.Host.start`."""
        import paramiko

        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                channel = await in_thread(lambda: self._open(command))
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not self._link.transport.is_active():
                raise failures.lost(self.name) from error
            if isinstance(error, paramiko.ChannelException):
                why = error.text
            else:
                why = str(error).rstrip(".") or f"no answer within {OPEN_TIMEOUT_S:.0f} s"
            raise failures.no_command(self.name, why) from error
        return SshProcess(channel, self._link.transport.is_active)

    async def close(self) -> None:
        """As `host.Host.close`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await in_thread(self._link.close)

    def _open(self, command: str) -> Channel:
        channel = self._link.transport.open_session(timeout=OPEN_TIMEOUT_S)
        channel.exec_command(command)
        return channel


async def connect(name: str, connector: Connector) -> SshHost:
    """Make a connection.

    Raises:
        RunnerError: It is not possible; says why and what to do.
        UsageError: The configuration is wrong.
    """
    link = Link()
    opening = in_thread(lambda: connector.open(link))
    try:
        library.load()  # meanwhile it asks ssh, and waits for the network
        await opening
    except asyncio.CancelledError:
        threading.Thread(target=link.close, daemon=True).start()
        raise
    return SshHost(name, link)
