"""All events there are, by what they are called; JSON back into one."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from hotloop.events.codec import JsonObject, record_from_json
from hotloop.events.environment import (
    EnvironmentFailed,
    EnvironmentProgress,
    EnvironmentReady,
)
from hotloop.events.loop import (
    BenchFailed,
    BenchFinished,
    CostReported,
    EditUndone,
    EventsDropped,
    Held,
    IterationFinished,
    IterationStarted,
    LinkMeasured,
    Offline,
    Online,
    ProbeReported,
    SessionEnded,
    SessionResumed,
    SessionStarted,
    SessionTimedOut,
    SyncPaused,
    SyncResumed,
    TestsFinished,
    TestsStarted,
)
from hotloop.events.runtime import (
    Log,
    ModelLoading,
    ModelProgress,
    Notice,
    Pinned,
    ProbeFinished,
    ProbesFinished,
    ProcessDied,
    Ready,
    ReloadFailed,
    ReloadStarted,
    ReloadSuperseded,
    RequestFinished,
    RequestsFinished,
    RuntimeSampled,
    RuntimeStarted,
    RuntimeStopped,
    StandbyReady,
    WorkersServing,
)

Event = (
    RuntimeStarted
    | ReloadStarted
    | ModelLoading
    | Ready
    | ReloadFailed
    | ReloadSuperseded
    | ProbeFinished
    | ProbesFinished
    | WorkersServing
    | StandbyReady
    | Log
    | RequestFinished
    | RequestsFinished
    | ProcessDied
    | Notice
    | Pinned
    | RuntimeStopped
    | ModelProgress
    | RuntimeSampled
    | EnvironmentProgress
    | EnvironmentReady
    | EnvironmentFailed
    | SessionStarted
    | Held
    | IterationStarted
    | ProbeReported
    | IterationFinished
    | BenchFinished
    | BenchFailed
    | Offline
    | Online
    | SessionResumed
    | SessionTimedOut
    | EventsDropped
    | SessionEnded
    | SyncPaused
    | SyncResumed
    | EditUndone
    | TestsStarted
    | TestsFinished
    | CostReported
    | LinkMeasured
)

EVENT_TYPES: dict[str, type[Any]] = {
    str(dataclasses.fields(event_type)[-1].default): event_type for event_type in typing.get_args(Event)
}


def from_json(data: JsonObject) -> Event:
    """Turn a JSON object back into its event. Unknown fields are ignored: a newer runner may know more.

    Raises:
        ValueError: The object's ``kind`` is no event's.
    """
    event_type = EVENT_TYPES.get(data.get("kind", ""))
    if event_type is None:
        msg = f"no event is called {data.get('kind')!r}"
        raise ValueError(msg)
    return record_from_json(event_type, data)
