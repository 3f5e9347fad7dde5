"""Processes that a runtime leaves behind: find them, end them, reap them. Linux; elsewhere nothing is found."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.02


def adopt_orphans() -> None:
    """Become the parent of all processes whose parent dies below this one, instead of init."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_by_parent() -> dict[int, list[int]]:
    """All processes that can be seen, by their parent."""
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found.setdefault(parent, []).append(int(folder.name))
    return found


def tree_of(pid: int) -> list[int]:
    """A process's descendants, without itself."""
    by_parent = children_by_parent()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = by_parent.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def end_orphans(dead_runtime: int, live_runtimes: Iterable[int]) -> list[int]:
    """Kill what a dead runtime left: adopted processes that belong to no runtime that lives.

    Returns:
        Which were killed.
    """
    live = set(live_runtimes)
    killed: list[int] = []
    for child in children_by_parent().get(os.getpid(), []):
        if child in live or child == dead_runtime or _session_of(child) in {*live, os.getsid(0)}:
            continue
        for pid in [*tree_of(child), child]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    return killed


def reap_orphans(runtimes: Iterable[int]) -> None:
    """Take the exit status of adopted processes that died; those of runtimes are waited for by their supervisors."""
    known = set(runtimes)
    for child in children_by_parent().get(os.getpid(), []):
        if child not in known:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)


def members_of(leader: int, mark: str) -> list[int]:
    """The living processes of a command.

    Args:
        leader: Leads the command's session, as `setsid` makes it.
        mark: ``NAME=VALUE`` of its environment: those that left the session and whose parent died still have it.
    """
    by_parent = children_by_parent()
    everyone = [pid for children in by_parent.values() for pid in children]
    strays = [pid for pid in by_parent.get(os.getpid(), []) if pid != leader and _has_variable(pid, mark)]
    members = {*(pid for pid in everyone if _session_of(pid) == leader), *strays}
    members |= {pid for member in (leader, *strays) for pid in tree_of(member)}
    return [pid for pid in members if not _is_dead(pid)]


async def end_command(leader: int, mark: str, *, grace_s: float = 2.0) -> None:
    """Hang up on all processes of a command, as a terminal that goes away does; kill those that stay."""
    deadline_s = time.monotonic() + grace_s
    _send(members_of(leader, mark), signal.SIGHUP, signal.SIGCONT)  # one that was stopped has to wake up to hear it
    while left := members_of(leader, mark):
        if time.monotonic() > deadline_s:
            _send(left, signal.SIGKILL)
        await asyncio.sleep(_POLL_S)


def _send(pids: Iterable[int], *numbers: signal.Signals) -> None:
    for pid in pids:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


async def wait_for_exit(process: subprocess.Popen[bytes]) -> int:
    """Wait until a child ends; returns its exit code, negative for a signal."""
    try:
        fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return await asyncio.to_thread(process.wait)
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(fd, lambda: ended.done() or ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return process.wait()


def describe_exit(code: int) -> str:
    """Say an exit code as people do: ``SIGKILL`` or ``exit 3``."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def is_alive(pid: int) -> bool:
    """Whether a process of this machine lives; one of which only the exit status is left does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return not (Path("/proc/self/stat").exists() and _is_dead(pid))


def _has_variable(pid: int, variable: str) -> bool:
    try:
        return variable.encode() in (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # another user's, or gone
        return False


def _is_dead(pid: int) -> bool:
    """Whether only its exit status is left."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1
