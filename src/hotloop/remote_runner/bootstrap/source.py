"""hotloop's own source as a runner gets it: exactly this process's, also of an editable installation."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hotloop

# The laptop's side: what is below it never imports it (import-linter sees to that).
_LEFT_OUT = frozenset({"cli", "tui", "templates", "devloop"})

# What the agent and the runtime import. The rest of pyproject's dependencies are the laptop's.
RUNNER_PACKAGES = (
    "grpcio",
    "protobuf",
    "grpcio-health-checking",
    "grpcio-reflection",
    "httptools",
    "uvloop",
    "zstandard",
    "uv",
)


@dataclass(frozen=True, slots=True)
class Source:
    """Files by name.

    Attributes:
        digest: sha256 of names and contents, hexadecimal.
    """

    contents: dict[str, bytes]
    digest: str

    def archive(self) -> bytes:
        """Pack them: a zip with the same bytes for the same files."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.contents.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


@cache
def own_source() -> Source:
    """Read what a runner needs of this process's hotloop; names begin with ``hotloop/``."""
    package = Path(hotloop.__path__[0])
    names = sorted((file.relative_to(package).as_posix(), file) for file in _files(package))
    contents = {f"hotloop/{name}": file.read_bytes() for name, file in names}
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{len(name)} {len(content)} {name}".encode() + content)
    return Source(contents, digest.hexdigest())


def requirements() -> list[str]:
    """Pin what a runner needs to the versions that this process runs with."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in RUNNER_PACKAGES]


def _files(package: Path) -> list[Path]:
    return [
        file
        for file in package.rglob("*")
        if file.is_file()
        and file.suffix not in {".pyc", ".pyo"}
        and "__pycache__" not in file.parts
        and file.relative_to(package).parts[0] not in _LEFT_OUT
    ]
