"""What of a project is perhaps sent without being meant: found before its first sync, told, and waited for by nothing. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from hotloop.changes import Put
from hotloop.frozen import frozen
from hotloop.remote_runner.tree import ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.remote_runner.tree import Entry

LARGE_BYTES = 100_000_000
MANY_FILES = 20_000
NUM_NAMED = 3  # large files; of more their number is told
NUM_FOLDERS = 2  # with the most files
_PACKAGES = ("site-packages", "node_modules")


@frozen
class Finding:
    """Something large to be sent.

    Attributes:
        text: What, how many, how large.
        lines: What to write to ``.hotloopignore`` to leave it out.
    """

    text: str
    lines: tuple[str, ...]

    @property
    def hint(self) -> str:
        """How to leave it out."""
        each = ", a line each" if len(self.lines) > 1 else ""
        return f"to leave it out, write to .hotloopignore{each}: {'  '.join(self.lines)}"


def unintended(entries: Iterable[Entry]) -> list[Finding]:
    """Find installed packages, files above `LARGE_BYTES`, and more than `MANY_FILES` files; each file counts for one of them."""
    files = [entry for entry in entries if isinstance(entry, Put)]
    packages: defaultdict[str, list[Put]] = defaultdict(list)
    for file in files:
        packages[_packages_of(file.path)].append(file)
    rest = packages.pop("", [])
    large = sorted((file for file in rest if file.size_bytes > LARGE_BYTES), key=lambda file: -file.size_bytes)
    found = [_of_packages(folder, inside) for folder, inside in sorted(packages.items())]
    if large:
        found.append(_of_large(large))
    if len(rest) > MANY_FILES:
        found.append(_of_many(rest))
    return found


def _packages_of(path: str) -> str:
    """The outermost folder of installed packages around a path; empty if there is none."""
    return next((above for above in reversed([*ancestors(path)]) if above.rpartition("/")[2] in _PACKAGES), "")


def _of_packages(folder: str, files: Sequence[Put]) -> Finding:
    return Finding(
        f"{folder} holds installed packages, and is synced: {_amount(files)}", (_line(folder, is_folder=True),)
    )


def _of_large(files: Sequence[Put]) -> Finding:
    named = ", ".join(f"{file.path} ({_size([file])})" for file in files[:NUM_NAMED])
    rest = files[NUM_NAMED:]
    more = f" and {len(rest):,} more ({_size(rest)})" if rest else ""
    return Finding(f"large files are synced: {named}{more}", tuple(_line(file.path) for file in files[:NUM_NAMED]))


def _of_many(files: Sequence[Put]) -> Finding:
    folders = Counter(file.path.partition("/")[0] for file in files if "/" in file.path).most_common(NUM_FOLDERS)
    most = ", ".join(f"{folder} has {count:,}" for folder, count in folders)
    text = f"{_amount(files)} are synced" + (f"; {most}" if most else "")
    return Finding(text, tuple(_line(folder, is_folder=True) for folder, _ in folders) or ("*.SUFFIX",))


def _amount(files: Sequence[Put]) -> str:
    return f"{len(files):,} {'file' if len(files) == 1 else 'files'}, {_size(files)}"


def _size(files: Iterable[Put]) -> str:
    size_mb = sum(file.size_bytes for file in files) / 1e6
    return f"{size_mb:,.0f} MB" if size_mb < 1000 else f"{size_mb / 1000:,.1f} GB"


def _line(path: str, *, is_folder: bool = False) -> str:
    """The rule that names one path, whatever characters it has."""
    escaped = "".join(f"\\{char}" if char in "\\*?[" else char for char in path)
    if escaped.endswith(" "):
        escaped = f"{escaped[:-1]}\\ "
    return f"/{escaped}{'/' if is_folder else ''}"
