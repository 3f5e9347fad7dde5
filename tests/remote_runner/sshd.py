"""A real SSH server for tests: of this user, on a loopback port, with keys, settings and a home of its own."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Sshd:
    """One server.

    Attributes:
        home: Of whoever logs in.
        key: The private key that it accepts.
        known_hosts: Holds its key.
        config: A client's settings that use those, as in ``~/.ssh/config``.
    """

    def __init__(self, folder, *, options="", name="server"):
        if SSHD is None:
            pytest.skip("sshd is not installed: sudo apt-get install openssh-server")
        self.folder = Path(folder)
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.key = make_key(self.folder / "id")
        self.host_key = make_key(self.folder / "host_key")
        self.port = free_port()
        self.known_hosts = self.folder / "known_hosts"
        self.config = self.folder / "config"
        self.write_known_hosts()
        self.write_config()
        shutil.copy(self.folder / "id.pub", self.folder / "authorized_keys")
        self._log = self.folder / "log"
        self._process = None
        self.start(options)

    @property
    def target(self):
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def start(self, options=""):
        """Run it; options come first, so they count."""
        (self.folder / "sshd_config").write_text(f"""{options}
Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.host_key}
AuthorizedKeysFile {self.folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv HOME={self.home}
""")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=log, stdin=subprocess.DEVNULL
            )
        deadline_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline_s, self._log.read_text()
                time.sleep(0.01)

    def stop(self):
        """End it. Connections live on."""
        self._process.terminate()
        self._process.wait(5)

    def cut(self):
        """End all of its connections."""
        for pid in _children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def close(self):
        self.cut()
        self.stop()

    def write_known_hosts(self, key=None, *, marker="", names=""):
        """Know it by a key, by default its own."""
        public = Path(f"{key or self.host_key}.pub").read_text().split()
        line = [marker, names or f"[127.0.0.1]:{self.port}", *public[:2]]
        self.known_hosts.write_text(" ".join(filter(None, line)) + "\n")

    def write_config(self, text="", *, hosts="*"):
        """Settings that come first, then its own."""
        self.config.write_text(f"""{text}
Host {hosts}
  IdentityFile {self.key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {self.known_hosts}
  GlobalKnownHostsFile none
""")


def make_key(path, *, kind="ed25519", passphrase=""):
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)], check=True)
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _children(pid):
    done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in done.stdout.split()]
