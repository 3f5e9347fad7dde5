# pyright: basic
"""The keys that a user can show to a host: files, certificates, an agent's. Basic type checks: paramiko has no types."""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotloop.remote_runner.ssh.questions import Questions
    from hotloop.remote_runner.ssh.settings import HostSettings

AGENT_TIMEOUT_S = 60.0  # a key there may wait for a finger
PASSPHRASE_TRIES = 3
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")


@dataclass(slots=True)
class Unlocked:
    """Keys whose passphrase was asked for: asked once, for all connections. Kept in memory only."""

    keys: dict[Path, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@frozen
class Identity:
    """A key to show.

    Attributes:
        shown: What it is called for people.
        key: paramiko's.
    """

    shown: str
    key: Any


def find(
    settings: HostSettings, agent: Agent, unlocked: Unlocked, questions: Questions, skipped: list[str]
) -> Iterator[Identity]:
    """Give keys one by one, those first that nothing has to be asked for.

    Args:
        settings: Of the host.
        agent: The user's.
        unlocked: Is read and added to.
        questions: Whoever may know passphrases.
        skipped: Gets what could not be used, and why.
    """
    held = {key.asbytes(): key for key in agent.keys}
    locked: list[Path] = []
    used: set[bytes] = set()
    for file in dict.fromkeys(settings.identity_files):
        public = public_part(file)
        if public is not None and public in held:
            used.add(public)
            yield Identity(f"{_short(file)} (by the agent)", held[public])
        elif (data := _read(file)) is None or data.startswith(_PUBLIC):
            continue
        elif is_encrypted(data) and file not in unlocked.keys:
            locked.append(file)
        else:
            yield from _of_file(settings, file, unlocked, skipped)
    if not settings.is_identities_only:
        yield from (Identity(f"the agent's {_name(key)}", key) for blob, key in held.items() if blob not in used)
    for file in locked:
        with unlocked.lock:
            if file not in unlocked.keys:
                _unlock(file, unlocked, questions, skipped)
        if file in unlocked.keys:
            yield from _of_file(settings, file, unlocked, skipped)


def is_encrypted(data: bytes) -> bool:
    """Whether a private key needs a passphrase."""
    if b"BEGIN OPENSSH PRIVATE KEY" not in data:
        return b"ENCRYPTED" in data
    body = b"".join(line for line in data.splitlines() if b"-----" not in line)
    try:
        raw = base64.b64decode(body)
    except (binascii.Error, ValueError):
        return False
    _, _, rest = raw.partition(b"openssh-key-v1\0")
    return not rest[4:].startswith(b"none")


def public_part(file: Path) -> bytes | None:
    """Give the public key that lies beside a private one, or that a file itself is; None if there is none."""
    for each in (file.with_name(file.name + ".pub"), file):
        data = _read(each)
        if data is not None and data.startswith(_PUBLIC):
            with contextlib.suppress(binascii.Error, ValueError, IndexError):
                return base64.b64decode(data.split()[1])
    return None


class Agent:
    """The user's ssh-agent, if one answers.

    Attributes:
        keys: paramiko's.
    """

    def __init__(self, path: str) -> None:
        from paramiko.agent import AgentSSH
        from paramiko.ssh_exception import SSHException

        self.keys: tuple[Any, ...] = ()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(AGENT_TIMEOUT_S)
        agent: Any = AgentSSH()
        if path:
            with contextlib.suppress(OSError, SSHException):
                self._socket.connect(path)
                agent._connect(self._socket)  # noqa: SLF001 - the public class knows SSH_AUTH_SOCK alone
                self.keys = agent.get_keys()

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()


def _of_file(settings: HostSettings, file: Path, unlocked: Unlocked, skipped: list[str]) -> Iterator[Identity]:
    """Give a key with each of its certificates, then as it is: a certificate may have run out."""
    key = unlocked.keys.get(file)
    try:
        key = key or _load(file)
    except Exception as error:  # noqa: BLE001 - the library raises what its parsers raise
        skipped.append(f"{_short(file)} can't be used here ({error}); an ssh-agent may be able to")
        return
    for certificate in (file.with_name(file.name + "-cert.pub"), *settings.certificate_files):
        if certificate.exists():
            key.public_blob = None
            with contextlib.suppress(Exception):  # it is another key's
                key.load_certificate(str(certificate))
                yield Identity(f"{_short(certificate)}", key)
    key.public_blob = None
    yield Identity(_short(file), key)


def _unlock(file: Path, unlocked: Unlocked, questions: Questions, skipped: list[str]) -> None:
    for attempt in range(PASSPHRASE_TRIES):
        again = "Wrong. " if attempt else ""
        passphrase = questions.secret(f"{again}Passphrase of {_short(file)}: ")
        if passphrase is None:
            break
        with contextlib.suppress(Exception):  # a wrong passphrase is a ValueError or an SSHException, as it comes
            unlocked.keys[file] = _load(file, passphrase)
            return
    skipped.append(f"{_short(file)} has a passphrase, and no agent holds it")


def _load(file: Path, passphrase: str | None = None) -> Any:
    from paramiko import PKey

    given: Any = passphrase.encode() if passphrase is not None else None  # said to be a str, which it can't be
    return PKey.from_path(file, given)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _name(key: Any) -> str:
    return key.comment or key.get_name()


def _short(file: Path) -> str:
    home = Path.home()
    return f"~/{file.relative_to(home)}" if file.is_relative_to(home) else str(file)
