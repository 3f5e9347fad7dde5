"""An engine on another machine as a socket on this one: each connection is an ``ssh`` that runs ``docker system dial-stdio``.

No byte passes through this process: ssh has the connection as its stdin and stdout. The SDK's own way forks this process
with gRPC's threads in it, and loses what ssh says when it fails.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from hotloop.errors import RunnerError

END_TIMEOUT_S = 5.0


class Forward:
    """A listening socket in a private folder, and the ssh processes of its connections.

    Attributes:
        url: Of the socket, as the SDK wants it.
    """

    def __init__(self, address: str) -> None:
        """Listen; nothing is connected.

        Args:
            address: ``ssh://user@machine:port``.

        Raises:
            RunnerError: ssh is not installed.
        """
        if shutil.which("ssh") is None:
            msg = f"The Docker engine at {address} is reached by the command ssh, which is not installed."
            raise RunnerError(msg, hint="install it, such as: sudo apt-get install openssh-client")
        self._command = ssh_command(address)
        self._folder = Path(tempfile.mkdtemp(prefix="hotloop-docker-"))  # 0700
        self._log = self._folder / "ssh.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / "socket"))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._accept, name="docker over ssh", daemon=True)
        self._thread.start()
        self.url = f"unix://{self._folder / 'socket'}"

    def said(self) -> str:
        """Give the last line that an ssh wrote to stderr."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1].strip().rstrip(".") if lines else ""

    def close(self) -> None:
        """End all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(END_TIMEOUT_S)
        self._listener.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self._processes = [process for process in self._processes if process.poll() is None]
                with connection, self._log.open("ab") as log:
                    fd = connection.fileno()
                    process = subprocess.Popen(self._command, stdin=fd, stdout=fd, stderr=log, start_new_session=True)
                self._processes.append(process)


def ssh_command(address: str) -> list[str]:
    """Say how ssh leads to an engine's API. It asks nobody: there may be no terminal."""
    user, _, machine = address.removeprefix("ssh://").rstrip("/").rpartition("@")
    machine, _, port = machine.partition(":")
    options = [*(["-p", port] if port else []), *(["-l", user] if user else [])]
    return ["ssh", "-o", "BatchMode=yes", "-T", *options, "--", machine, "docker system dial-stdio"]
