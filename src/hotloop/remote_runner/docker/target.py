"""What a Docker runner is: an image or a Dockerfile, a name, GPUs. Does no I/O."""

from __future__ import annotations

import getpass
import hashlib
import re
import socket
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from hotloop.errors import UsageError
from hotloop.frozen import frozen

SCHEME = "docker://"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,60}")
_EXAMPLE = "write it as docker://IMAGE, such as docker://python:3.12-slim, or docker://IMAGE?name=mine&gpus=all"


@frozen
class DockerTarget:
    """A container that is to run.

    Attributes:
        image: Its reference; empty with a Dockerfile.
        dockerfile: Built with its folder as the context; None with an image.
        name: The container's, for all projects that name it; empty for one of the user's and the project's own.
        gpus: As for ``docker run --gpus``: ``all``, how many, or ``device=0,1``; empty for none.
        host: The engine: ``unix://...``, ``tcp://...`` or ``ssh://...``; empty for the one that ``docker`` uses.
        python: The interpreter of hotloop's own environment in the container; empty for any.
    """

    image: str = ""
    dockerfile: Path | None = None
    name: str = ""
    gpus: str = ""
    host: str = ""
    python: str = ""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UsageError: Something is wrong.
        """
        if bool(self.image) == bool(self.dockerfile):
            msg = "A Docker runner is made of an image or of a Dockerfile: one of them was expected."
            raise UsageError(msg, hint=_EXAMPLE)
        if self.name and not _NAME.fullmatch(self.name):
            msg = f"{self.name!r} can't be a container's name: 2 to 61 letters, digits and _ . - were expected."
            raise UsageError(msg, hint=_EXAMPLE)
        if self.gpus and not re.fullmatch(r"all|[1-9]\d*|device=[\w-]+(,[\w-]+)*", self.gpus):
            msg = f"gpus={self.gpus} was not understood."
            raise UsageError(msg, hint="write gpus=all, a number such as gpus=2, or gpus=device=0,1")

    @property
    def shown(self) -> str:
        """As people write it."""
        return SCHEME + (self.image or str(self.dockerfile))


def parse(address: str, *, host: str = "") -> DockerTarget:
    """Read ``docker://IMAGE[?name=NAME][&gpus=all][&python=3.12]``.

    Raises:
        UsageError: It is not that.
    """
    if not address.startswith(SCHEME):
        msg = f"{address!r} is no Docker runner."
        raise UsageError(msg, hint=_EXAMPLE)
    image, _, query = address.removeprefix(SCHEME).partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = options.keys() - {"name", "gpus", "python"}
    if unknown:
        msg = f"{address}: {min(unknown)!r} is not an option of a Docker runner."
        raise UsageError(msg, hint="the options are: name, gpus, python")
    return DockerTarget(image, None, options.get("name", ""), options.get("gpus", ""), host, options.get("python", ""))


def container_name(target: DockerTarget, project: Path | None) -> str:
    """Name the container: as the user did, else by user, project and image, so that each has its own."""
    if target.name:
        return target.name
    user = getpass.getuser()
    parts = [user, socket.gethostname(), str(project or ""), target.image, str(target.dockerfile or ""), target.gpus]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
    words = [re.sub(r"[^a-zA-Z0-9]+", "-", word).strip("-") for word in (user, project.name if project else "")]
    return "-".join(["hotloop", *filter(None, words), digest])


def engine_of(host: str) -> str:
    """Say an engine's address in one form: ``unix:///var/run/docker.sock``, ``ssh://me@gpu1``."""
    return host if urlsplit(host).scheme else f"unix://{host}"
