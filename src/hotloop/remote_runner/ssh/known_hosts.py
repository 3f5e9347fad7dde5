"""Which host keys are known: known_hosts as OpenSSH has it. Judging does no I/O."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import secrets
from enum import Enum
from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_HASHED = "|1|"
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


class Verdict(Enum):
    """What is known of a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"
    ONLY_CERTIFIED = "only certified"


@frozen
class Line:
    """A line of known_hosts.

    Attributes:
        number: Counted from 1.
        marker: ``@cert-authority``, ``@revoked`` or empty.
        names: Patterns, or one hash.
        key: As it is on the wire.
    """

    file: Path
    number: int
    marker: str
    names: tuple[str, ...]
    key_type: str
    key: bytes

    @property
    def place(self) -> str:
        """For people: ``/home/me/.ssh/known_hosts:12``."""
        return f"{self.file}:{self.number}"

    def is_about(self, name: str) -> bool:
        """Whether it is about a host: ``host`` or ``[host]:port``."""
        if any(pattern[:1] == "!" and _matches(pattern[1:], name) for pattern in self.names):
            return False
        return any(_matches(pattern, name) for pattern in self.names)


def read(files: Iterable[Path]) -> list[Line]:
    """Read files, in order; those that are not there hold nothing."""
    lines: list[Line] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        lines += parse(file, text)
    return lines


def parse(file: Path, text: str) -> list[Line]:
    """Read a file's text; what is no line of known_hosts is left out."""
    lines: list[Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        try:
            key = base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        lines.append(Line(file, number, marker, tuple(words[0].split(",")), words[1], key))
    return lines


def judge(lines: Sequence[Line], name: str, key: bytes, *, other_name: str = "") -> tuple[Verdict, Line | None]:
    """Say what is known of a host's key, and from which line.

    A host that is known by a key of another type only has changed: whoever stands in between could offer just that type.

    Args:
        lines: All that is known.
        name: The host's.
        key: What it showed.
        other_name: Counts as well if this very key is known by it: a host without its port.
    """
    about = [line for line in lines if line.is_about(name)]
    plain = [line for line in about if not line.marker]
    same = [line for line in about if line.key == key]
    if revoked := [line for line in same if line.marker == "@revoked"]:
        return Verdict.REVOKED, revoked[0]
    if known := [line for line in same if not line.marker]:
        return Verdict.KNOWN, known[0]
    if plain:
        key_type = type_of(key)
        return Verdict.CHANGED, next((line for line in plain if line.key_type == key_type), plain[0])
    if certified := [line for line in about if line.marker == "@cert-authority"]:
        return Verdict.ONLY_CERTIFIED, certified[0]
    if other_name and (found := judge(lines, other_name, key))[0] in {Verdict.KNOWN, Verdict.REVOKED}:
        return found
    return Verdict.UNKNOWN, None


def algorithms_first(lines: Sequence[Line], names: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Order host key algorithms so that the host shows a key that is known, if it has one."""
    types = {line.key_type for line in lines if not line.marker and any(line.is_about(name) for name in names)}
    known = [each for each in usual if each in types or (each in _RSA and "ssh-rsa" in types)]
    return [*known, *(each for each in usual if each not in known)]


def add(file: Path, name: str, key: bytes, *, is_hashing: bool = False) -> None:
    """Add a host's key to a file.

    Raises:
        OSError: It can't be written.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(fd, "r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 1))
        gap = b"" if opened.read(1) in {b"", b"\n"} else b"\n"
        shown = _hash(name, secrets.token_bytes(20)) if is_hashing else name
        opened.write(gap + f"{shown} {type_of(key)} {base64.b64encode(key).decode()}\n".encode())


def fingerprint(key: bytes) -> str:
    """Write a key as ``ssh`` and ``ssh-keygen -l`` do: ``SHA256:...``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def type_of(key: bytes) -> str:
    """Read a key's type from it: ``ssh-ed25519``."""
    size = int.from_bytes(key[:4])
    return key[4 : 4 + size].decode("ascii", "replace")


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith(_HASHED):
        try:
            salt = base64.b64decode(pattern.split("|")[2])
        except (binascii.Error, ValueError, IndexError):
            return False
        return hmac.compare_digest(_hash(name, salt), pattern)
    quoted = pattern.lower().replace("[", "[[]")  # the brackets around a host with a port are themselves
    return fnmatch.fnmatchcase(name, quoted)


def _hash(name: str, salt: bytes) -> str:
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"{_HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
