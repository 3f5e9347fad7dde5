"""hotloop's own source as a runner gets it: exactly this process's, also of an editable installation."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

import hotloop
from hotloop.frozen import frozen

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


@frozen
class Source:
    """Files by name.

    Attributes:
        digest: sha256 of names and contents, hexadecimal.
    """

    contents: dict[str, bytes]
    digest: str

    def archive(self) -> bytes:
        """Pack them: a zip with the same bytes for the same files."""
        import io  # the agent needs none of these
        import zipfile

        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.contents.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


@cache
def own_source() -> Source:
    """Read what a runner needs of this process's hotloop; names begin with ``hotloop/``."""
    package = Path(hotloop.__path__[0])
    contents = {f"hotloop/{name}": (package / name).read_bytes() for name in sorted(_files(package))}
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{len(name)} {len(content)} {name}".encode() + content)
    return Source(contents, digest.hexdigest())


def requirements() -> list[str]:
    """Pin what a runner needs to the versions that this process runs with."""
    import importlib.metadata

    return [f"{name}=={importlib.metadata.version(name)}" for name in RUNNER_PACKAGES]


def _files(package: Path) -> list[str]:
    """Name them by their paths below the package; quick, since each start of a session waits for it."""
    found: list[str] = []
    for folder, folders, names in os.walk(package):
        below = os.path.relpath(folder, package).replace(os.sep, "/")
        left_out = _LEFT_OUT if below == "." else frozenset[str]()
        folders[:] = [name for name in folders if name != "__pycache__" and name not in left_out]
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in names if not name.endswith((".pyc", ".pyo"))]
    return found
