# pyright: basic
"""The container of a Docker runner: made from its image, kept running, found again, removed.

Basic type checks: the SDK has no types.
"""

from __future__ import annotations

import io
import tarfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker import errors
from docker.types import DeviceRequest
from docker.utils import exclude_paths, parse_repository_tag

from hotloop.errors import RunnerError
from hotloop.frozen import frozen
from hotloop.remote_runner.docker.host import stopped
from hotloop.remote_runner.docker.target import DockerTarget, container_name

if TYPE_CHECKING:
    from docker import DockerClient

    from hotloop.remote_runner.docker.engine import Engine

CACHE = "/hotloop/cache"
STATE = "/hotloop/state"
LABEL = "dev.hotloop"
CACHE_VOLUME = "hotloop-cache"
STOP_TIMEOUT_S = 10
SHARED_MEMORY = "1g"  # of /dev/shm: Docker's 64 MB are too few for data loaders

# Nothing but a shell is asked of an image: it waits for input that never comes, below an init that reaps.
_FOR_EVER = ["sh", "-c", "while read -r line; do :; done"]

Say = Callable[[str, int, int], None]


@frozen
class Kept:
    """A container that runs."""

    id: str
    name: str


def ensure(engine: Engine, target: DockerTarget, project: Path | None, say: Say) -> Kept:
    """Have a target's container run: found, started again, or made. One of another image is replaced.

    Args:
        engine: Where.
        target: What is wanted.
        project: Whose container it is, unless the target names one.
        say: Is told what is done: a text, then bytes done and in all (0 if not known).

    Raises:
        RunnerError: The engine refuses, or the container does not stay up.
    """
    name = container_name(target, project)
    with engine.asked_for(target.image or str(target.dockerfile)):
        image_id = _image(engine.client, target, say)
        container = _find(engine.client, name)
        if container is not None and (container.attrs["Image"] != image_id or _gpus_of(container) != target.gpus):
            say("replacing the container: its image is another now", 0, 0)
            container.remove(force=True)
            container = None
        if container is None:
            say("making the container", 0, 0)
            container = _make(engine.client, target, name, image_id, project)
        _start(container)
    return _checked(container, target)


def running(engine: Engine, target: DockerTarget, project: Path | None) -> Kept | None:
    """Find a target's container if it runs, of whatever image; None if it does not.

    Raises:
        RunnerError: The engine refuses.
    """
    name = container_name(target, project)
    with engine.asked_for(name):
        container = _find(engine.client, name)
    return None if container is None or container.status != "running" else Kept(container.id, container.name)


def again(engine: Engine, target: DockerTarget, kept: Kept) -> Kept | None:
    """Have a container that was made before run, whatever became of its image; None if it is gone.

    Raises:
        RunnerError: The engine refuses, or the container does not stay up.
    """
    with engine.asked_for(kept.name):
        container = _find(engine.client, kept.id)
        if container is None:
            return None
        _start(container)
    return _checked(container, target)


def remove(engine: Engine, target: DockerTarget, project: Path | None) -> bool:
    """Stop and remove a target's container; its volumes stay.

    Returns:
        Whether there was one.

    Raises:
        RunnerError: The engine refuses.
    """
    name = container_name(target, project)
    with engine.asked_for(name):
        container = _find(engine.client, name)
        if container is None:
            return False
        container.stop(timeout=STOP_TIMEOUT_S)
        container.remove(force=True)
    return True


def _start(container: Any) -> None:
    if container.status != "running":
        container.start()
    container.reload()


def _checked(container: Any, target: DockerTarget) -> Kept:
    if not container.attrs["State"]["Running"]:
        raise stopped(target.shown, container.attrs["State"])
    return Kept(container.id, container.name)


def _find(client: DockerClient, name: str) -> Any:
    try:
        return client.containers.get(name)
    except errors.NotFound:
        return None


def _gpus_of(container: Any) -> str:
    return container.labels.get(f"{LABEL}.gpus", "")


def _image(client: DockerClient, target: DockerTarget, say: Say) -> str:
    """Give the image's id; it is built or pulled if need be. What is there already is taken: no registry is asked."""
    if target.dockerfile is not None:
        return _build(client, target.dockerfile, say)
    try:
        return str(client.images.get(target.image).id)
    except errors.ImageNotFound:
        _pull(client, target.image, say)
        return str(client.images.get(target.image).id)


