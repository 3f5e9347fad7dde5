"""The lines at the edges: status above, figures and keys below. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from hotloop.devloop import words
from hotloop.tui.panels.lines import finished, fitted, fitting, line, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotloop.devloop.metrics import Summary
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State

IDLE_FROM_S = 60.0
SHOWS_PLACE_FROM, SHOWS_RUNNER_FROM = 100, 56

# --- status ---------------------------------------------------------------------------------------------------------


def draw_status(state: State, width: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw the first line: state, app, what to know about it; where it runs, for how long, for how much."""
    left = line(_badge(state, palette), (f" {_app(state)}", f"bold {palette.strong}"))
    said = _said(state, palette, now_s)
    if said is not None and left.cell_len + 2 + said.cell_len > width:
        left = _badge(state, palette)  # what the app is called is known
    if width >= SHOWS_PLACE_FROM and state.app:
        left.append_text(line((f" {state.app}", palette.muted)))
    if said is not None:
        left.append_text(line("  ", said))
    facts = _facts(state, width, palette, now_s)
    while facts and left.cell_len + sum(fact.cell_len + 2 for fact in facts) > width:
        facts.pop(0)
    right = Text("  ", no_wrap=True, end="").join(facts) if facts else line()
    return finished([spread(left, right, width)], width, 1, palette)


def _app(state: State) -> str:
    """Call the app by its project's folder: every app's file is called app.py."""
    return state.project.rstrip("/").rpartition("/")[2] or "hotloop"


_BADGES = {
    "cold": ("◔ COLD START", "cold"),
    "ready": ("● READY", "good"),
    "reloading": ("◐ RELOADING", "code"),
    "live": ("● LIVE", "good"),
    "failed": ("✗ FAILED", "bad"),
    "offline": ("⚠ OFFLINE", "warning"),
    "paused": ("‖ PAUSED", "warning"),
    "ended": ("■ ENDED", "muted"),
}


def _badge(state: State, palette: Palette) -> Text:
    word, ink = _BADGES[state.status]
    return line((f" {word} ", f"bold reverse {getattr(palette, ink)}"))


def _said(state: State, palette: Palette, now_s: float) -> Text | None:
    """The one thing that matters most besides the state."""
    if state.status == "offline" and state.offline is not None:
        waited_s = max(now_s - (state.offline_since_s or now_s), 0.0)
        parts = [f"for {_whole_seconds(waited_s)}", f"{words.count(state.queued, 'edit')} queued"]
        parts += [state.offline.reason] if state.offline.reason else []
        return line((" · ".join(parts), palette.warning))
    if state.is_paused:
        return line((f"{words.count(state.queued, 'edit')} queued", palette.warning))
    if state.status == "ended" and state.ended is not None:
        left = "left running" if state.ended.is_left_running else state.ended.reason or "nothing serves any more"
        return line((left, palette.muted))
    if state.hold is not None:
        return line((f"‖ waiting: {state.hold.reason}", palette.warning))
    if state.status == "failed":
        return _serving(state, palette)
    if state.degraded:
        return line((f"⚠ {state.degraded}", palette.warning))
    tests = state.trips[-1].tests if state.trips else None
    if tests is not None and tests.outcome in {"failed", "broken"}:
        said = words.count(tests.num_failed, "test") + " failed" if tests.num_failed else "tests failed"
        return line((f"✗ {said if tests.outcome == 'failed' else 'the tests could not run'}", palette.bad))
    return _idle(state, palette, now_s)


def _serving(state: State, palette: Palette) -> Text:
    if state.serving is None:
        return line(("nothing serving", palette.bad))
    name = f"#{state.serving}" if state.serving else "the first start"
    newest = state.trips[-1].number if state.trips else None
    if state.serving == newest:
        return line((f"{name} serves, a probe failed", palette.warning))
    return line((f"still serving {name}", palette.good))


def _idle(state: State, palette: Palette, now_s: float) -> Text | None:
    idle_s = now_s - state.active_at_s
    if state.cost is None or idle_s < IDLE_FROM_S or state.status not in {"live", "ready"} or state.cost.idle < 0.005:
        return None
    return line((f"idle {_minutes(idle_s)} · {_dollars(state.cost.idle)}", palette.warning))


def _facts(state: State, width: int, palette: Palette, now_s: float) -> list[Text]:
    facts: list[Text] = []
    gpu = state.samples[-1].gpus[0].name if state.samples and state.samples[-1].gpus else ""
    if width >= SHOWS_RUNNER_FROM and state.project:
        facts.append(line((state.runner, palette.text), (f" {gpu}" if gpu else "", palette.muted)))
    if width >= SHOWS_PLACE_FROM:
        if state.runner != "local":
            is_known = state.link is not None and state.status != "offline"
            trip = words.duration(state.link.round_trip_s) if state.link is not None and is_known else "—"
            facts.append(line((f"⇅ {trip}", palette.muted)))
        if state.began_s and now_s - state.began_s >= 60:
            facts.append(line((_minutes(now_s - state.began_s), palette.muted)))
    if state.cost is not None and state.cost.per_hour > 0:
        facts.append(line((f"{_dollars(state.cost.per_hour)}/h", palette.text)))
        if width >= SHOWS_PLACE_FROM:
            facts.append(line((_dollars(state.cost.session), palette.muted)))
    return facts


