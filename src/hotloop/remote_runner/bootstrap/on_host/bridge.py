"""What a runner runs to reach its agent: find hotloop's environment, start the agent if none listens, then pass bytes on.

Sent by the client and kept on the runner (`loader.py`). Standard library only, Python 3.8 or newer; few imports, since
each start of a session waits for them. What is rarely needed comes in `installer.py`, after this has asked for it.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time

# Annotations alone need it, and a bare Python of another version reads this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

BLOCK_BYTES = 1 << 18
AGENT_START_TIMEOUT_S = 30.0
ALREADY_RUNS_EXIT_CODE = 3  # as in places.py
MAX_SOCKET_PATH_BYTES = 100  # as in places.py
CODES = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EROFS: "denied",
}


class FailedError(Exception):
    """Something that the client explains to its user.

    Attributes:
        code: What kind: ``disk-full``, ``denied``, ``agent``, ...
    """

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.more = more


class Channel:
    """Frames on stdin and stdout: four bytes of length, JSON, and as many bytes after it as it says in ``size``.

    Attributes:
        left: How many of these bytes are still to be read.
    """

    def __init__(self, marker: str) -> None:
        self.left = 0
        self._out = os.dup(1)
        os.dup2(2, 1)  # what commands print must not get between the frames
        write_all(self._out, ("\nhotloop%s:" % marker).encode())

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message to the client."""
        data = json.dumps(dict(fields, kind=kind)).encode()
        write_all(self._out, struct.pack(">I", len(data)) + data)

    def fail(self, error: BaseException) -> None:
        """Tell the client what went wrong."""
        if isinstance(error, FailedError):
            self.say("failed", code=error.code, message=error.message, **error.more)
        elif isinstance(error, OSError):
            where = error.filename.decode(errors="replace") if isinstance(error.filename, bytes) else error.filename
            message = "%s: %s" % (where, error.strerror) if where else str(error.strerror or error)
            self.say("failed", code=CODES.get(error.errno or 0, "system"), message=message)
        else:
            self.say("failed", code="defect", message="%s: %s" % (type(error).__name__, error))

    def hear(self) -> dict[str, Any]:
        """Wait for the client's next message; what it brings with it is for `content`."""
        for _ in self.content():  # what a step that failed did not take
            pass
        (size,) = struct.unpack(">I", b"".join(self._read(4)))
        message = json.loads(b"".join(self._read(size)))
        self.left = message.get("size", 0)
        return message

    def content(self) -> Iterator[bytes]:
        """Give the bytes that came with the message, block by block."""
        while self.left:
            for block in self._read(min(self.left, BLOCK_BYTES)):
                self.left -= len(block)
                yield block

    def _read(self, size: int) -> Iterator[bytes]:
        while size:
            block = os.read(0, size)
            if not block:
                sys.exit(1)  # the client is gone
            size -= len(block)
            yield block

    def join(self, connection: socket.socket) -> None:
        """Pass bytes between the client and the agent until either ends; does not return."""
        out = self._out

        def send() -> None:
            try:
                while True:
                    data = os.read(0, BLOCK_BYTES)
                    if not data:
                        break
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)  # the agent still gets what is under way
                time.sleep(1.0)
            except OSError:
                pass
            os._exit(0)

        _thread.start_new_thread(send, ())
        try:
            while True:
                data = connection.recv(BLOCK_BYTES)
                if not data:
                    break
                write_all(out, data)
        except OSError:
            pass
        os._exit(0)


def main(request: dict[str, Any], cache: str, program: bytes) -> int:
    """Become the bridge to an agent.

    Args:
        request: The client's: see `request.py`.
        cache: hotloop's folder for what can be made again.
        program: This file, to be kept; empty if it is.
    """
    channel = Channel(request["marker"])
    try:
        if program:
            keep(os.path.join(cache, "bridge-%s.py" % request["program"][:16]), program)
        if not request["is_starting"]:
            join_running(channel, os.path.expanduser(request["state"]))
        python = ready_environment(cache, request["wanted"]) or install(channel, request, cache)
        channel.say("starting")
        connection = reach_agent(python, os.path.expanduser(request["state"]), request["agent_arguments"])
    except (OSError, FailedError) as error:
        channel.fail(error)
        return 1
    channel.say("ready")
    channel.join(connection)
    return 0


def join_running(channel: Channel, state: str) -> None:
    """Become the bridge to an agent that runs already; nothing is made and nothing started."""
    connection = connect(socket_path(state)) if os.path.isdir(state) else None
    if connection is None:
        raise FailedError("no-agent", "none runs")
    channel.say("starting")
    channel.say("ready")
    channel.join(connection)


