"""Which client a session belongs to, and who may have it next. Kept on disk: an agent that was killed still knows."""

from __future__ import annotations

import json
import time
from dataclasses import field
from typing import TYPE_CHECKING

from hotloop.errors import RunnerError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path


@frozen
class Holder:
    """A client.

    Attributes:
        who: ``user@host``.
        pid: On its own machine.
        epoch: Grows with each stream of this client.
        since_s: When it came, CLOCK_MONOTONIC.
    """

    client_id: str
    who: str
    pid: int
    epoch: int = 0
    since_s: float = field(default_factory=time.monotonic)


class HeldError(RunnerError):
    """Another client has the session, or has had it since.

    Attributes:
        holder: That client.
        is_held: Whether it is still there, so that the session can be taken from it.
    """

    def __init__(self, message: str, *, hint: str, holder: Holder, is_held: bool) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder
        self.is_held = is_held


class Holding:
    """The holder of one session, and the decision who is next."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "holder.json"
        self.holder: Holder | None = _read(self._path)

    def take(self, holder: Holder, *, is_held: bool, resumes: bool, is_taking: bool) -> bool:
        """Make a client the holder.

        Args:
            holder: The client.
            is_held: Whether the present holder is connected.
            resumes: The client had the session before.
            is_taking: It takes the session from whoever holds it.

        Returns:
            Whether it was the holder already.

        Raises:
            HeldError: It can't be.
        """
        present = self.holder
        is_same = present is not None and present.client_id == holder.client_id
        if present is not None:
            _check(present, holder, is_same=is_same, is_held=is_held, is_late=resumes, is_taking=is_taking)
        if is_same and present is not None:
            holder = Holder(holder.client_id, holder.who, holder.pid, holder.epoch, present.since_s)
        self.holder = holder
        if not is_same:
            self._path.write_text(json.dumps({"client_id": holder.client_id, "who": holder.who, "pid": holder.pid}))
        return is_same


def _check(present: Holder, holder: Holder, *, is_same: bool, is_held: bool, is_late: bool, is_taking: bool) -> None:
    if is_same:
        if holder.epoch <= present.epoch:
            msg = "A newer connection of this client holds the session."
            raise HeldError(msg, hint="", holder=present, is_held=False)
    elif is_late:  # its count of changesets is not the workspace's any more
        msg = "Another client took over this session."
        raise HeldError(msg, hint="start again to go on from here", holder=present, is_held=False)
    elif is_held and not is_taking:
        msg = "Another client holds this session."
        raise HeldError(msg, hint="stop it there, or take the session over with --take", holder=present, is_held=True)


def _read(path: Path) -> Holder | None:
    try:
        data = json.loads(path.read_text())
        return Holder(data["client_id"], data["who"], data["pid"])
    except (OSError, ValueError, KeyError, TypeError):  # no client yet, or a write that a crash cut short
        return None
