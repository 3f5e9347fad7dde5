"""The typed stream of facts that every renderer reads: what happened, never what to show.

Events are made by the runtime (on the runner), by the agent and by the loop (on the laptop). All are values that
survive JSON: `to_json` and `from_json` are inverses. Times called ``at_s`` are seconds of CLOCK_MONOTONIC on the
machine that made the event.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotloop.events.codec import JsonObject, record_from_json, to_json, with_times
    from hotloop.events.environment import (
        EnvironmentFailed,
        EnvironmentProgress,
        EnvironmentReady,
    )
    from hotloop.events.kinds import EVENT_TYPES, Event, from_json
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
    from hotloop.events.records import (
        Change,
        EndpointSample,
        EndpointShape,
        FailedTest,
        Frame,
        GaugeSample,
        GpuSample,
        ImportTime,
        Iteration,
        ModelOutcome,
        ProbeReport,
        Problem,
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

__all__ = [
    "EVENT_TYPES",
    "BenchFailed",
    "BenchFinished",
    "Change",
    "CostReported",
    "EditUndone",
    "EndpointSample",
    "EndpointShape",
    "EnvironmentFailed",
    "EnvironmentProgress",
    "EnvironmentReady",
    "Event",
    "EventsDropped",
    "FailedTest",
    "Frame",
    "GaugeSample",
    "GpuSample",
    "Held",
    "ImportTime",
    "Iteration",
    "IterationFinished",
    "IterationStarted",
    "JsonObject",
    "LinkMeasured",
    "Log",
    "ModelLoading",
    "ModelOutcome",
    "ModelProgress",
    "Notice",
    "Offline",
    "Online",
    "Pinned",
    "ProbeFinished",
    "ProbeReport",
    "ProbeReported",
    "ProbesFinished",
    "Problem",
    "ProcessDied",
    "Ready",
    "ReloadFailed",
    "ReloadStarted",
    "ReloadSuperseded",
    "RequestFinished",
    "RequestsFinished",
    "RuntimeSampled",
    "RuntimeStarted",
    "RuntimeStopped",
    "SessionEnded",
    "SessionResumed",
    "SessionStarted",
    "SessionTimedOut",
    "StandbyReady",
    "SyncPaused",
    "SyncResumed",
    "TestsFinished",
    "TestsStarted",
    "WorkersServing",
    "from_json",
    "record_from_json",
    "to_json",
    "with_times",
]

_HOMES = (
    "records",
    "codec",
    "environment",
    "runtime",
    "loop",
    "kinds",
)  # who asks for what is in the first needs no other


def __getattr__(name: str) -> object:
    """Find a name when it is first asked for: each class takes half a millisecond to make, and few processes need all."""
    if name in __all__:
        for home in _HOMES:
            found = vars(import_module(f"{__name__}.{home}"))
            if name in found:
                globals()[name] = found[name]
                return found[name]
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
