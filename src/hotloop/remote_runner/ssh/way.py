"""A way to the agent on a machine that is reached by SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.remote_runner.bootstrap.progress import Report, nobody
from hotloop.remote_runner.hosted_way import HostWay
from hotloop.remote_runner.ssh.host import SshHost, connect
from hotloop.remote_runner.ssh.link import Connector, not_noted

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.remote_runner.bootstrap.request import Options
    from hotloop.remote_runner.ssh.link import Note
    from hotloop.remote_runner.ssh.questions import Questions
    from hotloop.remote_runner.ssh.target import SshTarget

NUM_LANES = 2


def ssh_way(
    target: SshTarget,
    *,
    name: str = "",
    options: Options | None = None,
    config: Path | None = None,
    questions: Questions | None = None,
    report: Report = nobody,
    note: Note = not_noted,
) -> HostWay:
    """Make the way to a machine's agent; dialing connects.

    Args:
        target: Where it is.
        name: The runner's; empty to call it by its target.
        options: What is to be there.
        config: A file to read in place of ``~/.ssh/config``.
        questions: Whoever may accept a host's key or know a passphrase; None for nobody.
        report: Is told what is being done.
        note: Is told of each step of a connection that was made; called from a thread.
    """
    shown = name or target.shown
    connector = Connector(target, config=config, questions=questions, note=note)

    async def connect_lane(lane: int) -> SshHost:
        del lane
        return await connect(shown, connector)

    return HostWay(shown, connect_lane, num_lanes=NUM_LANES, options=options, report=report)
