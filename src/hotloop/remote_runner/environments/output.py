"""What uv prints, as progress: which phase it is in and how far. Pure; lines that say nothing of it change nothing.

Written against uv 0.8 to 0.13, whose lines for people are its only ones. An unknown line costs an update, never a build.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from hotloop.frozen import frozen

Phase = Literal["wait", "python", "resolve", "download", "build", "install"]

_RESOLVED = re.compile(r"(?:Resolved|Audited|Checked) (\d+) packages? in ")
_PREPARED = re.compile(r"Prepared (\d+) packages? in ")
_INSTALLED = re.compile(r"Installed (\d+) packages? in ")
_DOWNLOADING = re.compile(r"\s*Downloading (\S+) \(([\d.]+) ?([KMGT]?i?B)\)")
_DOWNLOADED = re.compile(r"\s*Downloaded (\S+)")
_BUILDING = re.compile(r"\s*(?:Building|Updating) (\S+)")
_BUILT = re.compile(r"\s*(?:Built|Updated) (\S+)")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "KB": 10**3, "MB": 10**6, "GB": 10**9}


@frozen
class Progress:
    """How far a build is.

    Attributes:
        done: Packages of this phase that are done.
        total: Packages of this phase, as far as they are known: uv names only downloads of more than 1 MiB.
        size_bytes: Of the downloads that were named.
        doing: What is being downloaded or built; empty if nothing that takes long.
    """

    phase: Phase
    done: int = 0
    total: int = 0
    size_bytes: int = 0
    doing: tuple[str, ...] = ()


def heard(progress: Progress, line: str) -> Progress:
    """Take a line into account."""
    if found := _RESOLVED.match(line):
        return replace(progress, done=int(found[1]), total=int(found[1])) if progress.phase == "resolve" else progress
    if found := _DOWNLOADING.match(line):
        size_bytes = int(float(found[2]) * _UNITS.get(found[3], 1))
        return _begun(progress, "download", found[1], size_bytes)
    if found := _BUILDING.match(line):
        return _begun(progress, "build", found[1], 0)
    if found := _DOWNLOADED.match(line) or _BUILT.match(line):
        return _ended(progress, found[1])
    if found := _PREPARED.match(line):
        return Progress("install", 0, int(found[1]), progress.size_bytes)
    if found := _INSTALLED.match(line):
        return Progress("install", int(found[1]), int(found[1]), progress.size_bytes)
    return progress


def _begun(progress: Progress, phase: Phase, name: str, size_bytes: int) -> Progress:
    if progress.phase not in {"download", "build"}:
        progress = Progress(phase)
    return replace(
        progress,
        phase=phase,
        total=progress.total + 1,
        size_bytes=progress.size_bytes + size_bytes,
        doing=(*progress.doing, name),
    )


def _ended(progress: Progress, name: str) -> Progress:
    return replace(progress, done=progress.done + 1, doing=tuple(each for each in progress.doing if each != name))
