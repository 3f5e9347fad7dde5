"""The model called without a server, measured in a process of its own that waits in between."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks import environments, serving_ceiling, stats

CEILING_CLIENTS = (8, 32, 128)


@dataclass
class Direct:
    """A process that has the model. Use as a context manager.

    Attributes:
        vectors: What the model gives for each text alone: what every side is held to.
        num_tokens: Tokens of each text.
        single_s: How long single texts took, a list a round.
        rates: Texts a second of each round, by the size of the batches.
    """

    python: Path
    project: Path
    bridge: Path
    texts: list[str]
    vectors: list[list[float]] = field(default_factory=list[list[float]])
    num_tokens: list[int] = field(default_factory=list[int])
    single_s: list[list[float]] = field(default_factory=list[list[float]])
    rates: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [self.python, "direct.py"],
            cwd=self.project,
            env=environments.clean_environment(PYTHONPATH=str(self.bridge), OMP_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            first = self._ask(json.dumps(self.texts))
        except BaseException:
            self.__exit__()
            raise
        self.vectors, self.num_tokens = first["vectors"], first["num_tokens"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def measure(self, window_s: float) -> None:
        """Take one round of samples: single texts for so long, batches for as long."""
        sample = self._ask(str(window_s))
        self.single_s.append(sample["single_s"])
        for size, rate in sample["rates"].items():
            self.rates.setdefault(size, []).append(rate)

    def report(self) -> dict[str, Any]:
        """Texts a second by batch size, the best of them, and how long a single text takes."""
        medians = {size: stats.rounded(stats.p50(rates), 2) or 0.0 for size, rates in self.rates.items()}
        singles_ms = [stats.p50(stats.in_ms(each)) or 0.0 for each in self.single_s]
        return {
            "rate": max(medians.values(), default=None),
            "rate_by_batch_size": medians,
            "single_p50_ms": stats.rounded(stats.p50(singles_ms)),
            "samples_single_p50_ms": [round(each, 3) for each in singles_ms],
            "samples_rate": {size: [round(rate, 2) for rate in rates] for size, rates in self.rates.items()},
            "mean_tokens": round(sum(self.num_tokens) / len(self.num_tokens), 2),
            **self._ceilings({int(size): rate for size, rate in medians.items()}),
        }

    def _ceilings(self, rates: dict[int, float]) -> dict[str, Any]:
        """What a call costs by these rates, and what clients could get at most, by their number."""
        lengths = [len(text) for text in self.texts]
        cost = serving_ceiling.fit(rates, lengths, self.num_tokens)
        ceilings = {
            str(count): round(serving_ceiling.closed_loop_rate(count, lengths, self.num_tokens, cost), 2)
            for count in CEILING_CLIENTS
        }
        per_call_ms, per_token_ms = cost.per_call_s * 1000, cost.per_token_s * 1000
        return {
            "per_call_ms": round(per_call_ms, 3),
            "per_token_ms": round(per_token_ms, 4),
            "closed_loop_rate": ceilings,
        }

    def _ask(self, line: str) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            msg = f"the direct process ended with status {self._process.wait()}"
            raise RuntimeError(msg)
        return json.loads(answer)
