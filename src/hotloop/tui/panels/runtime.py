"""What the runtime does now: throughput, batches, queue, memory, GPU, cost; as a panel, and as a strip of two rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from hotloop.devloop import words
from hotloop.tui.panels import memory
from hotloop.tui.panels.bars import meter, sparkline
from hotloop.tui.panels.lines import Row, blank, finished, fitting, joined, kept, line, padded, spread
from hotloop.tui.panels.load import Load, load_of

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.events import CostReported, GaugeSample
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State

_LABEL, _VALUE, _GAP = 8, 9, 2
IDLE_S = 4.0  # without a sample: nothing is served, and no figure changes
MAX_BATCH_COLUMNS = 24


def draw(state: State, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw the runtime's last second, and its last minute as a line."""
    palette = shade(state, palette)
    head = spread(name_of(state, palette), age(state, now_s, palette), width)
    load = load_of(state, now_s)
    if load is None:
        return finished([head, *_nothing(state, width, height, palette)], width, height, palette)
    rows = [Row(head), blank(9)]
    rows += _rows(state, load, width, palette)
    return finished(kept(rows, height), width, height, palette)


def draw_strip(state: State, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw the same in two rows, for narrow screens: as many figures as fit, the first are the most important."""
    palette = shade(state, palette)
    load = load_of(state, now_s)
    if load is None:
        return finished(_nothing(state, width, 2, palette)[:2], width, height, palette)
    bar = palette.code
    speed = [_figure("req/s", rate(load.requests_per_s), palette, sparkline(load.history, 10, bar, palette))]
    if load.items_per_s is not None:
        speed.append(_figure("items/s", rate(load.items_per_s), palette))
    if load.mean_batch is not None:
        speed.append(_figure("batch", f"{load.mean_batch:.1f}", palette))
    speed.append(_figure("queue", f"{load.num_waiting}", palette))
    if load.p95_s is not None:
        speed.append(_figure("p95", words.duration(load.p95_s), palette))
    space: list[Text] = []
    held = memory.map_of(state)
    if held is not None:
        used = (
            f"{memory.gigabytes(held.used_bytes)}/{memory.gigabytes(held.total_bytes)} GB" if held.total_bytes else ""
        )
        stack = memory.stack(held, 8, palette) if held.total_bytes else None
        space.append(_figure("mem", used or words.size(held.used_bytes), palette, stack))
    use = gpu_use(state)
    if use is not None:
        space.append(_figure(use.name, use.value, palette, meter(use.ratio, 8, palette.good, palette)))
    for gauge in gauges_of(state):
        picture = meter(gauge.value / gauge.limit, 8, palette.model, palette) if gauge.limit else None
        space.append(_figure(gauge.name, gauge_value(gauge), palette, picture))
    cost = _cost(state.cost)
    if cost is not None:
        space.append(line((f"{cost[1]} ", palette.muted), (cost[0], f"bold {palette.strong}")))
    old = age(state, now_s, palette) if is_stale(state) else line()
    first = fitting(speed, max(width - old.cell_len - 2, 1)) if old.cell_len else fitting(speed, width)
    return finished([spread(first, old, width), fitting(space, width)], width, height, palette)


def is_stale(state: State) -> bool:
    """Whether what is known may not be true any more: the runner does not answer."""
    return state.offline is not None or state.status == "offline"


def shade(state: State, palette: Palette) -> Palette:
    """Give the palette to draw with: all grey if the figures are stale."""
    if not is_stale(state):
        return palette
    grey = palette.muted
    return dataclasses.replace(
        palette, text=grey, strong=grey, good=grey, bad=grey, code=grey, model=grey, environment=grey, cold=grey
    )


def name_of(state: State, palette: Palette) -> Text:
    """Say whose figures these are."""
    models = ", ".join(model.name for model in state.models) or state.runner
    return line(("Runtime", f"bold {palette.strong}"), (f"  {models}", palette.muted))


def age(state: State, now_s: float, palette: Palette) -> Text:
    """Say how old the figures are."""
    if state.sampled_at_s is None:
        return line()
    age_s = max(now_s - state.sampled_at_s, 0.0)
    if is_stale(state):
        return line((f"stale · {_seconds(age_s)} ago", palette.warning))
    idle_s = min(age_s, max(now_s - state.active_at_s, 0.0))  # no sample is sent where none of its figures is new
    if idle_s > IDLE_S:
        return line((f"idle {_seconds(idle_s)}", palette.muted))
    return line(("1 s", palette.muted))


def _seconds(age_s: float) -> str:
    return f"{age_s:.0f} s" if age_s < 60 else words.duration(age_s)


def _nothing(state: State, width: int, height: int, palette: Palette) -> list[Text]:
    """What there is before the first sample: how far a model is, else that figures follow."""
    rows = list(memory.loading_rows(state, width, palette))
    if not rows:
        said = "nothing serves" if state.serving is None else "figures follow with the first request"
        rows = [line((f"  {said}", palette.muted))]
    return [*([line()] if height > len(rows) + 1 else []), *rows]


def rate(per_s: float) -> str:
    """Write a rate without its unit: ``1,842``, ``47.1``, ``0.47``, ``0``."""
    return words.rate(per_s).removesuffix("/s") if per_s else "0"


def _rows(state: State, load: Load, width: int, palette: Palette) -> list[Row]:
    room = max(width - _LABEL - _VALUE - _GAP, 0)
    rows = [_row("req/s", rate(load.requests_per_s), sparkline(load.history, room, palette.code, palette), palette, 0)]
    if load.items_per_s is not None:
        line_of = sparkline(load.items_history, room, palette.model, palette)
        rows.append(_row("items/s", rate(load.items_per_s), line_of, palette, 3))
    if load.mean_batch is not None:
        rows.append(_row("batch", f"{load.mean_batch:.1f}", batches(load.batch_sizes, room, palette), palette, 4))
    wait = f"wait p95 {words.duration(load.wait_p95_s)}" if load.wait_p95_s is not None else "nobody waited"
    rows.append(_row("queue", f"{load.num_waiting}", line((wait, palette.muted)), palette, 1))
    if load.p50_s is not None and load.p95_s is not None:
        p95 = line((f"p95 {words.duration(load.p95_s)}  {load.busiest}", palette.muted))
        rows.append(_row("p50", words.duration(load.p50_s), p95, palette, 5))
    rows += _memory_rows(state, room, palette)
    rows += [_gauge_row(gauge, room, palette) for gauge in gauges_of(state)]
    use = gpu_use(state)
    if use is not None:
        rows.append(_row(use.name, use.value, _metered(use.ratio, use.about, room, palette), palette, 2))
    cost = _cost(state.cost)
    if cost is not None:
        rows.append(_row("cost", cost[0], line((cost[1], palette.muted)), palette, 6))
    return rows


def _row(label: str, value: str, tail: Text, palette: Palette, rank: int) -> Row:
    name = padded(line((label, palette.muted)), _LABEL)
    number = padded(line((value, f"bold {palette.strong}")), _VALUE, is_right=True)
    return Row(line(name, number, " " * _GAP, tail), rank)


def _metered(ratio: float, about: str, room: int, palette: Palette) -> Text:
    bar = max(room - len(about) - 2, 0)
    return line(meter(ratio, bar, palette.good, palette), (f"  {about}" if about else "", palette.muted))


def batches(sizes: dict[int, int], room: int, palette: Palette) -> Text:
    """A histogram of batch sizes from 1 to the largest; many sizes are put together."""
    if not sizes or room < 4:
        return line()
    low, high = min(sizes), max(sizes)
    span = f"  {low}–{high}" if high > low else f"  all {low}"
    columns = min(max(room - len(span), 1), MAX_BATCH_COLUMNS, high - low + 1)
    counts: list[float | None] = [0.0] * columns
    for size, count in sizes.items():
        index = min((size - low) * columns // (high - low + 1), columns - 1)
        counts[index] = (counts[index] or 0.0) + count
    return line(sparkline(counts, columns, palette.model, palette), (span, palette.muted))


def _memory_rows(state: State, room: int, palette: Palette) -> list[Row]:
    held = memory.map_of(state)
    if held is None:
        return []
    value = f"{memory.gigabytes(held.used_bytes)} GB" if held.total_bytes else words.size(held.used_bytes)
    if not held.total_bytes:
        return [_row("memory", value, line(("of the app's processes", palette.muted)), palette, 2)]
    total = f"  {memory.gigabytes(held.total_bytes)} GB"
    bar = memory.stack(held, max(room - len(total), 0), palette)
    return [_row("memory", value, line(bar, (total, palette.muted)), palette, 2)]


def gauges_of(state: State) -> tuple[GaugeSample, ...]:
    """The app's own figures, such as a KV cache's pages."""
    return state.samples[-1].gauges if state.samples else ()


def gauge_value(gauge: GaugeSample) -> str:
    """Write a figure as a share of what it can be, or as it is."""
    return f"{gauge.value / gauge.limit:.0%}" if gauge.limit else f"{gauge.value:,.6g}"


def _gauge_row(gauge: GaugeSample, room: int, palette: Palette) -> Row:
    name = gauge.name if cell_len(gauge.name) > _LABEL else ""  # it is cut in front
    if not gauge.limit:
        return _row(gauge.name, gauge_value(gauge), line((name, palette.muted)), palette, 7)
    about = f"{name} {gauge.value:,.6g} of {gauge.limit:,.6g}".strip()
    return _row(gauge.name, gauge_value(gauge), _metered(gauge.value / gauge.limit, about, room, palette), palette, 7)


class Use(NamedTuple):
    """How much the GPUs are used: what says it, how it is written, its share of what there is, of what that is."""

    name: str
    value: str
    ratio: float
    about: str


def gpu_use(state: State) -> Use | None:
    """Say how much the GPUs are used: their multiprocessors, else their power; None if the driver says neither.

    That any kernel ran (`busy_ratio`) is no measure of use: one tiny kernel reads as 100 %.
    """
    gpus = state.samples[-1].gpus if state.samples else ()
    active = [gpu.sm_ratio for gpu in gpus if gpu.sm_ratio is not None]
    if active:
        mean = sum(active) / len(active)
        return Use("SM", f"{mean:.0%}", mean, "active")
    drawn = [gpu.power_w for gpu in gpus if gpu.power_w is not None]
    if not drawn:
        return None
    limit_w = sum(gpu.power_limit_w or 0.0 for gpu in gpus if gpu.power_w is not None)
    return Use(
        "power",
        f"{sum(drawn):.0f} W",
        sum(drawn) / limit_w if limit_w else 0.0,
        f"of {limit_w:.0f} W" if limit_w else "",
    )


def _cost(cost: CostReported | None) -> tuple[str, str] | None:
    if cost is None:
        return None
    if cost.per_1m_items is not None:
        return f"${cost.per_1m_items:.2f}", "per 1M items"
    if cost.per_1k_requests is not None:
        return f"${cost.per_1k_requests:.3f}", "per 1k requests"
    return f"${cost.per_hour:.2f}", "per hour"


def _figure(label: str, value: str, palette: Palette, picture: Text | None = None) -> Text:
    parts = [line((f"{label} ", palette.muted), (value, f"bold {palette.strong}"))]
    return joined([*parts, *([picture] if picture is not None else [])], gap=" ")
