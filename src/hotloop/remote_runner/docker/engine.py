# pyright: basic
"""The Docker engine: which one, and what its refusals mean. Basic type checks: the SDK has no types."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from docker import DockerClient, errors
from docker.context import ContextAPI

from hotloop.errors import RunnerError, UsageError
from hotloop.frozen import frozen
from hotloop.remote_runner.docker.forward import Forward, ssh_command
from hotloop.remote_runner.docker.target import engine_of

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 60


def address_of(host: str) -> str:
    """Say which engine is meant: the one named, ``DOCKER_HOST``, or that of the current context, as ``docker`` does.

    Raises:
        UsageError: It can't be spoken to.
    """
    named = host or os.environ.get("DOCKER_HOST", "")
    if not named:
        try:
            context = ContextAPI.get_current_context()
            named = context.Host if context is not None else ""
        except (errors.DockerException, OSError, ValueError, KeyError):
            named = ""
    address = engine_of((named or "unix:///var/run/docker.sock").replace("http+unix://", "unix://"))
    if address.partition("://")[0] not in {"unix", "tcp", "ssh"} or os.environ.get("DOCKER_TLS_VERIFY"):
        msg = f"hotloop can't speak to the Docker engine at {address}: unix, ssh, or tcp without TLS was expected."
        raise UsageError(msg, hint="reach it through SSH: DOCKER_HOST=ssh://user@machine")
    return address


@frozen
class Engine:
    """A connection to an engine.

    Attributes:
        address: Where it is: ``unix:///var/run/docker.sock``, ``ssh://user@machine``.
        forward: What leads to an engine on another machine.
    """

    client: DockerClient
    address: str
    forward: Forward | None = None

    @property
    def url(self) -> str:
        """Where this machine connects to, ``unix://`` or ``tcp://``."""
        return self.forward.url if self.forward is not None else self.address

    @contextmanager
    def asked_for(self, what: str) -> Iterator[None]:
        """Make errors for people of the SDK's.

        Args:
            what: An image, a container: what the engine is asked for in the block.

        Raises:
            RunnerError: The engine refuses, or it is gone.
        """
        try:
            yield
        except errors.APIError as error:
            said = str(error.explanation or error).strip().rstrip(".")
            msg = f"Docker refused {what}: {said}."
            raise RunnerError(msg, hint=_hint_of(said)) from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise _no_engine(self.address, error, self.forward) from error
        except errors.DockerException as error:
            msg = f"Docker failed at {what}: {error}."
            raise RunnerError(msg, hint="look at the engine's log") from error

    def close(self) -> None:
        """Close the connection."""
        self.client.close()
        if self.forward is not None:
            self.forward.close()


def connect(address: str) -> Engine:
    """Connect to an engine.

    Raises:
        RunnerError: It does not answer; says where it was looked for and what to do.
    """
    forward = Forward(address) if address.startswith("ssh://") else None
    try:
        client = DockerClient(base_url=forward.url if forward else address, timeout=TIMEOUT_S, version="auto")
    except BaseException as error:
        failure = _no_engine(address, error, forward)
        if forward is not None:
            forward.close()
        if not isinstance(error, Exception):
            raise
        raise failure from error
    return Engine(client, address, forward)


def _hint_of(explanation: str) -> str:
    text = explanation.lower()
    if "gpu" in text or "nvidia" in text:
        return "install the NVIDIA Container Toolkit on the engine's machine, or leave out gpus"
    if "no space left" in text:
        return "free some of the engine's disk: docker system prune"
    if "denied" in text or "unauthorized" in text:
        return "log in to the image's registry: docker login"
    return "look at the engine's log"


def _no_engine(address: str, error: BaseException, forward: Forward | None = None) -> RunnerError:
    causes = _causes(error)
    if forward is not None:
        said = forward.said() or "ssh ended without a word"
        msg = f"The Docker engine at {address} can't be reached: {said}."
        return RunnerError(msg, hint=f"this must work: {' '.join(ssh_command(address)[:-1])} docker version")
    if any(isinstance(cause, PermissionError) for cause in causes):
        msg = f"This user may not use the Docker engine at {address}."
        return RunnerError(msg, hint="join its group: sudo usermod -aG docker $USER, then log in again")
    why = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), str(causes[-1]))
    msg = f"No Docker engine answers at {address}: {why}."
    return RunnerError(msg, hint="start it (sudo systemctl start docker), or name another one in DOCKER_HOST")


def _causes(error: BaseException) -> list[BaseException]:
    """What led to an error, the first cause last; the SDK keeps some in arguments."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [cause.__context__, cause.__cause__, getattr(cause, "reason", None), *cause.args]
    return found
