# pyright: basic
# The arguments and the key are the user's.
"""An endpoint that is ready to be called: reads its requests, and says how large they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.answers import Answer, refused
from hotloop.gpu_runtime.user_env.app import AppError, EndpointSpec, at
from hotloop.gpu_runtime.user_env.operations import Learner
from hotloop.gpu_runtime.user_env.resolve import PlannedEndpoint
from hotloop.gpu_runtime.user_env.values import BadRequest, RequestDecoder


@frozen
class Entry:
    """A request that was read.

    Attributes:
        arguments: By parameter; of the models' none.
        size: What the batch's key says; 0 if it is no function.
    """

    arguments: dict[str, Any]
    size: float = 0.0


@frozen
class Served:
    """An endpoint of the app that serves.

    Attributes:
        failed: Answers a request under which the user's code raised.
        spec: What the user wrote.
        has_key: Whether a function of the user's says how large its requests are.
    """

    planned: PlannedEndpoint
    decoder: RequestDecoder
    failed: Callable[[BaseException], Answer]
    spec: EndpointSpec
    has_key: bool

    @classmethod
    def of(
        cls, planned: PlannedEndpoint, failed: Callable[[BaseException], Answer], learner: Learner | None = None
    ) -> Served:
        """Make an endpoint ready; a learner notes its first call."""
        spec = planned.spec if learner is None else learner.learn(planned.spec)
        batch = planned.spec.batch
        has_key = batch is not None and callable(batch.key)
        return cls(planned, RequestDecoder(planned.parameters), failed, spec, has_key)

    def read(self, item: dict[str, Any], body: bytes | memoryview) -> Entry | Answer:
        """Read a request, and measure it; whatever is wrong with it is its answer.

        Args:
            item: Its header in the frame.
            body: Its body.
        """
        try:
            arguments = self.decoder.decode(item, body)
            return Entry(arguments, self._size(arguments)) if self.has_key else Entry(arguments)
        except BadRequest as error:
            return refused(error)
        except Exception as error:  # noqa: BLE001 - a validator or the key of the user's raised
            return self.failed(error)

    def read_alike(
        self, like: dict[str, Any], sizes: Iterable[int], payload: bytes | memoryview
    ) -> list[dict[str, Any]] | None:
        """Read requests that differ in their bodies only; None if one of them needs a closer look, see `read`.

        Args:
            like: What is said of all.
            sizes: How many bytes each has.
            payload: The bodies.
        """
        if self.has_key:
            return None
        return self.decoder.decode_alike(like, sizes, payload)

    def _size(self, arguments: dict[str, Any]) -> float:
        batch = self.spec.batch
        assert batch is not None  # noqa: S101  `has_key` says so
        assert callable(batch.key)  # noqa: S101
        given = batch.key(*[arguments.get(parameter.name) for parameter in self.planned.parameters])
        try:
            size = float(given)
        except (TypeError, ValueError):
            size = math.nan
        if 0 <= size < math.inf:
            return size
        spec = self.spec
        msg = f"the batch's key of endpoint {spec.name!r} at {at(spec.file, spec.line)} gave {given!r:.60}"
        raise AppError(msg, "return a number, 0 or more, such as len(text)", spec.file, spec.line)
