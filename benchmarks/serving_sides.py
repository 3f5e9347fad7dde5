"""The sides of the serving benchmark: how each serves a workload, what it is asked, how its answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import loop_client

PEERS = ("litserve", "bentoml", "mosec", "ray", "fastapi")
ENDPOINTS = {"minilm": "embed", "echo": "echo", "sse": "events"}
NUM_ITEMS = 200
MAX_APART = 1e-3  # padding moves the last digits of a vector's numbers
Check = Callable[[int, bytes], str]


@dataclass(frozen=True, slots=True)
class Side:
    """One way to serve one workload.

    Attributes:
        name: Such as ``litserve-fast-batch``.
        family: Whose it is: ``hotloop`` or one of `PEERS`; also the name of its environment.
        path: Where requests go.
        is_listed: Whether a text travels in a list of one, and so does its answer.
    """

    name: str
    family: str
    workload: str
    path: str
    is_listed: bool = False

    @property
    def variant(self) -> str:
        """What comes after the family in its name."""
        return self.name.removeprefix(self.family).removeprefix("-")

    def body(self, text: str) -> dict[str, Any]:
        """What a client sends."""
        return {"text": [text] if self.is_listed else text} if self.workload != "sse" else {}

    def value(self, answer: bytes) -> Any:
        """What a client gets.

        Raises:
            ValueError: It is no JSON.
        """
        value = json.loads(answer)
        return value[0] if self.is_listed else value


def _sides(workload: str, names: str, paths: dict[str, str] | None = None) -> tuple[Side, ...]:
    usual = f"/{ENDPOINTS[workload]}"
    return tuple(
        Side(
            name,
            family=name.partition("-")[0],
            workload=workload,
            path=(paths or {}).get(name, usual),
            is_listed=name == "bentoml" and workload == "minilm",
        )
        for name in names.split()
    )


SIDES: dict[str, tuple[Side, ...]] = {
    "minilm": _sides("minilm", "hotloop litserve-batch litserve-fast-batch bentoml mosec mosec-batch ray fastapi"),
    "echo": _sides(
        "echo",
        "hotloop hotloop-plain litserve litserve-batch litserve-fast litserve-fast-batch bentoml mosec mosec-batch"
        " ray fastapi",
        {"hotloop-plain": "/echo_plain"},
    ),
    "sse": _sides(
        "sse",
        "hotloop hotloop-async litserve litserve-fast bentoml mosec ray fastapi",
        {"hotloop-async": "/events_async"},
    ),
}
NOTES = {
    "hotloop": "dev run; minilm is the embeddings template with Batch(max_size=32, key=len); echo takes lists of 32",
    "hotloop-plain": "the trivial endpoint without a batch",
    "hotloop-async": "the items from an async generator",
    "litserve": "default queue, one worker, one API server, no batch",
    "litserve-batch": "default queue, batches of 32 (5 ms for minilm, 1 ms for echo)",
    "litserve-fast": "fast_queue, no batch",
    "litserve-fast-batch": "fast_queue, batches of 32 (5 ms for minilm, 1 ms for echo)",
    "bentoml": "one worker; adaptive batches of 32 for minilm, plain async calls for echo",
    "mosec": "one worker, no batch",
    "mosec-batch": "one worker, batches of 32, 1 ms",
    "ray": "one replica; serve.batch of 32, 5 ms for minilm, plain calls for echo",
    "fastapi": "in process on uvicorn with uvloop and httptools, async def, no batch",
}


def command(side: Side, python: str, port: int, project: str) -> list[str]:
    """The command line that serves it, run in the project's folder."""
    if side.family == "hotloop":
        return [loop_client.dev_command(), "run", project, "--json", "--port", str(port), "--python", python]
    if side.family == "bentoml":
        return [python, "-m", "bentoml", "serve", "bentoml_app:Service", "--host", "127.0.0.1", "--port", str(port)]
    return [python, f"{side.family}_app.py"]


def make_check(side: Side, texts: list[str], vectors: list[list[float]]) -> Check:
    """A function that says what is wrong with the answer to the text of a number; empty if nothing is."""

    def check(number: int, answer: bytes) -> str:
        if side.workload == "sse":
            return wrong_events(answer)
        try:
            value = side.value(answer)
        except (ValueError, LookupError, TypeError) as error:
            return f"{answer[:100]!r}: {error!r}"
        if side.workload == "echo":
            return "" if value == {"n": len(texts[number])} else f"{answer[:100]!r} for {len(texts[number])} characters"
        return wrong_vector(value, vectors[number])

    return check


def wrong_events(answer: bytes) -> str:
    """What is wrong with a stream of items; empty if nothing is."""
    lines = [line[5:].strip() for line in answer.splitlines() if line.startswith(b"data:")]
    try:
        numbers = [json.loads(line)["i"] for line in lines]
    except (ValueError, TypeError, KeyError) as error:
        return f"an event that is no item: {error!r}"
    return "" if numbers == list(range(NUM_ITEMS)) else f"{len(numbers)} items, expected {NUM_ITEMS} in order"


def wrong_vector(value: Any, expected: list[float]) -> str:
    """What is wrong with a text's vector; empty if nothing is."""
    if not isinstance(value, list) or len(value) != len(expected):
        return f"no vector of {len(expected)} numbers: {str(value)[:100]}"
    apart = max(abs(float(one) - other) for one, other in zip(value, expected, strict=True))
    return "" if apart <= MAX_APART else f"a vector that is {apart:.3g} from the model's"
