"""What a user should know that no outcome says: files that are not synced, or should not be, and time that nothing explains."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from hotloop.devloop import shared_disk, timeline, unintended
from hotloop.devloop.watch import HOLD_CAP_S
from hotloop.events import Notice

if TYPE_CHECKING:
    from hotloop.devloop.ignore import Ignore
    from hotloop.devloop.index import Index
    from hotloop.events import Iteration


class Findings:
    """Words what was found as notices."""

    def __init__(self, index: Index, ignore: Ignore) -> None:
        self._index = index
        self._ignore = ignore
        self._said: set[str] = set()
        self._is_unexplained_said = False

    def unsynced(self) -> list[Notice]:
        """The files that can't be synced, each once."""
        new = {path: why for path, why in self._index.problems.items() if path not in self._said}
        self._said.update(new)
        hint = "list it in .hotloopignore to hide this"
        return [_notice(f"file:{path}", f"{path} is not synced: {why}", hint) for path, why in new.items()]

    def secrets(self) -> list[Notice]:
        """The files that are kept here since they look like secrets."""
        names = self._ignore.withheld_secrets()
        if not names:
            return []
        hint = f"to send one, write it to .hotloopignore with a !: !{names[0]}"
        return [_notice("secrets", f"not synced, they look like secrets: {', '.join(names)}", hint)]

    def unintended(self) -> list[Notice]:
        """What is large and probably not meant to be sent."""
        found = unintended.unintended(self._index.entries())
        return [_notice(f"large:{number}", finding.text, finding.hint) for number, finding in enumerate(found, 1)]

    def shared_disk(self) -> list[Notice]:
        """That the project is where the system does not tell of all that happens."""
        kind = shared_disk.kind_of(self._index.root)
        if not kind:
            return []
        seen = "their saves are seen within seconds, this one's at once"
        text = f"the project is on a disk that other machines may write to ({kind}): {seen}"
        hint = "to see them at once, serve from the machine that has the editor: dev serve --on HOST"
        return [_notice("disk", text, hint)]

    def left_lock(self, lock: str) -> Notice:
        """That git has a lock for long: saves were kept back while it might change files."""
        text = f"saves waited {HOLD_CAP_S:.0f} s for git, which has {lock}; they go on without it"
        return _notice("git", text, f"if no git runs there, remove it: rm {shlex.quote(lock)}")

    def unexplained(self, iteration: Iteration) -> list[Notice]:
        """That much of an iteration's time is nobody's: said once, since it is ours to mend."""
        ratio = timeline.other_ratio(iteration.phases_s)
        if self._is_unexplained_said or not iteration.number or ratio <= timeline.MAX_OTHER_RATIO:
            return []
        self._is_unexplained_said = True
        text = f"nothing explains {ratio:.0%} of the time that #{iteration.number} took: a message of the runner's is missing"
        return [_notice("timeline", text, "please report it, with what dev explain --json prints")]


def _notice(key: str, text: str, hint: str) -> Notice:
    return Notice(time.monotonic(), key, text, hint)
