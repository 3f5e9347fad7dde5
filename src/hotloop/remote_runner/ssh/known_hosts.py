"""Which key a host had before. Reads known_hosts as OpenSSH writes it; does no network I/O."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_RSA = ("rsa-sha2-512", "rsa-sha2-256")
_CA, _REVOKED = "@cert-authority", "@revoked"


class Verdict(Enum):
    """What the files say of a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"
    NEEDS_CA = "only by an authority"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Attributes:
        marker: ``@cert-authority``, ``@revoked`` or empty.
        names: As written: patterns parted by commas, or one hashed name.
    """

    file: Path
    number: int
    marker: str
    names: str
    key_type: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """The verdict, and the line that decided; None for an unknown key."""

    verdict: Verdict
    line: Line | None = None


def read(files: Iterable[Path]) -> list[Line]:
    """Read all lines that can be read; what OpenSSH would skip is skipped."""
    lines: list[Line] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        lines += [
            line
            for number, line in enumerate(map(_parsed, text.splitlines()), 1)
            if line
            for line in [_at(line, file, number)]
        ]
    return lines


def _parsed(text: str) -> tuple[str, str, str, bytes] | None:
    words = text.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if len(words) < 3:
        return None
    try:
        return marker, words[0], words[1], base64.b64decode(words[2], validate=True)
    except binascii.Error:
        return None


def _at(parsed: tuple[str, str, str, bytes], file: Path, number: int) -> Line:
    return Line(file, number, *parsed)


def judge(lines: Iterable[Line], name: str, key_type: str, key: bytes) -> Found:
    """Say what the lines say of the key that a host showed.

    Args:
        lines: From `read`.
        name: The host's; with a port as ``[host]:port``.
        key_type: Such as ``ssh-ed25519``.
        key: The public key's bytes.
    """
    own = [line for line in lines if matches(line.names, name)]
    for line in own:
        if line.marker == _REVOKED and line.key == key:
            return Found(Verdict.REVOKED, line)
    plain = [line for line in own if not line.marker]
    for line in plain:
        if line.key == key:
            return Found(Verdict.KNOWN, line)
    # A key of another type than those that are known is as unexpected as another key of the same type.
    changed = next((line for line in plain if line.key_type == key_type), plain[0] if plain else None)
    if changed is not None:
        return Found(Verdict.CHANGED, changed)
    authority = next((line for line in own if line.marker == _CA), None)
    return Found(Verdict.NEEDS_CA, authority) if authority else Found(Verdict.UNKNOWN)


def known_types(lines: Iterable[Line], name: str) -> list[str]:
    """The key algorithms to ask a host for first: those that it is known by."""
    types: dict[str, None] = {}
    for line in lines:
        if not line.marker and matches(line.names, name):
            types.update(dict.fromkeys(_RSA if line.key_type == "ssh-rsa" else (line.key_type,)))
    return list(types)


def matches(names: str, name: str) -> bool:
    """Whether a line is about a host: a hashed name, or patterns of which none that begins with ``!`` fits."""
    if names.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in names[3:].split("|", 1))
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
    is_named = False
    for pattern in names.split(","):
        plain = pattern.removeprefix("!").lower()
        # Brackets stand for themselves: they part a host from its port.
        if fnmatch.fnmatchcase(name.lower(), plain.replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            is_named = True
    return is_named


def fingerprint(key: bytes) -> str:
    """Name a key as ssh shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def remember(file: Path, name: str, key_type: str, key: bytes) -> None:
    """Write a host's key at the end of a file, which is made if need be."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = file.read_bytes() if file.exists() else b""
    line = f"{name} {key_type} {base64.b64encode(key).decode()}\n".encode()
    if not file.exists():
        file.touch(mode=0o600)
    with file.open("ab") as out:
        out.write((b"" if not before or before.endswith(b"\n") else b"\n") + line)
