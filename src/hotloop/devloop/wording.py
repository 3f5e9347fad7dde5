"""What an event is called in a sentence: the plain lines and the dashboard's log say it alike. Pure."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from hotloop.devloop import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotloop import events

_ROLES = {
    "active": "the active worker",
    "standby": "the standby",
    "zygote": "the zygote",
    "hosted": "the process of model",
    "runtime": "the runtime",
}
HELD_NO_LONGER = "nothing to wait for: the files are as they were"
_ASKED = {"reload": "load all models again", "restart": "start from nothing"}
_MISSED = {
    "request_finished": "request",
    "log": "log line",
    "process_died": "crash",
    "ready": "reload",
    "notice": "notice",
}
_PHASES = {
    "wait": "waiting for another session that makes the same",
    "python": "looking for a Python",
    "resolve": "resolving",
    "download": "downloading",
    "build": "building",
    "install": "installing",
}


def session(event: events.SessionStarted) -> str:
    """Where the app runs; of how many files only whoever sends them knows."""
    files = f", {words.count(event.num_files, 'file')}" if event.num_files else ""
    return f"{event.project} on {event.runner}, Python {event.python}{files}"


def began(event: events.IterationStarted) -> str:
    """What an iteration is about: the files that were saved, or what was asked for."""
    return _ASKED.get(event.asked, "") or words.paths(event.paths)


def paused(event: events.SyncPaused) -> str:
    """That saves wait, as the user asked."""
    return f"paused, {words.count(event.queued, 'save') if event.queued else 'saves are'} kept back"


def request(event: events.RequestFinished) -> str:
    """A request and its answer."""
    return f"{event.method} {event.path} {event.status} {words.duration(event.took_s)}"


def requests(event: events.RequestsFinished) -> str:
    """Those of an interval that are not told of one by one."""
    statuses = ", ".join(f"{status}: {count}" for status, count in event.statuses.items())
    times = f"p50 {words.duration(event.p50_s)}, p99 {words.duration(event.p99_s)}"
    return f"{words.count(event.count, 'more request')} in {words.duration(event.interval_s)} ({statuses}), {times}"


def worst_status(event: events.RequestFinished | events.RequestsFinished) -> int:
    """The status that matters most."""
    return max(map(int, event.statuses), default=200) if event.kind == "requests_finished" else event.status


def died(event: events.ProcessDied) -> str:
    """Which process died, of what, and what was lost with it."""
    who = f"{_ROLES[event.role]} {event.name}".rstrip()
    lost = ""
    if event.lost_requests:
        lost = f"; {words.count(event.lost_requests, 'request')} failed: it may have run, so it was not sent again"
    then = "it is being replaced" if event.is_replaced else "too many did, so it is not replaced before the next save"
    return f"{who} died ({event.cause}); {then}{lost}"


def offline(event: events.Offline) -> str:
    """That the runner does not answer, and what waits; the reason is the event's own."""
    queued = f"{words.count(event.queued, 'save')} queued" if event.queued else "saves are queued"
    return f"offline, {queued}; connecting again"


def resumed(event: events.SessionResumed) -> str:
    """What was found running."""
    serving = f"generation {event.generation} serves" if event.generation else "nothing serves yet"
    return f"{serving}, no model was loaded again"


def missed(kinds: Mapping[str, int]) -> str:
    """What happened that nobody was shown, of the numbers of events by kind; empty if nothing did."""
    return ", ".join(words.count(kinds[kind], noun) for kind, noun in _MISSED.items() if kind in kinds)


def timed_out(event: events.SessionTimedOut) -> str:
    """When the session ended without a client."""
    at = dt.datetime.fromtimestamp(event.ended_at_s).astimezone().strftime("%H:%M")
    return f"the session ended at {at} after {words.duration(event.idle_s)} without a client; models were freed"


def dropped(event: events.EventsDropped) -> str:
    """How much is missing."""
    return f"{words.count(event.count, 'line')} not shown: they were not read in time"


def environment_progress(event: events.EnvironmentProgress) -> str:
    """How far an environment is; with what, if that is known."""
    said = _PHASES[event.phase]
    if event.phase == "download" and event.total:
        return f"{said} {words.count(event.total, 'large package')}, {words.size(event.size_bytes)}, {event.done} done"
    return f"{said} {words.count(event.total, 'package')}" if event.phase == "install" and event.total else said


def environment_ready(event: events.EnvironmentReady) -> str:
    """What the app has now."""
    return f"Python {event.version}, {words.count(event.num_packages, 'package')} from {event.source}"


def made(event: events.EnvironmentReady) -> str:
    """How long it took."""
    return "made before" if event.was_cached else f"made in {words.duration(event.took_s)}"


def environment_serving(event: events.EnvironmentFailed, generation: int | None) -> str:
    """What goes on, now that an environment can't be made."""
    if not event.serving:
        return "there is no environment yet; the next save tries again"
    serving = f"still serving generation {generation}" if generation is not None else "still"
    return (
        f"{serving} with the environment of {event.serving_source}; change what is asked for, or type r, to try again"
    )


def still_serving(event: events.ReloadFailed) -> str:
    """What goes on, now that a reload failed."""
    serving = f"still serving generation {event.serving}" if event.serving is not None else "nothing serves yet"
    return f"{serving}; the next save tries again"


def model_size(model: events.ModelOutcome) -> str:
    """A model's size and where it lives, each behind a space; empty for a resident one of unknown size."""
    size = f" {words.size(model.size_bytes)}" if model.size_bytes else ""
    return size + {"resident": "", "hosted": " hosted", "worker": " not resident"}[model.home]
