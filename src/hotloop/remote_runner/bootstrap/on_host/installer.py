"""What makes hotloop's environment on a runner. Sent when there is none, run by `bridge.py`, never kept there.

Standard library only, Python 3.8 or newer. It does what the client says, one step a message, and decides nothing.
"""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zipfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    # Run among `bridge.py`'s own names.
    from hotloop.remote_runner.bootstrap.on_host.bridge import (
        Channel,
        FailedError,
        environments_folder,
        lock,
        make_private,
        platform_tag,
        ready_environment,
    )

OLDEST_PYTHON = (3, 11)
PYTHON_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/conda/bin", "~/.local/bin", "~/miniconda3/bin")
PIP_TIMEOUT_S = 180
REGISTRY_TIMEOUT_S = 4
UNUSED_DAYS = 60
PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
PROGRESS_S = 0.2


def run(channel: Channel, request: dict[str, Any], cache: str) -> str:
    """Take the client's steps until an environment is made; returns its interpreter."""
    installer = Installer(channel, request, cache)
    while True:
        message = channel.hear()
        step = message.pop("do")
        message.pop("size", None)
        try:
            result = getattr(installer, "do_" + step)(**message)
        except Exception as error:  # noqa: BLE001 - the client says it to its user, and may know another way
            channel.fail(error)
            continue
        channel.say("done", **result)
        if step in ("finish", "adopt"):
            return result["python"]


