"""Two hosts on one machine, joined by a slow line: network namespaces, a delay line between them, an sshd in one.

Needs root, iproute2, openssh-server, a C compiler and /dev/net/tun. Both hosts have this machine's clock and files.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
RUNNER = "10.77.0.2"
LAPTOP = "10.77.0.1"
PORT = 42222
TIMEOUT_S = 10.0


class Unavailable(Exception):
    """This machine can't do it; the text says what is missing."""


@dataclass
class Wan:
    """The line and its two hosts. Use as a context manager.

    Attributes:
        folder: For keys, settings and logs; made if need be.
        name: Of the namespaces: ``NAME-laptop`` and ``NAME-runner``.
        one_way_ms: Delay.
        loss_percent: Of the packets, each way.
        rate_mbit: Most that passes, 0 for no limit.
    """

    folder: Path
    name: str = "hotloop"
    one_way_ms: float = 20.0
    loss_percent: float = 0.0
    rate_mbit: float = 0.0
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def laptop(self) -> str:
        """The client's namespace."""
        return f"{self.name}-laptop"

    @property
    def runner(self) -> str:
        """The namespace that sshd listens in."""
        return f"{self.name}-runner"

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``: the host ``gpubox``."""
        return self.folder / "ssh_config"

    @property
    def line_pid(self) -> int:
        """The delay line's process: SIGUSR1 cuts it, SIGUSR2 mends it."""
        return self._processes[0].pid

    def on_laptop(self, command: list[str]) -> list[str]:
        """A command line that runs in the client's namespace."""
        return ["ip", "netns", "exec", self.laptop, *command]

    def ssh(self, *options: str) -> list[str]:
        """An ssh command line up to the host's name."""
        return ["ssh", "-F", str(self.ssh_config), *options]

    def __enter__(self) -> Self:
        check_available()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._remove()
        try:
            self._make_keys()
            self._make_line()
            self._start_sshd()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(TIMEOUT_S)
        self._processes.clear()
        self._remove()

    def cut(self) -> None:
        """Let packets vanish from now on."""
        self._processes[0].send_signal(signal.SIGUSR1)

    def mend(self) -> None:
        """Let them pass again."""
        self._processes[0].send_signal(signal.SIGUSR2)

    def _make_line(self) -> None:
        program = self.folder / "delay_line"
        if not program.exists():
            run(["cc", "-O2", "-pthread", "-o", str(program), str(HERE / "delay_line.c")])
        # Namespaces take over the congestion control of now: a laptop has cubic, and bbr hides what losses cost.
        control = Path("/proc/sys/net/ipv4/tcp_congestion_control")
        before = control.read_text()
        control.write_text("cubic")
        try:
            run(["ip", "netns", "add", self.laptop])
            run(["ip", "netns", "add", self.runner])
        finally:
            control.write_text(before)
        figures = [str(round(self.one_way_ms * 1000)), str(self.loss_percent), str(self.rate_mbit)]
        line = [str(program), self.laptop, self.runner, *figures]
        first = ["chrt", "-r", "8"] if shutil.which("chrt") else []  # else a busy machine lengthens the line
        self._start([*first, *line], "delay_line", until="up")
        for namespace, address in ((self.laptop, LAPTOP), (self.runner, RUNNER)):
            run(["ip", "-n", namespace, "link", "set", "lo", "up"])
            run(["ip", "-n", namespace, "link", "set", "wan", "up", "txqueuelen", "2000"])
            run(["ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "wan"])

    def _make_keys(self) -> None:
        for name in ("host_key", "id_ed25519"):
            if not (self.folder / name).exists():
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)])
        keys = self.folder / "authorized_keys"
        keys.write_text((self.folder / "id_ed25519.pub").read_text())
        keys.chmod(0o600)
        host_key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[{RUNNER}]:{PORT} {host_key}\n")
        self.ssh_config.write_text(
            f"Host gpubox\n  HostName {RUNNER}\n  Port {PORT}\n  User root\n  IdentityFile {self.folder}/id_ed25519\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known_hosts\n  StrictHostKeyChecking yes\n"
            "  LogLevel ERROR\n"
        )
        (self.folder / "sshd_config").write_text(
            f"ListenAddress {RUNNER}:{PORT}\nHostKey {self.folder}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {keys}\nPasswordAuthentication no\nPermitRootLogin yes\nUseDNS no\nPrintMotd no\n"
            "AllowTcpForwarding no\nMaxStartups 200\nMaxSessions 200\n"
        )

    def _start_sshd(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        command = ["ip", "netns", "exec", self.runner, sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self._start(command, "sshd")
        deadline = time.monotonic() + TIMEOUT_S
        while subprocess.run(
            self.on_laptop([*self.ssh(), "gpubox", "true"]), check=False, capture_output=True
        ).returncode:
            if time.monotonic() > deadline:
                msg = f"no SSH connection over the line; see {self.folder}/sshd.log"
                raise Unavailable(msg)
            time.sleep(0.1)

    def _start(self, command: list[str], name: str, until: str = "") -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if until else log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        if until and process.stdout and process.stdout.readline().strip().decode() != until:
            msg = f"{name} does not start: {(self.folder / f'{name}.log').read_text().strip()}"
            raise Unavailable(msg)

    def _remove(self) -> None:
        for namespace in (self.laptop, self.runner):
            if not Path("/run/netns", namespace).exists():
                continue
            pids = subprocess.run(
                ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
            ).stdout
            for pid in pids.split():
                os.kill(int(pid), signal.SIGKILL)
            run(["ip", "netns", "del", namespace])


def check_available() -> None:
    """Raise `Unavailable` with what is missing here."""
    programs = {"ip": "iproute2", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "cc": "gcc"}
    lacking = {package for program, package in programs.items() if not shutil.which(program)}
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        lacking.add("openssh-server")
    if lacking:
        msg = f"install {', '.join(sorted(lacking))}"
        raise Unavailable(msg)
    if os.geteuid() or not Path("/dev/net/tun").exists():
        msg = "network namespaces need root and /dev/net/tun"
        raise Unavailable(msg)


def run(command: list[str]) -> str:
    """Run a command to its end; gives what it printed.

    Raises:
        Unavailable: It failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{' '.join(command)}: {done.stderr.strip()}"
        raise Unavailable(msg)
    return done.stdout