def _whole_seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 59.5 else _minutes(seconds)


def _minutes(seconds: float) -> str:
    """Write whole minutes: what is shown all day must not change each second."""
    minutes = int(max(seconds, 0.0) // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}"


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}"


# --- figures --------------------------------------------------------------------------------------------------------


def draw_figures(figures: Summary, width: int, palette: Palette) -> list[Text]:
    """Draw how the loop was today, as many figures as fit."""
    if figures.feedback is None:
        said = "first figures appear with your first save"
        if figures.cold is not None:
            name = "first start " if figures.cold.n == 1 else "first start p50 "
            cold = line((name, palette.muted), (words.duration(figures.cold.p50_s), f"bold {palette.strong}"))
            return finished([fitted(line(cold, (f"   {said}", palette.muted)), width)], width, 1, palette)
        return finished([line((said, palette.muted))], width, 1, palette)
    feedback = figures.feedback
    parts = [_figure("feedback p50", words.duration(feedback.p50_s), palette, _paced(feedback.p50_s, palette))]
    high = "max" if feedback.is_max else "p95"
    parts.append(_figure(high, words.duration(feedback.high_s), palette, _paced(feedback.high_s, palette)))
    if figures.under_1_s_ratio is not None and width >= SHOWS_PLACE_FROM:
        parts.append(_figure("under 1 s", f"{figures.under_1_s_ratio:.0%}", palette))
    if figures.repairs.spread is not None:
        parts.append(_figure("red→green", words.duration(figures.repairs.spread.p50_s), palette))
    if figures.iterations_per_h is not None:
        parts.append(_figure("iter/h", f"{figures.iterations_per_h:.0f}", palette))
    share = f" ({figures.waited_ratio:.0%})" if figures.waited_ratio is not None else ""
    parts.append(_figure("waited", f"{words.duration(figures.waited_s)}{share}", palette))
    if figures.success_ratio is not None:
        parts.append(_figure("ok", f"{figures.success_ratio:.0%}", palette))
    return finished([fitting(parts, width)], width, 1, palette)


def _figure(name: str, value: str, palette: Palette, ink: str = "") -> Text:
    return line((f"{name} ", palette.muted), (value, f"bold {ink or palette.strong}"))


def _paced(seconds: float, palette: Palette) -> str:
    """A second holds a train of thought, ten lose it."""
    return palette.good if seconds < 1 else palette.warning if seconds < 10 else palette.bad


# --- keys -----------------------------------------------------------------------------------------------------------

LIVE = ("reload", "restart", "probe", "diff", "why", "log.filter", "log.level", "select", "zoom", "views")
FAILED = ("edit", "copy", "locals", "library", "reload", "undo", "why", "log.filter", "select", "views")
PAUSED = ("pause", "undo", "probe", "log.filter", "views")
OFFLINE = ("log.filter", "log.level", "why", "select", "views")
ENDED = ("log.filter", "log.pager", "select", "views")
LAST = ("help", "quit")
_LABELS = {
    "reload": "reload", "restart": "cold", "probe": "probe", "diff": "diff", "why": "why", "log.filter": "filter",
    "log.level": "level", "zoom": "zoom", "edit": "edit", "locals": "locals", "copy": "copy", "library": "frames", "undo": "undo",
    "pause": "pause", "log.pager": "pager", "help": "help", "confirm": "let it through", "quit": "quit", "select": "iter", "views": "views",
}  # fmt: skip


class Key(NamedTuple):
    """A key and what it does, a word."""

    key: str
    label: str


def keys_for(state: State, keys: Mapping[str, str], *, is_away: bool = False) -> list[Key]:
    """Say which keys matter now, the most important first; help and quit are always the last two.

    Args:
        state: What goes on.
        keys: What to press, by action.
        is_away: Something else than the loop is looked at.
    """
    ids = {"failed": FAILED, "paused": PAUSED, "offline": OFFLINE, "ended": ENDED}.get(state.status, LIVE)
    labels = {**_LABELS, "pause": "resume"} if state.is_paused else dict(_LABELS)
    if state.status == "failed":
        labels["reload"] = "retry"
    if state.hold is not None:
        ids = ("confirm", *ids)
    back = [Key("Esc", "back")] if is_away else []
    return back + [Key(_written(name, keys), labels[name]) for name in (*ids, *LAST)]


def _written(name: str, keys: Mapping[str, str]) -> str:
    if name == "select":
        return f"{keys['older']} {keys['newer']}"
    if name == "views":
        return f"{keys['view.loop']}-{keys['view.metrics']}"
    return keys[name]


def draw_keys(keys: Sequence[Key], width: int, palette: Palette) -> list[Text]:
    """Draw the last line; keys that don't fit are left out, from the right, but for the last two."""
    last = _caps(keys[-2:], palette)
    shown = line()
    for key in keys[:-2]:
        cap = _caps([key], palette)
        if shown.cell_len + cap.cell_len + 1 + last.cell_len > width:
            break
        shown.append_text(cap)
    return finished([spread(shown, last, width)], width, 1, palette)


def _caps(keys: Sequence[Key], palette: Palette) -> Text:
    made = line()
    for key in keys:
        made.append_text(
            line((f" {key.key} ", f"bold {palette.strong} on {palette.strip}"), (f" {key.label} ", palette.muted))
        )
    return made
