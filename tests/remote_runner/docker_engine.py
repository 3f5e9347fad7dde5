"""A real Docker engine of the tests' own, in a network namespace of its own, and an image made of this machine's Python.

No registry is needed. The engine's rules for packets stay in its namespace; this machine's are left alone.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

START_TIMEOUT_S = 30
IMAGE = "hotloop-test/python:1"
BARE_IMAGE = "hotloop-test/bare:1"
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "__pycache__", "site-packages", "lib2to3", "pydoc_data"}
# What a C extension expects of any glibc machine, though this interpreter does not need all of it.
LIBRARIES = (
    "libm.so.6",
    "librt.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "libutil.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
)
SHELL_TOOLS = ("uname", "head", "ls", "mkdir", "chmod", "mv", "chown")


class Engine:
    """dockerd, its socket and a client.

    Attributes:
        address: As in ``DOCKER_HOST``.
    """

    def __init__(self, folder):
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        self.client = None
        self._namespace = f"hotloop-d{os.getpid()}"
        self._process = None

    def start(self):
        import docker

        subprocess.run(["ip", "netns", "add", self._namespace], check=True)
        subprocess.run(["ip", "-n", self._namespace, "link", "set", "lo", "up"], check=True)
        folder = self.folder
        # nsenter, as `ip netns exec` would mount /sys anew and hide the control groups.
        command = [
            "nsenter", f"--net=/run/netns/{self._namespace}", "dockerd", "--data-root", f"{folder}/data",
            "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", "--host", self.address,
            "--dns", "127.0.0.1",  # nobody answers there, at once
        ]  # fmt: skip
        # In this session: an agent that a test runs in this process takes its children of others for a dead runtime's, and
        # kills them.
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, process_group=0)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(docker.errors.DockerException):
                self.client = docker.DockerClient(base_url=self.address)
                self.client.ping()
                return
            assert self._process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline_s, (folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self):
        if self.client is not None:
            for container in self.client.containers.list(all=True):
                container.remove(force=True)
            self.client.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        subprocess.run(["ip", "netns", "del", self._namespace], check=False, capture_output=True)

    def take_image(self, name, root, **environ):
        """Make an image of a folder."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(root, arcname=".")
        variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environ}
        changes = [f"ENV {key}={value}" for key, value in variables.items()]
        self.client.api.import_image_from_data(buffer.getvalue(), repository=name, changes=changes)


def missing():
    """Say why no engine can be had here; None if one can."""
    if os.geteuid():
        return "a Docker engine of its own needs root: run the tests as root"
    absent = [tool for tool in ("dockerd", "iptables", "nsenter", "ip") if shutil.which(tool) is None]
    return f"{', '.join(absent)} not found: apt-get install docker.io iptables" if absent else None


def make_root(root):
    """Fill a folder with what an image needs: a shell, a few tools and this machine's Python."""
    for folder in ("bin", "usr/bin", "etc", "tmp", "dev", "proc", "sys", "root", "lib64"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    binaries = {"/bin/sh": shutil.which("dash") or "/bin/sh"}
    binaries |= {f"/usr/bin/{tool}": shutil.which(tool) for tool in SHELL_TOOLS}
    linked = list(binaries.values())
    prefix = Path(sys.base_prefix)
    for part in ("bin", "lib"):
        ignore = lambda _, names: [name for name in names if name in LEFT_OUT or name.endswith(".a")]  # noqa: E731
        shutil.copytree(prefix / part, root / prefix.relative_to("/") / part, symlinks=True, ignore=ignore)
    (root / "usr/bin/python3").symlink_to(prefix / "bin/python3")
    linked += [str(path) for path in (prefix / "lib").rglob("lib-dynload/*.so")]
    linked += [str(path) for path in (prefix / "lib").glob("libpython*.so*")] + [str(prefix / "bin/python3")]
    for place, source in binaries.items():
        shutil.copy(source, root / place.lstrip("/"))
    for library in _libraries_of(linked):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\ndev:x:1234:1234:dev:/home/dev:/bin/sh\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    return root


def take_python_out(root):
    """Leave no Python in an image's folder but an archive that uv can install, with a list of downloads that names it."""
    prefix = root / Path(sys.base_prefix).relative_to("/")
    (root / "mirror").mkdir()
    archive = root / "mirror/python.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        packed.add(prefix, arcname="python")
    for library in (prefix / "lib").glob("libpython*.so.*"):  # this one is linked to where it was; uv's own are not
        shutil.copy(library, next(root.rglob("libc.so.6")).parent)
    shutil.rmtree(prefix)
    (root / "usr/bin/python3").unlink()
    version = sys.version_info
    entry = {
        "name": "cpython", "arch": {"family": os.uname().machine, "variant": None}, "os": "linux", "libc": "gnu",
        "major": version.major, "minor": version.minor, "patch": version.micro, "prerelease": "", "variant": None,
        "build": "20260101", "url": "file:///mirror/python.tar.gz",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }  # fmt: skip
    (root / "mirror/downloads.json").write_text(json.dumps({"cpython": entry}))


def _libraries_of(files):
    listed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout.split()
    found = {word for word in listed if word.startswith("/") and not word.endswith(":") and Path(word).is_file()}
    folder = next(Path(path).parent for path in found if Path(path).name == "libc.so.6")
    return found | {str(folder / name) for name in LIBRARIES if (folder / name).exists()}


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory):
    """An engine that has `IMAGE`, and `BARE_IMAGE` without Python."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    engine = Engine(tmp_path_factory.mktemp("docker"))
    try:
        engine.start()
        root = make_root(tmp_path_factory.mktemp("image"))
        engine.take_image(IMAGE, root)
        take_python_out(root)
        engine.take_image(BARE_IMAGE, root)
        yield engine
    finally:
        engine.stop()
