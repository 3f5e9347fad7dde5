"""What a session costs, and when to say so. Pure: it is told events and the time, and gives what to say.

Rules:
1. Time is counted, and money is time times the price: busy and idle time are all of it, and neither ever shrinks.
2. Time is idle once there was neither a request nor an iteration for `IDLE_AFTER_S`.
3. What a thousand requests or a million streamed items cost is of the last `WINDOW_S`, and not told of too few.
"""

from __future__ import annotations

import math
from dataclasses import replace

from hotloop import events
from hotloop.frozen import frozen

IDLE_AFTER_S = 60.0
WINDOW_S = 300.0
SLICE_S = 5.0  # of the window: what is older leaves it in slices
MIN_REQUESTS = 20
MIN_ITEMS = 1000
HOUR_S = 3600.0
CENT = 0.01
TOLD_EVERY_S = 60.0
TOLD_AT_MOST_EVERY_S = 1.0
WARN_SHARE = 0.8
LARGEST_GOOD_STATUS = 399


@frozen
class Price:
    """What the runner costs.

    Attributes:
        per_hour: US dollars, all its GPUs together.
        source: Where that is from.
    """

    per_hour: float
    source: str


@frozen
class Budget:
    """What a session may cost.

    Attributes:
        limit: US dollars.
        is_end: Whether the session is to end when it is spent.
    """

    limit: float
    is_end: bool = False


@frozen
class Slice:
    """What was done in a few seconds."""

    began_s: float
    num_requests: int = 0
    num_items: float = 0.0


@frozen
class State:
    """What is known.

    Attributes:
        began_s: When the session began, monotonic seconds.
        now_s: Up to when time is counted.
        idle_s: How much of it was idle.
        used_s: When there was something to do last.
        running: Iterations that have no outcome yet.
        is_serving: Whether requests waited or ran when that was told last.
        slices: Of the window, oldest first.
        told: What was told last.
        warned_share: Up to which share of the budget the user was warned.
    """

    began_s: float
    now_s: float
    price: Price | None = None
    budget: Budget | None = None
    idle_s: float = 0.0
    used_s: float = -math.inf
    running: frozenset[int] = frozenset()
    is_serving: bool = False
    slices: tuple[Slice, ...] = ()
    told: events.CostReported | None = None
    warned_share: float = 0.0

    @property
    def held_s(self) -> float:
        """How long the session lasts."""
        return self.now_s - self.began_s

    def dollars(self, duration_s: float) -> float:
        """What so much time costs; 0 while no price is known."""
        return duration_s * self.price.per_hour / HOUR_S if self.price is not None else 0.0


@frozen
class End:
    """The session is to end."""

    reason: str


Action = events.CostReported | events.Notice | End
Step = tuple[State, tuple[Action, ...]]


def begin(now_s: float, price: Price | None = None, budget: Budget | None = None) -> State:
    """Begin to count. The first start has no event of its own that says that it began, and the number 0."""
    return State(now_s, now_s, price, budget, used_s=now_s, running=frozenset({0}))


def priced(state: State, price: Price) -> State:
    """Take note of what the runner costs, and cost from the beginning."""
    return replace(state, price=price)


def step(state: State, event: events.Event | None, now_s: float) -> Step:
    """Count the time up to now, take note of what happened, and say what is to be said.

    Args:
        state: What was known.
        event: What happened; None if only time passed.
        now_s: Monotonic seconds; time that runs backwards does not count.
    """
    state = _passed(state, now_s)
    if event is not None:
        state = _heard(state, event)
    return _tell(state)


def due_s(state: State) -> float | None:
    """When `step` has something to say though nothing happens; None: never."""
    if state.price is None or state.price.per_hour <= 0:
        return None
    if state.told is None:
        return state.now_s
    next_cent_s = CENT / state.price.per_hour * HOUR_S
    wait_s = min(TOLD_EVERY_S, max(TOLD_AT_MOST_EVERY_S, next_cent_s))
    due = [state.told.at_s + wait_s]
    if state.budget is not None:
        whole_s = state.budget.limit / state.price.per_hour * HOUR_S
        due += [state.began_s + whole_s * share for share in (WARN_SHARE, 1.0) if share > state.warned_share]
    return max(state.now_s, min(due))


# --- what happens -----------------------------------------------------------------------------------------------------


def _passed(state: State, now_s: float) -> State:
    if now_s <= state.now_s:
        return state
    is_busy = bool(state.running) or state.is_serving
    idle_since_s = math.inf if is_busy else state.used_s + IDLE_AFTER_S
    idle_s = max(0.0, now_s - max(state.now_s, idle_since_s))
    used_s = now_s if is_busy else state.used_s
    return replace(state, now_s=now_s, idle_s=state.idle_s + idle_s, used_s=used_s)