class Installer:
    """The steps that a client may ask for. Nothing is half made under its final name."""

    def __init__(self, channel: Channel, request: dict[str, Any], cache: str) -> None:
        self._channel = channel
        self._wanted = request["wanted"]
        self._cache = cache
        self._folder = ""
        self._python = ""
        self._lock_fd = -1
        self._system_certificates: dict[str, str] = {}

    def do_probe(self, python: str) -> dict[str, Any]:
        """Say what this machine is and has; an interpreter that is named is looked at as well."""
        registry = Registry()
        wanted = os.path.expanduser(python)
        if wanted and not wanted[0].isdigit() and os.sep not in wanted:
            wanted = shutil.which(wanted) or wanted
        folder = existing_parent(self._cache)
        disk = os.statvfs(folder)
        return {
            "platform": platform_tag(),
            "glibc": glibc_version(),
            "home": os.path.expanduser("~"),
            "cache": self._cache,
            "free_bytes": disk.f_bavail * disk.f_frsize,
            "is_writable": os.access(folder, os.W_OK | os.X_OK),
            "is_noexec": bool(disk.f_flag & os.ST_NOEXEC),
            "wanted_python": wanted,
            "pythons": find_pythons(self._cache, [wanted] if os.sep in wanted else []),
            "own_python": [sys.executable, "%d.%d.%d" % sys.version_info[:3]],
            "uv": self._find_uv(),
            "gpu": gpu_name(),
            "no_registry": registry.obstacle(),
        }

    def do_hold(self) -> dict[str, Any]:
        """Be the only one that installs here; whether another did it meanwhile."""
        make_private(self._cache)
        make_private(environments_folder(self._cache))
        self._lock_fd = lock(os.path.join(self._cache, "install.lock"))
        self._sweep()
        return {"python": ready_environment(self._cache, self._wanted)}

    def do_adopt(self) -> dict[str, Any]:
        """Take the environment that another made."""
        os.close(self._lock_fd)
        return {"python": ready_environment(self._cache, self._wanted)}

    def do_uv(self, requirement: str) -> dict[str, Any]:
        """Get uv from the registry by this machine's own pip."""
        target = os.path.join(self._cache, "uv.new")
        shutil.rmtree(target, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        self._command(
            [*pip, "--retries", "1", "--timeout", "10", "--no-deps", "--target", target, requirement], PIP_TIMEOUT_S
        )
        return {"uv": self._take_uv(target)}

    def do_ship_uv(self, what: str) -> dict[str, Any]:
        """Take uv from the client."""
        target = os.path.join(self._cache, "uv.new")
        self._unpack(target, what)
        return {"uv": self._take_uv(target)}

    def do_python(self, version: str, seconds: int) -> dict[str, Any]:
        """Have uv fetch a Python."""
        folder = os.path.join(self._cache, "python")
        place = ["--install-dir", folder]
        self._command([self._need_uv(), "python", "install", "--no-bin", "--quiet", *place, version], seconds)
        found = [
            python
            for python in find_pythons(self._cache)
            if python[0].startswith(folder + os.sep) and (python[1] + ".").startswith(version + ".")
        ]
        if not found:
            raise FailedError("no-python", "uv installed Python %s, but none is in %s" % (version, folder))
        return {"python": found[0][0], "version": found[0][1]}

    def do_environment(self, python: str, requirements: list[str], seconds: int) -> dict[str, Any]:
        """Make the environment with uv, from the registry that this machine is set up for."""
        self._begin()
        uv = self._need_uv()
        self._command([uv, "venv", "--quiet", "--python", python, self._folder], seconds)
        into = ["--python", self._python, "--only-binary", ":all:"]
        self._command([uv, "pip", "install", "--quiet", "--no-progress", *into, *requirements], seconds)
        return {"python": self._python}

    def do_bare_environment(self, python: str) -> dict[str, Any]:
        """Make an empty environment without uv."""
        self._begin()
        self._command([python, "-m", "venv", "--without-pip", self._folder], 60)
        return {"python": self._python}

    def do_unpack(self, what: str) -> dict[str, Any]:
        """Take an archive from the client into the environment: the packages, or hotloop itself."""
        self._unpack(self._site_packages(), what)
        uv = os.path.join(self._site_packages(), "bin", "uv")
        if os.path.exists(uv):  # as an installer puts it
            os.replace(uv, os.path.join(self._folder, "bin", "uv"))
        return {}

    def do_finish(self) -> dict[str, Any]:
        """Check that the environment works, and give it its name."""
        check = "import asyncio, sys, hotloop.remote_runner.agent, hotloop.gpu_runtime.main; print('cp%d%d' % sys.version_info[:2])"
        tag = self._command([self._python, "-P", "-c", check], 120).split()[-1]
        # A folder shared by machines may hold one whose interpreter is elsewhere: it is another machine's.
        names = ["%s-%s.%d-%s" % (self._wanted, tag, number, platform_tag()) for number in range(1000)]
        places = [os.path.join(environments_folder(self._cache), name) for name in names]
        place = next(place for place in places if not os.path.lexists(place))
        os.rename(self._folder, place)
        os.close(self._lock_fd)
        return {"python": os.path.join(place, "bin", "python")}

    # --- what the steps share

    def _begin(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = tempfile.mkdtemp(prefix=".new-", dir=environments_folder(self._cache))
        self._python = os.path.join(self._folder, "bin", "python")

    def _sweep(self) -> None:
        """Remove what crashed installations left, and environments that nobody used for long. Called under the lock."""
        folder = environments_folder(self._cache)
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            is_old = time.time() - os.lstat(path).st_mtime > UNUSED_DAYS * 86400
            if name.startswith(".new-") or is_old:
                shutil.rmtree(path, ignore_errors=True)
        for name in os.listdir(self._cache):
            path = os.path.join(self._cache, name)
            if name.startswith("bridge-") and time.time() - os.lstat(path).st_mtime > UNUSED_DAYS * 86400:
                os.unlink(path)  # whoever still wants it brings it again

    def _site_packages(self) -> str:
        lib = os.path.join(self._folder, "lib")
        python = next(name for name in os.listdir(lib) if name.startswith("python"))
        return os.path.join(lib, python, "site-packages")

    def _find_uv(self) -> str:
        places = [os.path.join(self._cache, "uv"), shutil.which("uv") or "", "~/.local/bin/uv", "~/.cargo/bin/uv"]
        for place in map(os.path.expanduser, places):
            if place and os.access(place, os.X_OK) and runs([place, "--version"]):
                return place
        return ""

    def _need_uv(self) -> str:
        uv = self._find_uv()
        if not uv:
            raise FailedError("no-uv", "uv is not there")
        return uv

    def _take_uv(self, target: str) -> str:
        place = os.path.join(self._cache, "uv")
        os.replace(os.path.join(target, "bin", "uv"), place)
        os.chmod(place, 0o700)
        shutil.rmtree(target, ignore_errors=True)
        return place

    def _command(self, command: list[str], seconds: int) -> str:
        """Run a command; what it wrote to stderr is the failure's text."""
        done = self._run(command, seconds)
        if b"invalid peer certificate" in done.stderr:  # behind a proxy that signs for all: its root is the system's
            self._system_certificates = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
            done = self._run(command, seconds)
        if done.returncode:
            output = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
            raise FailedError("command", shown(command), exit=done.returncode, output=output[-8000:])
        return done.stdout.decode(errors="replace")

    def _run(self, command: list[str], seconds: int) -> subprocess.CompletedProcess[bytes]:
        environ = dict(os.environ, **self._system_certificates)
        environ.setdefault("UV_CACHE_DIR", os.path.join(self._cache, "uv-cache"))
        environ.setdefault("UV_HTTP_RETRIES", "1")
        if Registry.of_pip() and not Registry.of_uv():
            environ["UV_DEFAULT_INDEX"] = Registry.of_pip()
        for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
            environ.pop(name, None)
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds,
                env=environ, cwd="/", check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FailedError("time-out", "%s took more than %d s" % (shown(command), seconds)) from None

    def _unpack(self, target: str, what: str) -> None:
        """Take an archive from stdin and unpack it; tells the client how far it is."""
        with tempfile.TemporaryFile(dir=self._cache) as file:
            self._receive(file.write, what)
            with zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    path = archive.extract(info, target)  # leaves out what would lead outside
                    if (info.external_attr >> 16) & stat.S_IXUSR and not info.is_dir():
                        os.chmod(path, 0o700)

    def _receive(self, write: Callable[[bytes], Any], what: str) -> None:
        total = self._channel.left
        said_s = time.monotonic()
        for block in self._channel.content():
            write(block)
            if time.monotonic() - said_s > PROGRESS_S:
                said_s = time.monotonic()
                self._channel.say("progress", what=what, done_bytes=total - self._channel.left, total_bytes=total)


class Registry:
    """Looks, while other things are done, whether the registry answers: uv would wait long for a network that is none."""

    def __init__(self) -> None:
        self._obstacle = "no answer within %d s" % REGISTRY_TIMEOUT_S
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @staticmethod
    def of_uv() -> str:
        """Give what uv is told to use; ``?`` if a file says it."""
        files = ("/etc/uv/uv.toml", "~/.config/uv/uv.toml")
        named = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
        return named or ("?" if any(os.path.exists(os.path.expanduser(file)) for file in files) else "")

    @staticmethod
    def of_pip() -> str:
        """Give the index that pip is told to use: a mirror of the machine's owner, which uv does not ask for."""
        parser = configparser.RawConfigParser()
        try:
            parser.read([os.path.expanduser(file) for file in PIP_FILES])
            configured = parser.get("global", "index-url", fallback="")
        except (configparser.Error, UnicodeDecodeError):
            configured = ""
        return os.environ.get("PIP_INDEX_URL") or configured

    def obstacle(self) -> str:
        """Say why it can't be reached; empty if it can, or if that is for uv to find out."""
        self._thread.join(REGISTRY_TIMEOUT_S)
        return self._obstacle

    def _look(self) -> None:
        proxies = urllib.request.getproxies()
        url = self.of_uv() or self.of_pip() or "https://pypi.org"
        place = urllib.parse.urlsplit(proxies.get("https") or proxies.get("all") or url)
        try:
            if place.hostname and place.scheme in ("http", "https"):
                port = place.port or (443 if place.scheme == "https" else 80)
                socket.create_connection((place.hostname, port), REGISTRY_TIMEOUT_S).close()
            self._obstacle = ""
        except (OSError, ValueError) as error:
            self._obstacle = "%s: %s" % (place.hostname, getattr(error, "strerror", None) or error)


def find_pythons(cache: str, named: Iterable[str] = ()) -> list[list[str]]:
    """Give the interpreters that are new enough, [path, version] each: those of uv's first in the cache, then by PATH."""
    folders = os.environ.get("PATH", "").split(os.pathsep) + [os.path.expanduser(folder) for folder in PYTHON_FOLDERS]
    names = ["python3"] + ["python3.%d" % minor for minor in range(OLDEST_PYTHON[1], 20)]
    paths = [os.path.expanduser(path) for path in named]
    paths += [os.path.join(folder, name) for folder in folders for name in names]
    for home in (os.path.join(cache, "python"), os.path.expanduser("~/.local/share/uv/python")):
        if os.path.isdir(home):
            paths += [os.path.join(home, name, "bin", "python3") for name in sorted(os.listdir(home)) if name[0] != "."]
    found: list[list[str]] = []
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real not in seen and os.access(path, os.X_OK):
            seen.add(real)
            version = version_of(path)
            if version and tuple(map(int, version.split(".")[:2])) >= OLDEST_PYTHON:
                found.append([path, version])
    return found


def version_of(python: str) -> str:
    """Ask an interpreter for its version; empty if it does not run, or can make no environment."""
    ask = "import ctypes, ssl, venv, zlib; import sys; print('%d.%d.%d' % sys.version_info[:3])"
    try:
        done = subprocess.run(
            [python, "-I", "-c", ask],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def runs(command: list[str]) -> bool:
    """Whether a command ends well."""
    try:
        return not subprocess.call(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def glibc_version() -> str:
    """Such as ``2.36``; empty where it is not glibc."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2]
    except (ValueError, OSError):
        return ""


def gpu_name() -> str:
    """Name the first GPU as its driver does; empty if there is none."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip().split("\n")[0] if done.returncode == 0 else ""


def existing_parent(path: str) -> str:
    """Give the nearest folder that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def shown(command: list[str]) -> str:
    """Say a command in a few words."""
    return " ".join([os.path.basename(command[0]), *command[1:4]])
