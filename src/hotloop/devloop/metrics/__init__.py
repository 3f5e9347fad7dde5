"""Numbers about the loop, from what the history keeps. Pure; durations are seconds. `summarize` is the way in.

docs/experience.md defines each of them for people; the code says the same.
"""

from hotloop.devloop.metrics.attention import Drift, Focus
from hotloop.devloop.metrics.first import FirstResult
from hotloop.devloop.metrics.records import (
    Build,
    Cost,
    Import,
    LinkLoss,
    Model,
    Moment,
    Probe,
    Records,
    Session,
    TestRun,
    Trip,
)
from hotloop.devloop.metrics.repairs import Repairs
from hotloop.devloop.metrics.spread import MIN_FOR_P95, Spread, percentile, spread
from hotloop.devloop.metrics.summary import RESUMED, WAIT_CAP_S, Avoided, Causes, Summary, by_day, day_of, summarize

__all__ = [
    "MIN_FOR_P95",
    "RESUMED",
    "WAIT_CAP_S",
    "Avoided",
    "Build",
    "Causes",
    "Cost",
    "Drift",
    "FirstResult",
    "Focus",
    "Import",
    "LinkLoss",
    "Model",
    "Moment",
    "Probe",
    "Records",
    "Repairs",
    "Session",
    "Spread",
    "Summary",
    "TestRun",
    "Trip",
    "by_day",
    "day_of",
    "percentile",
    "spread",
    "summarize",
]