def _heard(state: State, event: events.Event) -> State:
    match event:
        case events.IterationStarted():
            return replace(_used(state), running=state.running | {event.number})
        case events.IterationFinished():
            return replace(_used(state), running=state.running - {event.iteration.number})
        case events.RequestFinished():
            return _did(state, num_requests=int(event.status <= LARGEST_GOOD_STATUS))
        case events.RequestsFinished():
            statuses = event.statuses.items()
            return _did(state, num_requests=sum(n for status, n in statuses if int(status) <= LARGEST_GOOD_STATUS))
        case events.RuntimeSampled():
            return _sampled(state, event)
        case events.RuntimeStopped():
            return replace(state, is_serving=False, running=frozenset())
        case events.Offline():
            return replace(state, is_serving=False)  # nobody tells any more
        case _:
            return state


def _sampled(state: State, event: events.RuntimeSampled) -> State:
    is_serving = any(each.num_waiting or each.num_running for each in event.endpoints)
    num_items = sum((each.items_per_s or 0.0) * event.interval_s for each in event.endpoints)
    has_requests = is_serving or any(each.requests_per_s for each in event.endpoints)
    state = replace(state, is_serving=is_serving)
    return _did(state, num_items=num_items) if num_items or has_requests else state


def _used(state: State) -> State:
    return replace(state, used_s=state.now_s)


def _did(state: State, num_requests: int = 0, num_items: float = 0.0) -> State:
    state = _used(state)
    slices = state.slices
    newest = slices[-1] if slices and state.now_s - slices[-1].began_s < SLICE_S else None
    if newest is None:
        newest = Slice(state.now_s)
        slices = (*(s for s in slices if s.began_s > state.now_s - WINDOW_S), newest)
    more = Slice(newest.began_s, newest.num_requests + num_requests, newest.num_items + num_items)
    return replace(state, slices=(*slices[:-1], more))


# --- what is said -----------------------------------------------------------------------------------------------------


def _tell(state: State) -> Step:
    price = state.price
    if price is None or price.per_hour <= 0:
        return state, ()
    state, warned = _warn(state)
    report = _report(state, price)
    if warned or state.told is None or _is_news(state.told, report):
        return replace(state, told=report), (report, *warned)
    return state, ()


def _is_news(told: events.CostReported, now: events.CostReported) -> bool:
    passed_s = now.at_s - told.at_s
    if now.per_hour != told.per_hour or passed_s >= TOLD_EVERY_S:
        return True
    return passed_s >= TOLD_AT_MOST_EVERY_S and now.session - told.session >= CENT * (1 - 1e-9)


def _report(state: State, price: Price) -> events.CostReported:
    recent = [each for each in state.slices if each.began_s > state.now_s - WINDOW_S]
    spent = state.dollars(min(WINDOW_S, state.held_s))
    num_requests, num_items = sum(s.num_requests for s in recent), sum(s.num_items for s in recent)
    return events.CostReported(
        at_s=state.now_s,
        per_hour=price.per_hour,
        source=price.source,
        session=state.dollars(state.held_s),
        idle=state.dollars(state.idle_s),
        per_1k_requests=spent / num_requests * 1e3 if num_requests >= MIN_REQUESTS else None,
        per_1m_items=spent / num_items * 1e6 if num_items >= MIN_ITEMS else None,
        budget=state.budget.limit if state.budget is not None else None,
    )


def _warn(state: State) -> Step:
    budget = state.budget
    if budget is None:
        return state, ()
    spent = state.dollars(state.held_s)
    share = spent / budget.limit * (1 + 1e-9)
    reached = 1.0 if share >= 1 else WARN_SHARE if share >= WARN_SHARE else 0.0
    if reached <= state.warned_share:
        return state, ()
    state = replace(state, warned_share=reached)
    so_far = amounts(spent, state.dollars(state.idle_s))
    if reached < 1:
        text = f"{reached:.0%} of the budget of {dollars(budget.limit)} is spent: {so_far}"
        return state, (events.Notice(state.now_s, "budget", text, "dev serve --budget gives another"),)
    text = f"the budget of {dollars(budget.limit)} is spent: {so_far}"
    if budget.is_end:
        return state, (End(f"{text}; budget_stops = true ends the session"),)
    hint = "Ctrl-C ends the session; budget_stops = true in [tool.hotloop] would have"
    return state, (events.Notice(state.now_s, "budget spent", text, hint),)


def dollars(amount: float) -> str:
    """Write an amount as people do: ``$2.57``."""
    return f"${amount:,.2f}"


def line(report: events.CostReported) -> str:
    """Say in a line what a session costs, and by what price: ``cost so far $2.57, of it idle $0.48  ($2.69/h, table)``."""
    said = amounts(report.session, report.idle)
    return f"cost so far {said}  ({dollars(report.per_hour)}/h, {report.source})"


def amounts(session: float, idle: float) -> str:
    """Write what was spent: ``$2.57, of it idle $0.48``."""
    return dollars(session) + (f", of it idle {dollars(idle)}" if idle >= CENT / 2 else "")
