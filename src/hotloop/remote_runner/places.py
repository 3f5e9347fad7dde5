"""Where the agent keeps things inside the state folder. Knows no gRPC."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from hotloop.errors import RunnerError

ALREADY_RUNS_EXIT_CODE = 3
PROJECT_ID = re.compile(r"[0-9a-f]{8,64}")
_MAX_SOCKET_PATH_BYTES = 100  # sun_path has 108 on Linux, 104 on macOS


def agent_folder(state: Path) -> Path:
    """The folder of the agent itself: its lock, its log."""
    return state / "agent"


def workspace_folder(state: Path, project_id: str) -> Path:
    """The folder of one project's session."""
    return state / "sessions" / project_id


def runtime_folder(session: Path) -> Path:
    """Where a session's runtime keeps things, from the session's folder."""
    return session / "runtime"


def note_python(runtime: Path, python: str) -> None:
    """Remember which interpreter runs a session's app, for the commands that are run beside it."""
    (runtime / "python").write_text(python, encoding="utf-8")


def noted_python(runtime: Path) -> Path | None:
    """The interpreter that ran a session's app last; None if none did."""
    try:
        noted = (runtime / "python").read_text(encoding="utf-8")
    except OSError:
        return None
    return Path(noted) if noted else None


def log_path(state: Path) -> Path:
    """What the agent writes to stderr."""
    return agent_folder(state) / "agent.log"


def socket_path(state: Path) -> Path:
    """The agent's socket: in the state folder, or in a private temporary one if the path would be too long.

    Raises:
        RunnerError: The folder belongs to another user.
    """
    usual = agent_folder(state) / "agent.sock"
    if len(os.fsencode(usual)) <= _MAX_SOCKET_PATH_BYTES:
        return usual
    name = hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:12]
    return make_private(Path(tempfile.gettempdir()) / f"hotloop-{os.getuid()}-{name}") / "agent.sock"


def make_private(folder: Path) -> Path:
    """Make a folder that only this user can enter.

    Raises:
        RunnerError: It is there, and it is another user's or a link.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        msg = f"{folder} is not a folder of this user."
        raise RunnerError(msg, hint="set HOTLOOP_STATE_DIR to a folder of your own")
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder
