# pyright: basic
"""What ssh's own configuration says of a host: asked of the program ``ssh`` itself, which knows Include and Match.

Basic type checks: paramiko, which reads it where there is no such program, has no types.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from hotloop.errors import RunnerError, UsageError
from hotloop.frozen import frozen
from hotloop.remote_runner.ssh.target import SshTarget, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ASK_TIMEOUT_S = 20.0  # `Match exec` may run anything
CONNECT_TIMEOUT_S = 10.0
CONFIG_VARIABLE = "HOTLOOP_SSH_CONFIG"  # names a file to read in place of ~/.ssh/config
DEFAULT_PORT = 22
_KEY_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")
_GLOBAL_CONFIG = Path("/etc/ssh/ssh_config")


@frozen
class HostSettings:
    """How a host is reached.

    Attributes:
        target: What was named.
        host: What is connected to.
        identity_files: Private keys to try, in order; some may not be there.
        certificate_files: Certificates for keys, beside those that lie next to their key.
        is_identities_only: Try no key of the agent's but those.
        agent: Socket of the agent; empty for none.
        jumps: Hosts to go through, first to last.
        proxy_command: What to run for a connection instead of opening one; empty for none.
        user_known_hosts: The first is added to.
        key_alias: Under which name its key is known; empty for its own.
        is_asking: Whether an unknown key may be accepted by the user.
        is_hashing: Whether names are hidden in what is added to known_hosts.
    """

    target: SshTarget
    host: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    is_identities_only: bool = False
    agent: str = ""
    jumps: tuple[SshTarget, ...] = ()
    proxy_command: str = ""
    user_known_hosts: tuple[Path, ...] = ()
    global_known_hosts: tuple[Path, ...] = ()
    key_alias: str = ""
    is_asking: bool = True
    is_hashing: bool = False
    connect_timeout_s: float = CONNECT_TIMEOUT_S

    @property
    def known_as(self) -> str:
        """Its name in known_hosts."""
        if self.key_alias:
            return self.key_alias.lower()
        host = self.host.lower()
        return host if self.port == DEFAULT_PORT else f"[{host}]:{self.port}"

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.host} port {self.port}"


def resolve(target: SshTarget, config: Path | None = None) -> HostSettings:
    """Say how a target is reached. Blocks.

    Args:
        target: What was named.
        config: A file to read in place of ``~/.ssh/config``.

    Raises:
        UsageError: The configuration is wrong.
        RunnerError: It can't be read in time.
    """
    config = config or _own_config()
    words = _ask_ssh(target, config) if shutil.which("ssh") else _ask_paramiko(target, config)
    return from_words(target, words)


def from_words(target: SshTarget, words: Mapping[str, Sequence[str]]) -> HostSettings:
    """Make settings of the values of each keyword, keywords in lower case. Does no I/O but naming homes.

    Raises:
        UsageError: A value can't be used.
    """

    def one(name: str, default: str = "") -> str:
        value = words[name][0] if words.get(name) else default
        return "" if value.lower() == "none" else value

    host = one("hostname", target.host)
    port, user = target.port or int(one("port") or DEFAULT_PORT), target.user or one("user") or getpass.getuser()
    tokens = {
        "%": "%", "h": host, "p": str(port), "r": user, "n": target.host, "k": one("hostkeyalias") or target.host,
        "d": str(Path.home()), "u": getpass.getuser(), "i": str(os.getuid()),
    }  # fmt: skip

    def files(names: Iterable[str]) -> tuple[Path, ...]:
        return tuple(Path(expand(name, tokens)).expanduser() for name in names if name.lower() != "none")

    timeout = one("connecttimeout")
    return HostSettings(
        target=target,
        host=host.replace("%h", target.host),
        port=port,
        user=user,
        identity_files=files(words.get("identityfile") or [f"~/.ssh/{name}" for name in _KEY_NAMES]),
        certificate_files=files(words.get("certificatefile", ())),
        is_identities_only=one("identitiesonly") == "yes",
        agent=_agent(one("identityagent", "SSH_AUTH_SOCK"), tokens),
        jumps=tuple(parse(jump) for jump in one("proxyjump").split(",") if jump),
        proxy_command=expand(one("proxycommand"), tokens),
        user_known_hosts=files(one("userknownhostsfile", "~/.ssh/known_hosts").split()),
        global_known_hosts=files(one("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()),
        key_alias=one("hostkeyalias"),
        is_asking=one("stricthostkeychecking", "ask") not in {"yes", "true"},
        is_hashing=one("hashknownhosts") == "yes",
        connect_timeout_s=float(timeout) if timeout.isdecimal() and int(timeout) else CONNECT_TIMEOUT_S,
    )


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """Put values in the place of ``%h`` and the like; what is not known stays."""
    first, *parts = text.replace("%%", "\0").split("%")
    filled = first + "".join(tokens[part[0]] + part[1:] if part and part[0] in tokens else f"%{part}" for part in parts)
    return filled.replace("\0", "%")


def _agent(named: str, tokens: Mapping[str, str]) -> str:
    if named == "SSH_AUTH_SOCK":
        return os.environ.get(named, "")
    if named.startswith("$"):
        return os.environ.get(named[1:].strip("{}"), "")
    return str(Path(expand(named, tokens)).expanduser()) if named else ""


def _own_config() -> Path | None:
    """Name the file that was asked for, or that of a home that is not the account's: ssh itself does not look at ``$HOME``."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named).expanduser()
    file = Path.home() / ".ssh" / "config"
    return file if str(Path.home()) != pwd.getpwuid(os.getuid()).pw_dir and file.exists() else None


def _ask_ssh(target: SshTarget, config: Path | None) -> Mapping[str, Sequence[str]]:
    command = ["ssh", "-G", "-T"]
    command += ["-F", str(config)] if config else []
    command += ["-p", str(target.port)] if target.port else []
    command += ["-l", target.user] if target.user else []
    try:
        done = subprocess.run(
            [*command, "--", target.host],
            capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        msg = f"ssh did not read its configuration for {target.host} within {ASK_TIMEOUT_S:.0f} s."
        raise RunnerError(msg, hint="look for a Match exec in ~/.ssh/config that does not end") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        msg = f"ssh refuses its configuration: {lines[0]}"
        raise UsageError(msg, hint=f"correct it, then try: ssh -G {target.host}")
    words: dict[str, list[str]] = defaultdict(list)
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        words[name.lower()].append(value)
    return words


def _ask_paramiko(target: SshTarget, config: Path | None) -> Mapping[str, Sequence[str]]:
    import paramiko

    found = paramiko.SSHConfig()
    for file in (config or Path.home() / ".ssh" / "config", _GLOBAL_CONFIG):
        try:
            with file.open() as text:
                found.parse(text)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, paramiko.ConfigParseError) as error:
            msg = f"{file} can't be read: {error}"
            raise UsageError(msg, hint="correct it, or install the program ssh, which reads all of it") from error
    values = found.lookup(target.host)
    return {name: value if isinstance(value, list) else [value] for name, value in values.items()}
