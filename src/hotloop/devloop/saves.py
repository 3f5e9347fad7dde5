"""From a save to a changeset that is on its way: a part of the loop's machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop.flight import Flight
from hotloop.devloop.machine_state import Emit, Send, Snapshot, State, Step, chain
from hotloop.devloop.outcomes import settle_before
from hotloop.devloop.timeline import Marks

if TYPE_CHECKING:
    from hotloop.devloop.machine_events import Asked, Dangerous, Opened, Save, Snapshotted, Undone
    from hotloop.devloop.machine_state import Action

MAX_UNACKED = 8  # beyond this saves gather in one changeset: the latest content is what counts


def opened(state: State, event: Opened) -> Step:
    """The first start is a flight too."""
    marks = Marks(event.began.monotonic_s, event.seen_s, applied_s=event.applied_s, clock_error_s=event.clock_error_s)
    flight = Flight(0, 0, event.began, marks, revision=event.revision)
    return replace(state.adding(flight), revision=event.revision), ()


def saved(state: State, save: Save) -> Step:
    """Read it at once, or say that it waits."""
    dirty = save if state.dirty is None else state.dirty.merged(save)
    state = replace(state, dirty=dirty, num_dirty=state.num_dirty + 1)
    if state.is_offline:
        return state, (Emit(events.Offline(save.seen_s, state.num_queued)),)
    if state.is_paused:
        return state, (Emit(events.SyncPaused(save.seen_s, state.num_dirty)),)
    return take(state)


def paused(state: State, at_s: float) -> Step:
    """Keep saves back from now on."""
    if state.is_paused:
        return state, ()
    return replace(state, is_paused=True), (Emit(events.SyncPaused(at_s, state.num_dirty)),)


def resumed(state: State, at_s: float) -> Step:
    """Send what was kept back as one changeset. A deletion that is waited for is asked about again."""
    if not state.is_paused:
        return state, ()
    dirty = replace(state.dirty, seen_s=at_s, resumed_s=at_s) if state.dirty is not None else None
    state = replace(state, is_paused=False, dirty=dirty, hold="")
    said: tuple[Action, ...] = (Emit(events.SyncResumed(at_s)),)
    if state.is_offline:
        said += (Emit(events.Offline(at_s, state.num_queued)),)
    return chain((state, said), take(state))


def unchanged(state: State, at_s: float) -> Step:
    """There is nothing to send: what was deleted and waited for is there again."""
    said = (Emit(events.Held(at_s, "")),) if state.hold else ()
    state = replace(state, taken=None, hold="")
    return chain((state, said), take(state))


def asked(state: State, event: Asked) -> Step:
    """A reload that no save caused is an iteration of its own, unless one is under way, which then begins again."""
    newest = state.flights[-1] if state.flights else None
    if newest is not None and newest.ready is None:
        return state.updating(replace(newest, is_cold=newest.is_cold or event.is_cold)), ()
    at_s = event.began.monotonic_s
    state, ended = settle_before(state, len(state.flights), at_s)
    flight = Flight(
        state.number + 1,
        0,
        event.began,
        Marks(at_s, at_s, applied_s=at_s),
        revision=state.revision,
        is_cold=event.is_cold,
        after=state.serving or 0,
        asked="restart" if event.is_cold else "reload",
    )
    return state.adding(flight), (*ended, Emit(events.IterationStarted(at_s, flight.number, (), at_s, flight.asked)))


def undone(state: State, event: Undone) -> Step:
    """Send the changeset that takes an edit back: it is an iteration as well."""
    number, at_s = state.number + 1, event.began.monotonic_s
    flight = Flight(number, event.sequence, event.began, Marks(at_s, at_s), event.paths, event.size_bytes, asked="undo")
    return state.adding(flight), (
        Send(event.sequence),
        Emit(events.IterationStarted(at_s, number, event.paths, at_s, "undo")),
        Emit(events.EditUndone(at_s, number, event.undone, event.paths)),
    )


def take(state: State) -> Step:
    """Read what is dirty, unless a snapshot is under way, too much is unacknowledged or nothing can be sent."""
    is_busy = state.taken is not None or state.num_unacked >= MAX_UNACKED
    if state.dirty is None or is_busy or state.is_offline or state.is_paused:
        return state, ()
    return replace(state, dirty=None, num_dirty=0, taken=state.dirty), (Snapshot(state.dirty),)


def snapshotted(state: State, event: Snapshotted) -> Step:
    """Send the changeset; a flight begins."""
    save, state = state.taken, replace(state, taken=None, hold="")
    if save is None:
        return take(state)
    number = state.number + 1
    marks = Marks(event.saved.monotonic_s, save.seen_s)
    state = state.adding(Flight(number, event.sequence, event.saved, marks, event.paths, event.size_bytes))
    sent = (
        Send(event.sequence),
        Emit(events.IterationStarted(event.at_s, number, event.paths, saved_s=event.saved.monotonic_s)),
    )
    return chain((state, sent), take(state))


def dangerous(state: State, event: Dangerous) -> Step:
    """Keep the paths dirty and ask once; the next save looks again, so putting the files back resolves it."""
    if state.taken is None:
        return state, ()
    dirty = state.taken.merged(state.dirty)
    is_new = state.hold != event.reason
    state = replace(state, taken=None, dirty=dirty, num_dirty=state.num_dirty + 1, hold=event.reason)
    said = (Emit(events.Held(event.at_s, event.reason, event.hint)),) if is_new else ()
    return state, said


def confirmed(state: State) -> Step:
    """Make the deletion that the user was asked about."""
    if state.dirty is None or state.taken is not None or not state.hold or state.is_paused:
        return state, ()
    return replace(state, dirty=None, num_dirty=0, taken=state.dirty), (Snapshot(state.dirty, is_confirmed=True),)
