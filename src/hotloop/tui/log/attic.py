"""Where lines go that memory has no room for: a file that nobody else sees, and that is gone with the process."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.log import painting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from hotloop.tui.log.buffer import Record

MAX_BYTES = 200_000_000  # an hour of 500 lines a second


class Attic:
    """The older lines of a session, as they are read in a pager.

    Attributes:
        count: How many are in it.
        num_lost: How many are not, because the disk is full or the file as large as it may be.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Prepare; the file is made for the first line."""
        self.count = 0
        self.num_lost = 0
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._file: IO[bytes] | None = None

    def keep(self, records: Iterable[Record]) -> None:
        """Add lines at the end."""
        for record in records:
            if self._write(f"{painting.written(record)}\n".encode(errors="replace")):
                self.count += 1
            else:
                self.num_lost += 1

    def _write(self, line: bytes) -> bool:
        if self.num_lost or self._size_bytes + len(line) > self._max_bytes:
            return False  # once one is lost, so are those behind it: a gap would look as if nothing had happened
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="hotloop-log-")  # noqa: SIM115  as long as this
            self._file.write(line)
        except OSError:
            return False
        self._size_bytes += len(line)
        return True

    def copy_to(self, out: IO[bytes]) -> None:
        """Write all of them to a file.

        Raises:
            OSError: There is no room for them.
        """
        if self._file is not None:
            self._file.seek(0)
            shutil.copyfileobj(self._file, out)
            self._file.seek(0, os.SEEK_END)
        if self.num_lost:
            out.write(f"{words.count(self.num_lost, 'line')} were here that there was no room for\n".encode())
