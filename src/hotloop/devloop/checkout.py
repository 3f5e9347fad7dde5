"""A project's files as a commit has them, in a folder of their own. The repository is read and not changed.

No worktree is added: that would be noted in the repository, run its hooks, and stay there after a kill. An index outside of it
leaves nothing but the folder.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hotloop.errors import HotloopError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator


def resolve(project: Path, revision: str) -> str:
    """Give the whole name of the commit that a revision means.

    Raises:
        UsageError: There is none.
    """
    done = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if done.returncode == 0:
        return done.stdout.strip()
    inside = _git(project, "rev-parse", "--git-dir")
    if inside.returncode:
        msg = f"{project} is in no git repository, so {revision!r} can't be one of its revisions"
        raise UsageError(msg, hint="give the address of a server instead: --compare http://127.0.0.1:8001")
    msg = f"{revision!r} is no revision of the repository of {project}, and no address"
    raise UsageError(msg, hint="such as --compare HEAD~1, --compare main, --compare http://127.0.0.1:8001")


@contextmanager
def checked_out(project: Path, commit: str) -> Generator[Path]:
    """Write a commit's files to a temporary folder, and give the project's own within it.

    Raises:
        UsageError: The commit does not have the project's folder.
        HotloopError: Git can't write them.
    """
    with tempfile.TemporaryDirectory(prefix="hotloop-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        index = {"GIT_INDEX_FILE": str(folder / "index")}
        _must(_git(project, "read-tree", commit, **index), commit)
        _must(_git(project, "checkout-index", "--all", f"--prefix={folder / 'tree'}/", **index), commit)
        within = folder / "tree" / _must(_git(project, "rev-parse", "--show-prefix"), commit)
        if not within.is_dir():
            msg = f"the revision {commit[:10]} does not have {project.name}: the folder came later"
            raise UsageError(msg, hint=f"see its commits with: git log -- {project}")
        yield within


def _git(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", "-C", str(project), *arguments], env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="surrogateescape", check=False,
        )  # fmt: skip
    except FileNotFoundError:
        msg = "there is no git, so no revision can be compared with"
        raise UsageError(msg, hint="install git, or give the address of a server") from None


def _must(done: subprocess.CompletedProcess[str], commit: str) -> str:
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it printed nothing"]
        msg = f"git can't write the files of {commit[:10]}: {said[-1]}"
        raise HotloopError(msg, hint="see that the disk has room, and that git fsck is content")
    return done.stdout.strip("\n")