def install(channel: Channel, request: dict[str, Any], cache: str) -> str:
    """Have the client send what makes the environment; returns its interpreter."""
    channel.say("cold")
    channel.hear()
    space = dict(globals())
    exec(compile(b"".join(channel.content()), "hotloop/installer.py", "exec"), space)  # noqa: S102 - the client's own
    return space["run"](channel, request, cache)


def platform_tag() -> str:
    """Name what binaries run here: ``x86_64-gnu``."""
    try:
        libc = "gnu" if os.confstr("CS_GNU_LIBC_VERSION") else "musl"
    except (ValueError, OSError):
        libc = "musl"
    return "%s-%s" % (os.uname().machine, libc)


def environments_folder(cache: str) -> str:
    """Where environments are, one folder each: ``WANTED-cp312-x86_64-gnu``."""
    return os.path.join(cache, "agents")


def ready_environment(cache: str, wanted: str) -> str:
    """Give the interpreter of a finished environment, empty if there is none. Others of the same home are left alone."""
    folder = environments_folder(cache)
    try:
        names = os.listdir(folder)
    except OSError:
        return ""
    for name in names:
        python = os.path.join(folder, name, "bin", "python")
        if name.startswith(wanted + "-") and name.endswith("-" + platform_tag()) and os.path.exists(python):
            try:
                os.utime(os.path.join(folder, name))  # says when it was last used
            except OSError:
                pass
            return python
    return ""


def reach_agent(python: str, state: str, arguments: list[str]) -> socket.socket:
    """Connect to the agent's socket; start an agent if none listens. It lives on after this process."""
    folder = make_private(os.path.join(make_private(state), "agent"))
    path = socket_path(state)
    connection = connect(path)
    if connection is not None:
        return connection
    command = [python, "-P", "-m", "hotloop.remote_runner.agent", "--state", state, *arguments]
    log = os.path.join(folder, "agent.log")
    pid = spawn(command, folder, log)
    deadline_s = time.monotonic() + AGENT_START_TIMEOUT_S
    while True:
        connection = connect(path)
        if connection is not None:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # an agent that ends while this lives leaves no zombie
            return connection
        ended, status = os.waitpid(pid, os.WNOHANG) if pid else (0, 0)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        if ended and code != ALREADY_RUNS_EXIT_CODE:
            if not os.statvfs(folder).f_bavail:  # it could not even write down why
                raise FailedError("disk-full", "the agent could not write in " + folder)
            raise FailedError("agent", "ended with exit code %d" % code, log=log, lines=last_lines(log))
        if ended:  # another one is about to listen, or about to end
            time.sleep(0.1)
            pid = spawn(command, folder, log)
        if time.monotonic() > deadline_s:
            message = "did not listen within %d s" % AGENT_START_TIMEOUT_S
            raise FailedError("agent", message, log=log, lines=last_lines(log))
        time.sleep(0.005)


def connect(path: str) -> socket.socket | None:
    """Connect to a Unix socket; None if nobody listens."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def socket_path(state: str) -> str:
    """Where the agent listens, as `places.socket_path` says it."""
    usual = os.path.join(state, "agent", "agent.sock")
    if len(os.fsencode(usual)) <= MAX_SOCKET_PATH_BYTES:
        return usual
    import tempfile

    name = hashlib.sha256(os.fsencode(os.path.realpath(state))).hexdigest()[:12]
    return os.path.join(
        make_private(os.path.join(tempfile.gettempdir(), "hotloop-%d-%s" % (os.getuid(), name))), "agent.sock"
    )


def spawn(command: list[str], folder: str, log: str) -> int:
    """Start a process that keeps nothing of this one's: session, terminal, streams."""
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    pid = os.fork()
    if pid:
        os.close(log_fd)
        return pid
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        os.chdir(folder)
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, ("%s: %s\n" % (command[0], error)).encode())
    finally:
        os._exit(127)


def last_lines(path: str) -> list[str]:
    """Give the end of a log."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            return file.read().decode(errors="replace").strip().splitlines()[-5:]
    except OSError:
        return []


def make_private(folder: str) -> str:
    """Make a folder that only this user can enter."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.lstat(folder)
    if status.st_uid != os.getuid() or (status.st_mode & 0o170000) != 0o040000:
        raise FailedError("denied", "%s is not a folder of this user" % folder)
    if status.st_mode & 0o077:
        os.chmod(folder, 0o700)
    return folder


def keep(path: str, data: bytes) -> None:
    """Write a file whole or not at all. What can't be kept can still be run: what needs the disk will say so."""
    fresh = "%s.%d" % (path, os.getpid())
    try:
        make_private(os.path.dirname(path))
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        os.replace(fresh, path)
    except (OSError, FailedError):
        try:
            os.unlink(fresh)
        except OSError:
            pass


def lock(path: str) -> int:
    """Hold a lock until this process ends; waits for whoever holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def write_all(fd: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
