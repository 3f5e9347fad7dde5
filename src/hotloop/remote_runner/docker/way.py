# pyright: basic
"""A way to the agent in a container. Basic type checks: the SDK has no types."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hotloop.remote_runner.bootstrap.progress import Phase, Progress, Report, nobody
from hotloop.remote_runner.bootstrap.request import Options
from hotloop.remote_runner.docker import container, engine
from hotloop.remote_runner.docker.host import DockerHost
from hotloop.remote_runner.docker.target import DockerTarget, container_name
from hotloop.remote_runner.hosted_way import HostWay
from hotloop.remote_runner.way import NoAgentError


def docker_way(
    target: DockerTarget,
    *,
    name: str = "",
    project: Path | None = None,
    report: Report = nobody,
    agent_arguments: tuple[str, ...] = (),
    is_starting: bool = True,
    is_renewing: bool = True,
) -> HostWay:
    """Make the way to a container's agent; dialing has the container run.

    Args:
        target: Which container.
        name: What the runner is called; empty for the target.
        project: Whose it is, unless the target names it.
        report: Is told what is being done.
        agent_arguments: More options for an agent that is started now.
        is_starting: Make the container and start an agent in it if there is none; else dialing raises `NoAgentError`.
        is_renewing: Replace a container whose image changed; else it is taken as it is: a session may run in it.

    Raises:
        UsageError: The engine's address can't be used.
    """
    address = engine.address_of(target.host)
    shown = name or target.shown
    making = asyncio.Lock()
    kept: list[container.Kept] = []  # the one that this way made or found: a cut is no reason to build anew

    def say(text: str, done_bytes: int, total_bytes: int) -> None:
        report(Progress(shown, Phase.INSTALLING, text, done_bytes, total_bytes))

    def ensure() -> tuple[engine.Engine, str]:
        connected = engine.connect(address)
        try:
            if kept:
                found = container.again(connected, target, kept[-1])
            else:
                found = None if is_starting and is_renewing else container.running(connected, target, project)
            if found is None and not is_starting:
                msg = f"No agent runs on {shown}: it has no container of this project."
                raise NoAgentError(msg, hint="dev serve starts one")
            kept.append(found or container.ensure(connected, target, project, say))
        except BaseException:
            connected.close()
            raise
        return connected, kept[-1].id

    async def connect(lane: int) -> DockerHost:
        del lane
        async with making:  # two lanes at once must not make two containers
            ensuring = asyncio.get_running_loop().run_in_executor(None, ensure)
            try:
                connected, container_id = await asyncio.shield(ensuring)
            except asyncio.CancelledError:
                ensuring.add_done_callback(_close)
                raise
            return DockerHost(shown, connected, container_id)

    options = Options(
        python=target.python,
        state=container.STATE,
        cache=f"{container.CACHE}/hotloop/{container_name(target, project)}",  # each image has Pythons of its own, in places of its own
        agent_arguments=agent_arguments,
        is_starting=is_starting,
    )
    num_lanes = 2 if address.startswith("ssh://") else 1
    return HostWay(shown, connect, num_lanes=num_lanes, options=options, report=report)


def _close(ensuring: asyncio.Future[tuple[engine.Engine, str]]) -> None:
    """Let go of what was connected for nobody: the thread that does it can't be stopped."""
    if ensuring.exception() is None:
        ensuring.get_loop().run_in_executor(None, ensuring.result()[0].close)


def stop(target: DockerTarget, *, project: Path | None = None) -> bool:
    """Remove a runner's container; its volumes, with caches and state, stay.

    Returns:
        Whether there was one.

    Raises:
        RunnerError: The engine can't be reached, or refuses.
    """
    connected = engine.connect(engine.address_of(target.host))
    try:
        return container.remove(connected, target, project)
    finally:
        connected.close()
