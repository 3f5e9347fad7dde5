"""When the screen changes by itself: the one timer there is. Nothing on the screen counts: no timer but once a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop.pulse import IDLE_S as ASK_AFTER_S

if TYPE_CHECKING:
    from hotloop.tui.state import State

RUNNING_S, COUNTING_S, MINUTE_S = 0.25, 1.0, 60.0
SAMPLE_OLD_S = 4.0  # then the runtime is shown as idle
IDLE_SHOWN_S = 60.0


def next_s(state: State, now_s: float, *, row_until_s: float | None = None) -> float:
    """Say in how many seconds time alone changes what is shown."""
    if state.trips and state.trips[-1].outcome == "running" and state.offline is None:
        return RUNNING_S
    if state.offline is not None:
        return COUNTING_S
    moments = [now_s + MINUTE_S - (now_s - state.began_s) % MINUTE_S]
    moments += [trouble.until_s for trouble in state.troubles if trouble.until_s is not None]
    moments += [row_until_s] if row_until_s is not None else []
    moments += [state.sampled_at_s + SAMPLE_OLD_S] if state.sampled_at_s is not None else []
    moments += [state.active_at_s + after_s for after_s in (IDLE_SHOWN_S, ASK_AFTER_S)]
    ahead = [moment for moment in moments if moment > now_s]
    return max(min(ahead) - now_s, 0.0) + 0.01  # behind it, so that it has passed
