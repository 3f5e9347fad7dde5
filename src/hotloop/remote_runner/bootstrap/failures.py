"""What can go wrong on a runner while its agent is brought there, and what to do about it. Does no I/O."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from hotloop.errors import RunnerError
from hotloop.remote_runner.way import NoAgentError

NEEDED_BYTES = 150 * 1000 * 1000  # measured: uv's cache, and the packages linked from it
_MAX_SHOWN = 300


class Kind(StrEnum):
    """What kind of failure; the values are what the programs on the runner say."""

    DISK_FULL = "disk-full"
    DENIED = "denied"
    NOEXEC = "noexec"
    NO_INTERPRETER = "no-interpreter"
    NO_PYTHON = "no-python"
    NO_UV = "no-uv"
    NO_BUILD = "no-build"
    NO_REGISTRY = "no-registry"
    TIME_OUT = "time-out"
    AGENT = "agent"
    NO_AGENT = "no-agent"
    COMMAND = "command"
    SYSTEM = "system"
    DEFECT = "defect"


class Failure(Exception):
    """What the runner said that failed. `explain` makes an error for people of it.

    Attributes:
        kind: What sort of thing; that of a command is told from what it printed.
        more: What it added: ``output`` of a command, ``lines`` of a log.
    """

    def __init__(self, kind: Kind, message: str, more: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.more = more or {}
        self.kind = kind_of_output(str(self.more.get("output", ""))) if kind is Kind.COMMAND else kind

    @property
    def line(self) -> str:
        """It in one line: the last of what a command printed."""
        return _last_line(str(self.more.get("output", ""))) or self.message


def kind_of_output(output: str) -> Kind:
    """Tell from what uv, pip or Python printed what went wrong; `Kind.COMMAND` if it can't be told."""
    text = output.lower()
    for kind, signs in _SIGNS.items():
        if any(sign in text for sign in signs):
            return kind
    return Kind.COMMAND


_SIGNS = {
    Kind.DISK_FULL: ("no space left on device", "disk quota exceeded", "os error 28)", "os error 122)"),
    Kind.NOEXEC: ("failed to map segment from shared object", "operation not permitted: cannot map"),
    Kind.DENIED: ("permission denied", "read-only file system"),
    Kind.NO_BUILD: (
        "no wheels with a matching", "no usable wheels", "no matching distribution", "version `glibc",
        "no solution found", "not supported wheel", "cannot open shared object file",
    ),
    Kind.NO_REGISTRY: (
        "failed to fetch", "error sending request", "dns error", "failed to lookup address", "connection refused",
        "timed out", "network is unreachable", "could not connect", "connection reset", "invalid peer certificate",
        "certificate verify failed", "tls", "401 unauthorized", "403 forbidden", "407 proxy", "502 bad", "503 service",
        "newconnectionerror", "max retries exceeded",
    ),
}  # fmt: skip


def explain(name: str, failure: Failure) -> RunnerError:
    """Say to a person what failed on a runner, and what to do."""
    if failure.kind is Kind.NO_AGENT:
        return NoAgentError(f"No agent runs on {name}.", hint="dev serve starts one")
    about = failure.line
    message, hint = _WORDS.get(failure.kind, _WORDS[Kind.COMMAND])
    lines = " ".join(failure.more.get("lines", [])[-1:])
    return RunnerError(
        message.format(name=name, about=about, what=failure.message, lines=lines).strip(),
        hint=hint.format(name=name, log=failure.more.get("log", "the agent's log"), needed=NEEDED_BYTES // 1_000_000),
    )


_OTHER_FOLDER = 'name another folder for hotloop on it: cache = "/data/me/hotloop", state = "/data/me/hotloop-state"'
_WORDS = {
    Kind.DISK_FULL: (
        "The disk of {name} is full: {about}.",
        "hotloop needs {needed} MB there: free as much, or " + _OTHER_FOLDER,
    ),
    Kind.DENIED: (
        "{name} does not let hotloop write there: {about}.",
        "make it this user's folder, or " + _OTHER_FOLDER,
    ),
    Kind.NOEXEC: (
        "hotloop's folder on {name} is on a file system that runs no programs (noexec): {about}.",
        _OTHER_FOLDER + ", without noexec",
    ),
    Kind.NO_INTERPRETER: (
        "{name} has no Python where hotloop looks for one, also after uv brought one: {about}.",
        "install Python 3.11 or newer on {name}, such as: sudo apt-get install python3",
    ),
    Kind.NO_PYTHON: (
        "{name} has no Python that hotloop can use: {about}.",
        "install Python 3.11 or newer on {name}, such as: sudo apt-get install python3",
    ),
    Kind.NO_BUILD: (
        "{name} is a machine that hotloop's packages are not built for: {about}.",
        "it needs Linux on x86-64 or ARM64, with glibc 2.17 or musl 1.2 or newer, and Python 3.11 to 3.14",
    ),
    Kind.NO_REGISTRY: (
        "{name} reaches no package registry, and neither does this machine: {about}.",
        "connect one of them, or set UV_DEFAULT_INDEX to a registry that it reaches",
    ),
    Kind.AGENT: ("The agent on {name} {what}. {lines}", "look at {log} on {name}"),
    Kind.COMMAND: ("Setting up {name} failed: {what}: {about}", "run that on {name} to see more"),
    Kind.SYSTEM: ("Setting up {name} failed: {what}.", "look at its disk and permissions"),
    Kind.TIME_OUT: ("Setting up {name} took too long: {what}.", "look at its disk and its network, then start again"),
    Kind.DEFECT: ("Setting up {name} failed in hotloop's own program: {what}.", "please report this"),
}


def explain_silence(name: str, code: int | None, output: bytes, errors: bytes) -> RunnerError:
    """Say why no answer came from a command.

    Args:
        name: The runner.
        code: Its exit status: -1 if the connection was lost, None if it still runs.
        output: What it printed, which is no answer.
        errors: What it wrote to stderr.
    """
    if code == -1:
        return RunnerError(f"The connection to {name} was lost.", hint="look at the network, then start again")
    said = _last_line(errors.decode(errors="replace")) or _last_line(output.decode(errors="replace"))
    quoted = f": {said!r}" if said else ""
    if code is None:
        msg = f"{name} answers with something else than hotloop{quoted}."
        return RunnerError(msg, hint=f"commands must run in a plain shell there; see what this prints: {name}: true")
    msg = f"{name} ended hotloop's command with exit code {code} before it answered{quoted}."
    return RunnerError(msg, hint="the login shell there must run commands: look at its start-up files")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(c for c in lines[-1] if c.isprintable())[:_MAX_SHOWN].rstrip(".") if lines else ""
