"""Histories to make reports of."""

from __future__ import annotations

import math
import random

from hotloop.devloop.metrics import Cost, Model, Moment, Probe, Records, Session, Trip
from hotloop.devloop.pulse import DAY_S, Asked
from hotloop.devloop.report.data import Kept

NOW_S = 1_795_651_200.0  # a Thursday in November 2026


def trip(saved_at_s=NOW_S - 60, feedback_s=0.1, outcome="ok", **more):
    phases = {"detect": 0.001, "sync": 0.004, "reload": feedback_s - 0.005}
    return Trip(**{
        "session": "s1", "number": 1, "outcome": outcome, "saved_at_s": saved_at_s, "feedback_s": feedback_s,
        "phases_s": phases, "start": "standby", **more,
    })  # fmt: skip


def loaded(why="app.py: LENGTH changed", took_s=1.0, *, name="encoder", home="resident", **more):
    return trip(feedback_s=took_s + 0.1, cause="model", models=(Model(name, "loaded", home, took_s, 0, why),), **more)


def probed(compute_s, **more):
    phases = {"sync": 0.001, "reload": 0.01, "first_output": compute_s}
    return trip(
        feedback_s=compute_s + 0.011, phases_s=phases, probes=(Probe("cat", True, False, compute_s, compute_s),), **more
    )


def week(seed=4, *, num_weeks=2, num_answers=6):
    """Some hundred edits of two weeks, the newer one faster, and answers of some more."""
    chance = random.Random(seed)
    trips = []
    for day in range(7 * num_weeks, 0, -1):
        at_s = NOW_S - day * DAY_S + 9 * 3600
        trips.append(trip(at_s, 12.0, number=0, session=f"d{day}", cause="cold"))
        for number in range(1, chance.randint(25, 50)):
            at_s += chance.expovariate(1) * 400
            trips.append(_edit(chance, at_s, f"d{day}", number, 1.5 if day > 7 else 1.0))
    sessions = tuple(
        Session(f"d{day}", NOW_S - day * DAY_S + 9 * 3600, "gpu-01") for day in range(7 * num_weeks, 0, -1)
    )
    moments = tuple(Moment(each.saved_at_s + 30, "request") for each in trips)
    asked = tuple(
        Asked(NOW_S - (7 * n + 1) * DAY_S, item, chance.randint(2, 5))
        for n, item in zip(range(num_answers, 0, -1), ("feedback", "load", "focus", "satisfaction") * 3, strict=False)
    )
    costs = (
        Cost("d1", NOW_S - DAY_S, "table of 2026-11", 3.2, 0.9, 0.047),
        Cost("d2", NOW_S - 2 * DAY_S, "table of 2026-11", 1.7, 0.2),
    )
    return Kept("search", NOW_S - 7 * DAY_S, tuple(trips), Records(sessions, moments, costs=costs), asked)


def _edit(chance, at_s, session, number, slower):
    kind = chance.choices(("code", "model", "environment", "failed", "superseded"), (70, 12, 2, 12, 4))[0]
    base = {"code": 0.09, "model": 2.4, "environment": 14.0, "failed": 0.06, "superseded": 0.03}[kind]
    feedback_s = base * slower * math.exp(chance.gauss(0, 0.5))
    outcome = kind if kind in {"failed", "superseded"} else "ok"
    if kind == "model":
        models = (Model("encoder", "loaded", "resident", feedback_s - 0.1, 0, "app.py: LENGTH changed"),)
        return trip(at_s, feedback_s, session=session, number=number, cause="model", models=models)
    cause = "environment" if kind == "environment" else "code"
    return trip(at_s, feedback_s, outcome, session=session, number=number, cause=cause)
