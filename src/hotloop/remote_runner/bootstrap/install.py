"""Bring the agent onto a host and give the process that is the bridge to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.remote_runner.bootstrap import packages
from hotloop.remote_runner.bootstrap.bare import fetch_python
from hotloop.remote_runner.bootstrap.channel import Channel
from hotloop.remote_runner.bootstrap.failures import NEEDED_BYTES, Failure, Kind, explain
from hotloop.remote_runner.bootstrap.plan import PYTHON_TO_FETCH, choose_python, describe_pythons
from hotloop.remote_runner.bootstrap.progress import Phase, Progress, Report, nobody
from hotloop.remote_runner.bootstrap.request import Options, make_request, program_text
from hotloop.remote_runner.bootstrap.source import own_source, requirements

if TYPE_CHECKING:
    from hotloop.remote_runner.host import Host, HostProcess

AGENT_TIMEOUT_S = 45.0  # longer than the bridge itself waits for the agent
LOCK_TIMEOUT_S = 900.0  # another client may be installing there
STEP_TIMEOUT_S = 600
_FINAL = frozenset({Kind.DISK_FULL, Kind.DENIED, Kind.NOEXEC, Kind.TIME_OUT})


@frozen
class Bridge:
    """A process on a host whose streams are a connection to the agent's gRPC socket.

    Attributes:
        rest: What the agent sent already.
    """

    process: HostProcess
    rest: bytes


async def reach_agent(host: Host, options: Options, report: Report = nobody) -> Bridge:
    """Become connected to the agent on a host; it is installed and started if need be.

    Raises:
        NoAgentError: None runs, and none was to be started.
        RunnerError: That is not possible; says why and what to do.
    """
    try:
        try:
            return await _reach(host, options, report)
        except Failure as failure:
            if failure.kind is not Kind.NO_INTERPRETER:
                raise
            if not options.is_starting:
                raise Failure(Kind.NO_AGENT, failure.message) from failure
            await fetch_python(host, options, failure.message, report)
        return await _reach(host, options, report)
    except Failure as failure:
        raise explain(host.name, failure) from failure


async def _reach(host: Host, options: Options, report: Report) -> Bridge:
    request = make_request(options)
    process = await host.start(request.command)
    channel = Channel(host.name, process, request.marker)
    try:
        await channel.open(program_text("bridge"))
        if (await channel.hear())["kind"] == "cold":
            await Installation(host.name, channel, options, report).run()
            await channel.hear()
        report(Progress(host.name, Phase.STARTING))
        await channel.hear(AGENT_TIMEOUT_S)
    except BaseException:
        process.close()
        raise
    return Bridge(process, channel.rest)


class Installation:
    """Makes hotloop's environment on a host, step by step; each step is the host's, each decision is made here."""

    def __init__(self, name: str, channel: Channel, options: Options, report: Report) -> None:
        self._name = name
        self._channel = channel
        self._options = options
        self._report = report
        self._host: dict[str, Any] = {}

    async def run(self) -> None:
        """Make it, or take what another client made meanwhile.

        Raises:
            Failure: The host can't have it.
        """
        self._say("looking at the machine")
        await self._channel.say(program_text("installer"))
        self._host = await self._step("probe", python=self._options.python)
        self._check()
        if (await self._step("hold", timeout_s=LOCK_TIMEOUT_S))["python"]:
            await self._step("adopt")
            return
        python, version = await self._python()
        await self._packages(python, version)
        await self._step("unpack", own_source().archive(), what="hotloop")
        await self._step("finish")

    def _check(self) -> None:
        host = self._host
        if not host["is_writable"]:
            raise Failure(Kind.DENIED, f"{host['cache']} can't be made or written")
        if host["free_bytes"] < NEEDED_BYTES:
            raise Failure(Kind.DISK_FULL, f"{host['free_bytes'] // 1_000_000} MB are free at {host['cache']}")
        if host["is_noexec"]:
            raise Failure(Kind.NOEXEC, host["cache"])
        packages.uv_platform(host["platform"], host["glibc"])

    async def _python(self) -> tuple[str, str]:
        found = choose_python(self._host["pythons"], self._host["wanted_python"])
        if found is not None:
            return found
        self._say("Python")
        try:
            self._raise_without_registry()
            await self._uv()
            made = await self._step("python", version=self._options.python or PYTHON_TO_FETCH, seconds=STEP_TIMEOUT_S)
        except Failure as failure:
            self._raise_if_final(failure)
            about = f"{describe_pythons(self._host, self._options.python)}, and uv can't fetch one ({failure.line})"
            raise Failure(Kind.NO_PYTHON, about) from failure
        return made["python"], made["version"]

    async def _uv(self) -> None:
        """Have uv there: it is there, or that machine gets it from the registry, or this one ships it."""
        if self._host["uv"]:
            return
        self._say("uv")
        pin = [pin for pin in requirements() if pin.startswith("uv==")]
        try:
            await self._step("uv", requirement=pin[0])
        except Failure as failure:
            self._raise_if_final(failure)
            await self._ship("uv, from this machine", pin, PYTHON_TO_FETCH, step="ship_uv")

    async def _packages(self, python: str, version: str) -> None:
        """Fill an environment: that machine from its registry, else with what this one fetches for it."""
        self._say("hotloop's packages")
        try:
            self._raise_without_registry()
            await self._uv()
            await self._step("environment", python=python, requirements=requirements(), seconds=STEP_TIMEOUT_S)
        except Failure as failure:
            self._raise_if_final(failure)
            await self._step("bare_environment", python=python)
            what = f"hotloop's packages, from this machine ({self._name} could not: {failure.line})"
            await self._ship(what, requirements(), version)

    def _raise_without_registry(self) -> None:
        if self._host["no_registry"]:
            raise Failure(Kind.NO_REGISTRY, self._host["no_registry"])

    @staticmethod
    def _raise_if_final(failure: Failure) -> None:
        """Raise it if another way to get packages would fail as well."""
        if failure.kind in _FINAL:
            raise failure

    async def _ship(self, what: str, wanted: list[str], python: str, *, step: str = "unpack") -> None:
        platform = packages.uv_platform(self._host["platform"], self._host["glibc"])
        self._say(what)
        archive = await packages.fetch(wanted, platform=platform, python=".".join(python.split(".")[:2]))
        await self._step(step, await asyncio.to_thread(archive.read_bytes), what=what)

    async def _step(
        self, name: str, content: bytes = b"", *, timeout_s: float = STEP_TIMEOUT_S + 30.0, **fields: Any
    ) -> dict[str, Any]:
        """Have the host do something; tells of its progress meanwhile."""
        await self._channel.say(content, do=name, **fields)
        while (message := await self._channel.hear(timeout_s))["kind"] == "progress":
            self._say(message["what"], message["done_bytes"], message["total_bytes"])
        return message

    def _say(self, text: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        self._report(Progress(self._name, Phase.INSTALLING, text, done_bytes, total_bytes))
