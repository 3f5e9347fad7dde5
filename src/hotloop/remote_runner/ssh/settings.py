"""How to reach a host: what was typed, joined with the user's ssh settings, as ``ssh`` itself understands them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from hotloop.errors import RunnerError, UsageError

SCHEME = "ssh://"
CONFIG_VARIABLE = "HOTLOOP_SSH_CONFIG"  # a file to read instead of ~/.ssh/config, as with ssh -F
DEFAULT_PORT = 22
ANSWER_TIMEOUT_S = 10
_TARGET = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.%]+\])(?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class SshTarget:
    """What was typed: ``gpu1``, ``anna@gpu1``, ``ssh://anna@gpu1:2222``. Empty and 0: not said."""

    host: str
    user: str = ""
    port: int = 0

    @property
    def shown(self) -> str:
        """As people write it."""
        return f"{self.user}@{self.host}" if self.user else self.host


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a connection needs to know.

    Attributes:
        alias: The name that was asked for.
        host: Where to connect to.
        identities: Private keys to try, in order.
        is_only_identities: Whether keys of the agent count only if they are among the identities.
        jumps: Hosts to go through, the first one first.
        proxy_command: Connects to the host by its stdin and stdout; empty for none.
        known_hosts: Files of host keys; new keys are written to the first.
        key_alias: The name that the host's key goes by; empty for the host's own.
        connect_timeout_s: For the TCP connection.
    """

    alias: str
    host: str
    port: int
    user: str
    identities: tuple[Path, ...] = ()
    is_only_identities: bool = False
    jumps: tuple[SshTarget, ...] = ()
    proxy_command: str = ""
    known_hosts: tuple[Path, ...] = ()
    key_alias: str = ""
    connect_timeout_s: float = 10.0

    @property
    def key_name(self) -> str:
        """What the host is called in known_hosts."""
        name = self.key_alias or self.host
        return name if self.port == DEFAULT_PORT or self.key_alias else f"[{name}]:{self.port}"


def parse_target(text: str) -> SshTarget:
    """Read a target.

    Raises:
        UsageError: It can't be one.
    """
    written = text
    if text.startswith(SCHEME):
        parts = urlsplit(text)
        if parts.path.strip("/") or parts.query or parts.fragment or parts.password:
            msg = f"{written!r} has more than a user, a host and a port."
            raise UsageError(msg, hint="write it as ssh://user@host:port; a password is not kept anywhere")
        text = parts.netloc
    found = _TARGET.fullmatch(text)
    port = int(found["port"] or 0) if found else 0
    if not found or port > 65535:
        msg = f"{written!r} is no host."
        raise UsageError(msg, hint="write it as user@host, or ssh://user@host:port")
    return SshTarget(found["host"].strip("[]"), found["user"] or "", port)


def resolve(target: SshTarget) -> Settings:
    """Look up what the user's ssh settings say of a host.

    Raises:
        RunnerError: They can't be read; ssh's own words say where.
    """
    ssh = shutil.which("ssh")
    return from_ssh(target, _asked(ssh, target)) if ssh else _from_file(target)


def _asked(ssh: str, target: SshTarget) -> str:
    command = [ssh, "-G"]
    if config := os.environ.get(CONFIG_VARIABLE):
        command += ["-F", config]
    if target.user:
        command += ["-l", target.user]
    if target.port:
        command += ["-p", str(target.port)]
    try:
        done = subprocess.run(
            [*command, "--", target.host], capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"ssh -G {target.host} does not answer: {error}"
        raise RunnerError(msg, hint="look at ~/.ssh/config: a Match exec there may hang") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        msg = f"The ssh settings for {target.host} can't be read: {why}"
        raise RunnerError(msg, hint="correct that line, then try: ssh -G " + shlex.quote(target.host))
    return done.stdout


def from_ssh(target: SshTarget, text: str) -> Settings:
    """Read what ``ssh -G`` prints: a key and its value a line, some keys more than once."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value.strip())

    def one(key: str, default: str = "") -> str:
        value = values.get(key, [default])[0]
        return "" if value.lower() == "none" else value

    files = [*one("userknownhostsfile").split(), *one("globalknownhostsfile").split()]
    timeout = one("connecttimeout")
    settings = Settings(
        alias=target.shown,
        host=one("hostname", target.host),
        port=int(one("port", str(DEFAULT_PORT))),
        user=one("user", target.user),
        identities=tuple(dict.fromkeys(Path(name).expanduser() for name in values.get("identityfile", []))),
        is_only_identities=one("identitiesonly") == "yes",
        jumps=tuple(parse_target(hop) for hop in one("proxyjump").split(",") if hop),
        known_hosts=tuple(Path(name).expanduser() for name in files),
        key_alias=one("hostkeyalias"),
        connect_timeout_s=float(timeout) if timeout.isdigit() and int(timeout) else 10.0,
    )
    return replace(settings, proxy_command=_expanded(one("proxycommand"), settings))


def _from_file(target: SshTarget) -> Settings:
    """Without an ssh program: paramiko's reader, which knows neither Include nor all of Match."""
    import getpass

    import paramiko

    path = Path(os.environ.get(CONFIG_VARIABLE, "~/.ssh/config")).expanduser()
    found: dict[str, str | list[str]] = {}
    if path.exists():
        found = dict(paramiko.SSHConfig.from_path(str(path)).lookup(target.host))
    lines = [
        f"{key} {value}" for key, entry in found.items() for value in (entry if isinstance(entry, list) else [entry])
    ]
    defaults = [f"identityfile ~/.ssh/{name}" for name in ("id_rsa", "id_ecdsa", "id_ed25519")]
    lines += [] if "identityfile" in found else defaults
    lines += [] if "userknownhostsfile" in found else ["userknownhostsfile ~/.ssh/known_hosts"]
    lines += ["globalknownhostsfile /etc/ssh/ssh_known_hosts"]
    settings = from_ssh(target, "\n".join(lines))
    user = target.user or settings.user or getpass.getuser()
    return replace(settings, user=user, port=target.port or settings.port)


def _expanded(command: str, settings: Settings) -> str:
    values = {"%h": settings.host, "%p": str(settings.port), "%r": settings.user, "%n": settings.alias, "%%": "%"}
    return re.sub(r"%.", lambda found: values.get(found[0], found[0]), command)
