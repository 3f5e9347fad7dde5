"""Who listens on a TCP port of this machine, where the app was to. Linux only; elsewhere nobody is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hotloop.events import Problem, RuntimeStopped

if TYPE_CHECKING:
    from hotloop.events import RuntimeStarted

_LISTENS = "0A"


def holder(port: int) -> str:
    """Name the process that listens on a port, such as ``python3 (pid 71)``; empty if it can't be known."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(Path("/proc/net") / table, port)}
    if not inodes:
        return ""
    links = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        if _has_one(process / "fd", links):
            return f"{_name(process)} (pid {process.name})"
    return ""


def moved(event: RuntimeStarted, port: int, grpc_port: int | None) -> list[str]:
    """Say who has the ports that were wanted, where the app serves on others."""
    wanted = {event.address: port, f"//{event.grpc_address}": grpc_port}
    return [
        f"port {number} is in use by {holder(number) or 'another program'}; serving on {served}"
        for address, number in wanted.items()
        if number and (served := urlsplit(address).port) != number
    ]


def with_holder(event: RuntimeStopped, host: str, port: int, grpc_port: int | None) -> RuntimeStopped:
    """Name who has the port that the app could not have, if that is why it stopped."""
    problem = event.problem
    taken = {"PortInUse": port, "GrpcPortInUse": grpc_port}.get(problem.type) if problem is not None else None
    if problem is None or taken is None:
        return event
    who = holder(taken)
    message = f"port {taken} on {host} is in use by {who}" if who else problem.message
    return RuntimeStopped(event.at_s, Problem(problem.type, message, hint=problem.hint))


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]


def _has_one(descriptors: Path, links: set[str]) -> bool:
    try:
        return any(_target(descriptor) in links for descriptor in descriptors.iterdir())
    except OSError:  # another user's, or gone
        return False


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115  the target is no path
    except OSError:
        return ""


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
