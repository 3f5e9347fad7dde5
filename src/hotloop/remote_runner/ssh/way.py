"""A way to the agent of a host that is reached by SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.remote_runner.bootstrap.progress import Report, nobody
from hotloop.remote_runner.bootstrap.request import Options
from hotloop.remote_runner.hosted_way import HostWay

if TYPE_CHECKING:
    from hotloop.remote_runner.ssh.connect import Asker
    from hotloop.remote_runner.ssh.host import SshHost
    from hotloop.remote_runner.ssh.settings import SshTarget

NUM_LANES = 2  # edits, and what must not delay them


def ssh_way(
    target: SshTarget,
    *,
    name: str = "",
    options: Options | None = None,
    report: Report = nobody,
    asker: Asker | None = None,
) -> HostWay:
    """Make the way; dialing connects.

    Args:
        target: The host.
        name: The runner's; the host's if empty.
        options: What is to be on it, and where.
        report: Is told what is being done.
        asker: Whom to ask about an unknown host or a passphrase.
    """
    shown = name or target.shown

    async def connect(lane: int) -> SshHost:
        from hotloop.remote_runner.ssh.connect import connect as connect_to  # paramiko takes 0.2 s to import

        del lane
        return await connect_to(target, shown, asker)

    return HostWay(shown, connect, num_lanes=NUM_LANES, options=options, report=report)
