"""The bare chain of `bare_chain.py` as a side: how much of a reload's time the machine takes whatever one does."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks import environments, servers
from benchmarks.loop_client import IDLE_S
from benchmarks.projects import Project

CHAIN = environments.BENCHMARKS / "bare_chain.py"


@dataclass
class BareChain:
    """The chain over the chat template. Use as a context manager.

    Attributes:
        ready_s: Save to the new code run, for each edit.
    """

    project: Project
    folder: Path
    python: Path
    bridge: Path
    ready_s: list[float] = field(default_factory=list[float])

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self._process = subprocess.Popen(
            [self.python, CHAIN, self.project.root, self.folder],
            env=environments.clean_environment(PYTHONPATH=str(self.bridge)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        servers.stop(self._process, patience_s=5)

    def measure_edit(self, number: int) -> None:
        """Save another prompt and wait until it was run."""
        time.sleep(IDLE_S)  # as the loop's edits: the next process is there, and the machine is quiet
        saved = self.project.edit_prompt(f"You are a helpful assistant, number {number}.")
        self.ready_s.append(float(self._read()) - saved)

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            msg = f"the bare chain ended with status {self._process.wait(5)}"
            raise RuntimeError(msg)
        return line
