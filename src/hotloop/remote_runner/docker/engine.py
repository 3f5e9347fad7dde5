# pyright: basic
"""The Docker engine: which one, and what its refusals mean. Basic type checks: the SDK has no types."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import requests
from docker import DockerClient, errors
from docker.context import ContextAPI

from hotloop.errors import HotloopError, RunnerError, UsageError
from hotloop.remote_runner.docker.target import engine_of

TIMEOUT_S = 60
SSH_TIMEOUT_S = 20.0


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


def connect(address: str) -> DockerClient:
    """Connect to an engine.

    Raises:
        RunnerError: It does not answer; says where it was looked for and what to do.
    """
    try:
        client = DockerClient(
            base_url=address, timeout=TIMEOUT_S, version="auto", use_ssh_client=address.startswith("ssh://")
        )
    except Exception as error:
        raise _no_engine(address, error) from error
    return client


def translate(error: Exception, what: str, address: str = "") -> HotloopError:
    """Make an error for people of one of the SDK's."""
    if isinstance(error, errors.BuildError):
        lines = [str(part.get("stream", part.get("error", ""))).strip() for part in error.build_log]
        said = " ".join([*filter(None, lines)][-2:]) or str(error)
        return RunnerError(f"{what} can't be built: {said}", hint="correct the Dockerfile, then start again")
    if isinstance(error, errors.APIError):
        return RunnerError(
            f"Docker refused {what}: {error.explanation or error}", hint=_hint_of(str(error.explanation))
        )
    if isinstance(error, requests.exceptions.RequestException | OSError):
        return _no_engine(address, error)
    return RunnerError(f"Docker failed at {what}: {error}", hint="look at the engine's log")


def _hint_of(explanation: str) -> str:
    text = explanation.lower()
    if "gpu" in text or "nvidia" in text:
        return "install the NVIDIA Container Toolkit on the engine's machine, or leave out gpus"
    if "no space left" in text:
        return "free some of the engine's disk: docker system prune"
    if "denied" in text or "unauthorized" in text:
        return "log in to the image's registry: docker login"
    return "look at the engine's log"


def _no_engine(address: str, error: Exception) -> RunnerError:
    causes = _causes(error)
    if address.startswith("ssh://"):
        return _no_engine_by_ssh(address)
    if any(isinstance(cause, PermissionError) for cause in causes):
        msg = f"This user may not use the Docker engine at {address}."
        return RunnerError(msg, hint="join its group: sudo usermod -aG docker $USER, then log in again")
    why = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), str(causes[-1]))
    msg = f"No Docker engine answers at {address}: {why}."
    return RunnerError(msg, hint="start it (sudo systemctl start docker), or name another one in DOCKER_HOST")


def _no_engine_by_ssh(address: str) -> RunnerError:
    """Ask again in a way that tells why: the SDK only sees that ssh ended."""
    if shutil.which("ssh") is None:
        msg = f"The Docker engine at {address} is reached by the command ssh, which is not installed."
        return RunnerError(msg, hint="install it, such as: sudo apt-get install openssh-client")
    command = [*ssh_command(address)[:-1], "docker version --format '{{.Server.Version}}'"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SSH_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [f"exit code {done.returncode}"]
    except subprocess.TimeoutExpired:
        said = [f"no answer within {SSH_TIMEOUT_S:.0f} s"]
    msg = f"The Docker engine at {address} can't be reached: {said[0]}."
    return RunnerError(msg, hint=f"this must work: {' '.join(command[:-1])} docker version")


def ssh_command(address: str) -> list[str]:
    """Say how ssh leads to an engine's API."""
    place = address.removeprefix("ssh://").rstrip("/")
    user, _, machine = place.rpartition("@")
    machine, _, port = machine.partition(":")
    options = [*(["-p", port] if port else []), *(["-l", user] if user else [])]
    return ["ssh", "-o", "BatchMode=yes", "-T", *options, "--", machine, "docker system dial-stdio"]


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
