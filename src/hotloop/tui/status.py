"""What the top line says of a state: one word, and a phrase if something is not as it should be. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotloop.tui.state import State, Status, Trip


def settled(state: State) -> State:
    """Derive what follows from the rest."""
    degraded = state.troubles[-1].text if state.troubles else ""
    status = status_of(state)
    if status == state.status and degraded == state.degraded:
        return state
    return replace(state, status=status, degraded=degraded)


def status_of(state: State) -> Status:
    """Say what goes on, the most pressing first."""
    newest = state.trips[-1] if state.trips else None
    if state.ended is not None:
        return "ended"
    if state.offline is not None:
        return "offline"
    if newest is not None and newest.outcome == "running":
        return "cold" if _is_cold(state, newest) else "reloading"
    if state.is_paused:
        return "paused"
    told = next((trip for trip in reversed(state.trips) if trip.outcome != "superseded"), None)
    if told is not None and told.outcome == "failed":
        return "failed"
    if state.serving is None:
        return "cold"
    return "live" if any(trip.number for trip in state.trips) else "ready"


def _is_cold(state: State, newest: Trip) -> bool:
    return newest.number == 0 or (newest.cause == "cold" and state.serving is None)
