# pyright: basic
# The arguments are the user's.
"""A call whose requests were read: what came with it, and what is known of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hotloop.gpu_runtime.user_env.answers import Answer
from hotloop.gpu_runtime.user_env.app import EndpointSpec
from hotloop.gpu_runtime.user_env.served import Served
from hotloop.gpu_runtime.user_env.wire import LinkClosed

OURS = (KeyboardInterrupt, GeneratorExit, LinkClosed)  # exceptions that are not an answer


@dataclass(slots=True)
class Opened:
    """One call on its way.

    Attributes:
        items: The headers of its requests.
        like: What all of them have in common, if they differ in nothing but their bodies.
        arguments: Of the requests that could be decoded, by position in `items`.
        answers: By position in `items`; what could not be decoded has its answer from the start.
        bodies: All answers, in order, if they as well differ in nothing else.
        sizes: Of the requests that were measured, by identifier.
        compute_s: How long the user's function ran.
        has_raised: Whether it raised, so that the time says nothing of the next call's.
    """

    id: int
    endpoint: Served
    items: list[dict[str, Any]]
    like: dict[str, Any] | None = None
    arguments: dict[int, dict[str, Any]] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    bodies: list[bytes] | None = None
    sizes: dict[int, float] = field(default_factory=dict)
    compute_s: float = 0.0
    has_raised: bool = False

    def given(self, positions: list[int], models: dict[str, Any]) -> dict[str, Any]:
        """Put together the arguments: the request's, or lists of several requests', and the models."""
        planned = self.endpoint.planned
        given = {name: models[name] for name in planned.injected}
        if planned.spec.batch is None:
            return {**self.arguments[positions[0]], **given}
        for parameter in planned.parameters:  # one without a value has a default: None, for a batch
            given[parameter.name] = [self.arguments[position].get(parameter.name) for position in positions]
        return given

    def runs(self) -> list[list[int]]:
        """Say which requests go into one call of the function: all of a batch, else each alone."""
        positions = list(self.arguments)
        if self.endpoint.spec.batch is not None:
            return [positions] if positions else []
        return [[position] for position in positions]


def parts(spec: EndpointSpec, positions: list[int], error: BaseException) -> list[list[int]]:
    """Say for which of a batch's requests the function is called again, last first; none if all of them fail."""
    on_error = "fail" if spec.batch is None else spec.batch.on_error
    if len(positions) == 1 or on_error == "fail" or isinstance(error, OURS):
        return []
    if on_error == "single":
        return [[position] for position in reversed(positions)]
    middle = len(positions) // 2
    return [positions[middle:], positions[:middle]]


def is_cancellation(error: BaseException) -> bool:
    """Whether asyncio cancelled what ran: the call's own task, and not another one that the user's code waited for."""
    if type(error).__name__ != "CancelledError" or not type(error).__module__.startswith("asyncio"):
        return False
    import asyncio

    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
