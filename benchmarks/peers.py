"""Other ways to have an edit served: the same app, edited and asked in the same way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks import environments, projects, servers, stats

START_TIMEOUT_S = 300
RELOAD_TIMEOUT_S = 300
STALE_AFTER_S = 3.0  # patching in the process takes a tenth of a second


@dataclass(frozen=True)
class Peer:
    """How a peer serves the project.

    Attributes:
        kind: ``restart`` or ``in-process``: whether the edit reaches the process that runs.
        command: From its interpreter and a port to the command line.
        is_post: Whether it wants POST for everything.
        is_saved_in_place: Whether it must be: it does not see a file renamed over another, as most editors save.
    """

    name: str
    kind: str
    command: Callable[[str, int], list[str]]
    note: str
    is_post: bool = False
    is_saved_in_place: bool = False


PEERS = {
    "uvicorn": Peer(
        "uvicorn",
        "restart",
        lambda python, port: [
            *(python, "-m", "uvicorn", "server:serve", "--reload", "--port", str(port), "--log-level", "warning"),
        ],
        "uvicorn --reload with watchfiles; models loaded at import",
    ),
    "bentoml": Peer(
        "bentoml",
        "restart",
        lambda python, port: [
            *(python, "-m", "bentoml", "serve", "service:Chat", "--reload", "--port", str(port)),
        ],
        "bentoml serve --reload; models loaded in the service's __init__",
        is_post=True,
    ),
    "jurigged": Peer(
        "jurigged",
        "in-process",
        lambda python, port: [python, "-m", "jurigged", "-w", ".", "server.py", str(port)],
        "jurigged patches functions in a running uvicorn; saved in place, because it misses a rename over the file",
        is_saved_in_place=True,
    ),
}


def stale_one_by_one(project: projects.Project, facts: Callable[[], dict[str, Any]]) -> list[str]:
    """Make each edit of `projects.FACT_EDITS`, and name those that are not served a while after."""
    stale: list[str] = []
    for name, edit in projects.FACT_EDITS.items():
        project.edit("facts.py", edit.pattern, edit.replacement)
        try:
            servers.wait_until(lambda name=name, edit=edit: facts()[name] == edit.expected, STALE_AFTER_S, name)
        except TimeoutError:
            stale.append(name)
    return stale


@dataclass
class PeerRun:
    """One peer, serving. Use as a context manager.

    Attributes:
        seen_s: For each edit, from the save to the first cheap answer that shows the new prompt.
        first_s: For each edit, from the save to the first full answer made with the new prompt.
    """

    peer: Peer
    python: Path
    folder: Path
    bridge: Path
    seen_s: list[float] = field(default_factory=list[float])
    first_s: list[float] = field(default_factory=list[float])
    steady_s: list[float] = field(default_factory=list[float])
    stale: list[str] | None = None
    start_s: float = 0.0

    def __enter__(self) -> Self:
        self.project = projects.chat_for_peers(self.folder / "project")
        self.project.is_saved_in_place = self.peer.is_saved_in_place
        self.port = servers.free_port()
        environment = environments.clean_environment(
            PYTHONPATH=str(self.bridge),
            BENTOML_HOME=str(self.folder / "bentoml"),
            BENTOML_DO_NOT_TRACK="True",
        )
        began = time.monotonic()
        command = self.peer.command(str(self.python), self.port)
        self._process = servers.start(command, self.project.root, environment, self.folder / "log")
        try:
            self.start_s = servers.wait_until(self._answers, START_TIMEOUT_S, self._what("first answer")) - began
        except BaseException:
            servers.stop(self._process)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        servers.stop(self._process)

    def measure_steady(self, count: int = 5) -> None:
        """Time the same request with nothing changing."""
        for _ in range(count):
            began = time.monotonic()
            self._chat()
            self.steady_s.append(time.monotonic() - began)

    def measure_edit(self, number: int) -> None:
        """Save another prompt, and wait for an answer that was made with it."""
        prompt = f"You are a helpful assistant, number {number}."
        saved = self.project.edit_prompt(prompt)
        seen = servers.wait_until(
            lambda: self._ask("/prompt", {})["prompt"] == prompt, RELOAD_TIMEOUT_S, self._what("new prompt")
        )
        servers.wait_until(lambda: self._chat()["prompt"] == prompt, RELOAD_TIMEOUT_S, self._what("new answer"))
        self.first_s.append(time.monotonic() - saved)
        self.seen_s.append(seen - saved)
        self.measure_steady(1)  # beside each edit, so that the machine's noise is in both

    def find_stale_edits(self) -> None:
        """Make edits whose effect a fresh process shows, and list those that are not served.

        A restart costs seconds, so there it is one save with all of them.
        """
        if self.peer.kind == "in-process":
            self.stale = stale_one_by_one(self.project, self._facts)
            return
        expected = {name: edit.expected for name, edit in projects.FACT_EDITS.items()}
        projects.edit_all_facts(self.project)
        with contextlib.suppress(TimeoutError):
            servers.wait_until(lambda: self._facts() == expected, RELOAD_TIMEOUT_S, self._what("new facts"))
        found = self._facts()
        self.stale = [name for name in expected if found[name] != expected[name]]

    def report(self) -> dict[str, Any]:
        """The figures of this peer."""
        steady = stats.p50(self.steady_s) or 0.0
        ready_ms = stats.in_ms([sample - steady for sample in self.first_s])
        return {
            "ready_ms_p50": stats.rounded(stats.p50(ready_ms), 1),
            "ready_ms_p95": stats.rounded(stats.p95(ready_ms), 1),
            "first_response_s_p50": stats.rounded(stats.p50(self.first_s)),
            "prompt_seen_ms_p50": stats.rounded(stats.p50(stats.in_ms(self.seen_s)), 1),
            "steady_call_s_p50": stats.rounded(stats.p50(self.steady_s)),
            "start_s": stats.rounded(self.start_s),
            "n": len(self.first_s),
            "samples_first_response_s": [round(sample, 3) for sample in self.first_s],
            "stale_edits": self.stale,
            "kind": self.peer.kind,
            "version": environments.version_in(self.python, self.peer.name),
            "note": self.peer.note,
        }

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            msg = f"{self.peer.name} ended with status {self._process.returncode}: {self._last_words()}"
            raise environments.Unavailable(msg)
        return "answer" in self._chat()

    def _facts(self) -> dict[str, Any]:
        return self._ask("/facts", {})

    def _chat(self) -> dict[str, Any]:
        return self._ask("/chat", {"message": projects.QUESTION})

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        is_get = not body and not self.peer.is_post
        return servers.request(self.port, path, None if is_get else body)

    def _what(self, awaited: str) -> str:
        return f"{self.peer.name}: {awaited}"

    def _last_words(self) -> str:
        return " / ".join((self.folder / "log").read_text(errors="replace").splitlines()[-3:])
