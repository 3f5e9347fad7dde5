"""When a failed call is sent again. Knows no clock and no socket."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.client.failure import ClientError

PASSING = frozenset({0, 429, 502, 503})  # another attempt may go well


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after which pauses, a call is sent again.

    Attributes:
        max_retries: Most times that a call is sent again; 0 turns it off.
        first_pause_s: The longest pause before the first repetition; it doubles with each.
        max_pause_s: The longest pause that the client chooses by itself.
    """

    max_retries: int = 3
    first_pause_s: float = 0.1
    max_pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.max_retries < 0 or self.first_pause_s < 0 or self.max_pause_s < 0:
            msg = f"{self!r}: expected numbers that are not negative"
            raise ValueError(msg)


DEFAULT = Retries()
NEVER = Retries(max_retries=0)


def pause_s(
    retries: Retries, error: ClientError, num_sent: int, remaining_s: float, drawn: float, *, is_idempotent: bool
) -> float | None:
    """Choose the pause before a call is sent again; None: it is not.

    Args:
        retries: The limits.
        error: What the last attempt gave.
        num_sent: How often the call was sent, 1 or more.
        remaining_s: Time until the call's deadline.
        drawn: A random number from 0 up to 1, so that clients that failed together do not come back together.
        is_idempotent: Whether the call may run twice.
    """
    if num_sent > retries.max_retries or not can_repeat(error, is_idempotent=is_idempotent):
        return None
    pause = min(retries.max_pause_s, retries.first_pause_s * 2 ** min(num_sent - 1, 30)) * drawn
    if error.retry_after_s is not None:
        pause += error.retry_after_s  # never sooner than asked
    return pause if pause < remaining_s else None


def chance() -> float:
    """Give a random number from 0 up to 1, without a draw from the user's own generator."""
    return int.from_bytes(os.urandom(4), "little") / 2**32


def can_repeat(error: ClientError, *, is_idempotent: bool) -> bool:
    """Whether a call may be sent again after an error."""
    return error.status in PASSING and (is_idempotent or not error.may_have_run)
