"""hotloop measured from outside, with the same requests as the peers: no event of its own is trusted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Self

from benchmarks import projects, servers, stats
from benchmarks.loop_client import Loop


@dataclass
class LoopAsPeer:
    """A loop over the chat template without its probe. Use as a context manager.

    Attributes:
        stale: Edits of `facts.py` that were not served.
        needless_loads: Edits of `facts.py` that loaded a model, though no loader uses that file.
    """

    loop: Loop
    seen_s: list[float] = field(default_factory=list[float])
    first_s: list[float] = field(default_factory=list[float])
    steady_s: list[float] = field(default_factory=list[float])
    stale: list[str] | None = None
    needless_loads: list[str] = field(default_factory=list[str])

    def __enter__(self) -> Self:
        self.loop.__enter__()
        try:
            self._chat()  # the first call of a process is slower
            self._measure_steady(5)
        except BaseException:
            self.loop.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.__exit__()

    def measure_edit(self, number: int) -> None:
        """Save another prompt, ask until its generation serves, then wait for a full answer of it."""
        before = self._generation()

        def save_and_ask() -> float:
            saved = self.loop.project.edit_prompt(f"You are a helpful assistant, number {number}.")
            seen = servers.wait_until(lambda: self._generation() > before, 60, "hotloop: new generation")
            self._chat()
            self.first_s.append(time.monotonic() - saved)
            self.seen_s.append(seen - saved)
            return saved

        self.loop.measure(save_and_ask)
        self._measure_steady(1)  # beside each edit, so that the machine's noise is in both

    def find_stale_edits(self) -> None:
        """Make the edits that peers get; list those that are not served once ready, and those that loaded a model."""
        self.stale = []
        for name, fact in projects.FACT_EDITS.items():
            edit = self.loop.measure(
                lambda fact=fact: self.loop.project.edit("facts.py", fact.pattern, fact.replacement)
            )
            if servers.request(self.loop.port, "/facts", {})[name] != fact.expected:
                self.stale.append(name)
            if any(model.action != "kept" for model in edit.models):
                self.needless_loads.append(name)

    def report(self) -> dict[str, Any]:
        """The figures that peers have too."""
        steady = stats.p50(self.steady_s) or 0.0
        ready_ms = stats.in_ms([sample - steady for sample in self.first_s])
        return {
            "ready_ms_p50": stats.rounded(stats.p50(ready_ms), 1),
            "ready_ms_p95": stats.rounded(stats.p95(ready_ms), 1),
            "first_response_s_p50": stats.rounded(stats.p50(self.first_s)),
            "prompt_seen_ms_p50": stats.rounded(stats.p50(stats.in_ms(self.seen_s)), 1),
            "steady_call_s_p50": stats.rounded(stats.p50(self.steady_s)),
            "n": len(self.first_s),
            "samples_first_response_s": [round(sample, 3) for sample in self.first_s],
            "stale_edits": self.stale,
            "needless_loads": self.needless_loads,
            "note": "by polling GET / for the new generation, then one request; the app has no probe here",
        }

    def _measure_steady(self, count: int) -> None:
        for _ in range(count):
            began = time.monotonic()
            self._chat()
            self.steady_s.append(time.monotonic() - began)

    def _generation(self) -> int:
        return int(servers.request(self.loop.port, "/")["generation"] or 0)

    def _chat(self) -> bytes:
        return servers.request_bytes(self.loop.port, "/chat", {"message": projects.QUESTION})
