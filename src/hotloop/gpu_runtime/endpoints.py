"""What the front knows of an endpoint: where it is, how it is called, how its requests are gathered. Values only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from hotloop.frozen import frozen

BODY_BYTES = "bytes"  # a request's size is its body's length, which the front knows
ASKED = "asked"  # a request's size is what the user's function says, which only the worker can run


@frozen
class BatchSpec:
    """How requests are gathered for an endpoint that takes lists.

    Attributes:
        max_size: Most requests in one call.
        max_wait_ms: The longest that a batch may wait for others though the worker is free; it does if that pays.
        key: Where a request's size comes from: `BODY_BYTES`, `ASKED`, a number that is every request's size, or None if
            requests leave in order of arrival.
        max_cost: Most that a call may cost: its requests times the largest of their sizes. A larger one goes alone.
        target_ms: How soon after its arrival a request should be answered; 0 for no such wish.
    """

    max_size: int = 32
    max_wait_ms: float = 0.0
    key: Literal["bytes", "asked"] | float | None = None
    max_cost: float = math.inf
    target_ms: float = 0.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BatchSpec:
        """Read what a worker says of it."""
        return cls(
            max_size=data["max_size"],
            max_wait_ms=data.get("max_wait_ms") or 0.0,
            key=data.get("key"),
            max_cost=data.get("max_cost") or math.inf,
            target_ms=data.get("target_ms") or 0.0,
        )

    @property
    def needs_sizes(self) -> bool:
        """Whether requests of one endpoint differ in size."""
        return isinstance(self.key, str)


@frozen
class EndpointSpec:
    """What the front needs to know of an endpoint.

    Attributes:
        name: The function's name, which calls carry.
        path: Exact, such as ``/embed``.
        methods: In upper case.
        kind: ``sync`` ones share the worker's one thread.
        is_stream: Whether it answers in pieces.
        batch: None if it takes one request a call.
        idempotent: Whether a request may run again if a worker dies under it.
        concurrency: Most calls at a time in each worker, for an async one.
    """

    name: str
    path: str
    methods: tuple[str, ...] = ("POST",)
    kind: Literal["sync", "async"] = "sync"
    is_stream: bool = False
    batch: BatchSpec | None = None
    idempotent: bool = False
    concurrency: int = 64

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EndpointSpec:
        """Read what a worker says of an endpoint."""
        batch = data.get("batch")
        return cls(
            name=data["name"],
            path=data["path"],
            methods=tuple(data["methods"]),
            kind=data.get("kind", "sync"),
            is_stream=data.get("is_stream", False),
            batch=BatchSpec.from_json(batch) if batch else None,
            idempotent=data.get("idempotent", False),
            concurrency=data.get("concurrency", 64),
        )

    @property
    def max_size(self) -> int:
        """Most requests in one call."""
        return 1 if self.batch is None else self.batch.max_size