def _pull(client: DockerClient, image: str, say: Say) -> None:
    repository, tag = parse_repository_tag(image)
    layers: dict[str, tuple[int, int]] = {}
    say(f"pulling {image}", 0, 0)
    try:
        lines = client.api.pull(repository, tag=tag or "latest", stream=True, decode=True)
    except errors.APIError as error:
        raise _not_pulled(image, str(error.explanation)) from error
    for line in lines:
        if "error" in line:
            raise _not_pulled(image, line["error"])
        detail = line.get("progressDetail") or {}
        if line.get("status") == "Downloading" and detail.get("total"):
            layers[line["id"]] = (detail["current"], detail["total"])
            done, total = (sum(part) for part in zip(*layers.values(), strict=True))
            say(f"pulling {image}", done, total)


def _not_pulled(image: str, why: str) -> RunnerError:
    msg = f"The engine does not have the image {image}, and can't pull it: {why.strip()}."
    return RunnerError(msg, hint="look at its name, log in to its registry (docker login), or build it there")


def _build(client: DockerClient, dockerfile: Path, say: Say) -> str:
    """Build an image; the steps are told as they come, those that are made already are not."""
    said: deque[str] = deque(maxlen=2)
    image_id = step = ""
    for line in client.api.build(
        fileobj=_context(dockerfile),
        custom_context=True,
        dockerfile=dockerfile.name,
        rm=True,
        forcerm=True,
        decode=True,
    ):
        if "error" in line:
            msg = f"{dockerfile} can't be built: {' '.join([*said, line['error'].strip()])}."
            raise RunnerError(msg, hint="correct it, then start again")
        image_id = line.get("aux", {}).get("ID", image_id)
        text = line.get("stream", "").strip()
        if text:
            said.append(text)
        is_made = text.startswith("---> Using cache") or (" FROM " in step and text.startswith("--->"))
        if step and not is_made and (text or "status" in line):
            say(f"building {dockerfile.name}: {step}", 0, 0)
        if text or "status" in line:
            step = text if text.startswith("Step ") else ""
    return image_id


def _context(dockerfile: Path) -> io.BytesIO:
    """Pack the Dockerfile's folder, without what ``.dockerignore`` names."""
    root = dockerfile.parent
    ignore = root / ".dockerignore"
    rules = [line.strip() for line in ignore.read_text().splitlines()] if ignore.exists() else []
    rules = [line for line in rules if line and not line.startswith("#")]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in sorted(exclude_paths(str(root), [*rules, ".git", ".venv"], dockerfile=dockerfile.name)):
            archive.add(root / name, arcname=name, recursive=False)
    buffer.seek(0)
    return buffer


def _make(client: DockerClient, target: DockerTarget, name: str, image_id: str, project: Path | None) -> Any:
    user = (client.images.get(image_id).attrs["Config"].get("User") or "root").partition(":")[0]
    cache = CACHE_VOLUME if user in {"root", "0"} else f"{CACHE_VOLUME}-{user}"  # private folders do not mix
    container = client.containers.create(
        image_id,
        entrypoint=_FOR_EVER,
        command=[],
        name=name,
        labels={LABEL: "runner", f"{LABEL}.gpus": target.gpus, f"{LABEL}.project": str(project or "")},
        volumes={cache: {"bind": CACHE, "mode": "rw"}, f"{name}-state": {"bind": STATE, "mode": "rw"}},
        environment={"XDG_CACHE_HOME": CACHE, "UV_CACHE_DIR": f"{CACHE}/uv"},
        device_requests=_device_requests(target.gpus),
        shm_size=SHARED_MEMORY,
        stdin_open=True,
        init=True,
    )
    container.start()
    if cache != CACHE_VOLUME:
        container.exec_run(["chown", user, CACHE, STATE], user="root")  # new volumes are root's
    return container


def _device_requests(gpus: str) -> list[Any]:
    if not gpus:
        return []
    if gpus == "all" or gpus.isdigit():
        count = -1 if gpus == "all" else int(gpus)
        return [DeviceRequest(count=count, capabilities=[["gpu"]])]
    return [DeviceRequest(device_ids=gpus.removeprefix("device=").split(","), capabilities=[["gpu"]])]
