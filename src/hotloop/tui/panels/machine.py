"""The machine in full: each endpoint with its batches, each model, the memory and what holds it, each GPU, link and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.panels import memory, runtime
from hotloop.tui.panels.bars import meter, sparkline
from hotloop.tui.panels.lines import Row, blank, finished, fitted, fitting, kept, line, padded, spread
from hotloop.tui.panels.load import batch_sizes, load_of

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.events import EndpointSample, GpuSample, ModelOutcome
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State

_AIR, _COST, _MODELS, _MAP, _BATCHES = 9, 7, 5, 4, 3
_PATH_CELLS = 22


def draw(state: State, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw all that is known of the runtime and its machine."""
    load = load_of(state, now_s)
    if load is None:
        return runtime.draw(state, width, height, palette, now_s)
    palette = runtime.shade(state, palette)
    head = spread(runtime.name_of(state, palette), runtime.age(state, now_s, palette), width)
    minute = sparkline(load.history, min(max(width - 30, 0), 60), palette.code, palette)
    rows = [Row(head), blank(_AIR), *_endpoint_rows(state, width, palette)]
    rows += [blank(_AIR), Row(line(("  last minute  ", palette.muted), minute), _BATCHES)]
    rows += [blank(_AIR), *_gpu_rows(state, width, palette)]
    held = memory.map_of(state)
    if held is not None:
        of = f" of {words.size(held.total_bytes)}" if held.total_bytes else " in the app's processes"
        rows += [
            blank(_AIR),
            Row(
                line(
                    ("memory  ", f"bold {palette.text}"),
                    (words.size(held.used_bytes), palette.strong),
                    (of, palette.muted),
                )
            ),
        ]
        rows += [Row(line("  ", text), _MAP) for text in memory.holder_rows(held, width - 2, palette)]
    rows += [blank(_AIR), *_model_rows(state, width, palette)] if state.models else []
    rows += [blank(_AIR), *_last_rows(state, width, palette)]
    return finished(kept(rows, height), width, height, palette)


# --- endpoints --------------------------------------------------------------------------------------------------


def _endpoint_rows(state: State, width: int, palette: Palette) -> list[Row]:
    last = state.samples[-1].endpoints
    path_cells = min(max([len(each.path) for each in last] + [9]), _PATH_CELLS) + 1
    names = ("req/s", "running", "waiting", "wait p95", "p50", "p95", "items/s")
    heads = [padded(line((name, palette.muted)), 10, is_right=True) for name in names]
    head = padded(line(("endpoints", f"bold {palette.text}")), path_cells + 2)
    rows = [Row(line(head, fitting(heads, max(width - head.cell_len, 1), gap="")))]
    if not last:
        rows.append(Row(line("  ", ("no requests now", palette.muted))))
    for each in sorted(last, key=lambda sample: -sample.requests_per_s):
        rows.append(Row(_endpoint(each, path_cells, width, palette)))
        sizes = batch_sizes(sample for taken in state.samples for sample in taken.endpoints if sample.path == each.path)
        count = sum(sizes.values())
        if count:
            mean = sum(size * number for size, number in sizes.items()) / count
            label = line(
                ("    batches  ", palette.muted), (f"{mean:.1f}", palette.text), (" on average  ", palette.muted)
            )
            picture = runtime.batches(sizes, max(width - label.cell_len, 0), palette)
            rows.append(Row(fitted(line(label, picture), width), _BATCHES))
    return rows


def _endpoint(each: EndpointSample, path_cells: int, width: int, palette: Palette) -> Text:
    times = [words.duration(value) if value is not None else "—" for value in (each.wait_p95_s, each.p50_s, each.p95_s)]
    items = runtime.rate(each.items_per_s) if each.items_per_s is not None else ""
    values = (runtime.rate(each.requests_per_s), f"{each.num_running}", f"{each.num_waiting}", *times, items)
    cells = [padded(line((value, palette.text)), 10, is_right=True) for value in values]
    name = padded(line("  ", (each.path, f"bold {palette.strong}")), path_cells + 2)
    return line(name, fitting(cells, max(width - name.cell_len, 1), gap=""))


# --- GPUs, models, the rest -------------------------------------------------------------------------------------


def _gpu_rows(state: State, width: int, palette: Palette) -> list[Row]:
    gpus = state.samples[-1].gpus
    if not gpus:
        return [Row(line(("no GPU", palette.muted)), _COST)]
    return [Row(text) for index, gpu in enumerate(gpus) for text in _gpu(index, gpu, width, palette)]


def _gpu(index: int, gpu: GpuSample, width: int, palette: Palette) -> list[Text]:
    name = line((f"GPU {index}  ", f"bold {palette.text}"), (gpu.name, palette.muted))
    bars = [
        ("SM active", gpu.sm_ratio, f"{gpu.sm_ratio:.0%}" if gpu.sm_ratio is not None else "the driver does not say"),
        ("power", _power_ratio(gpu), _power(gpu)),
        ("memory", gpu.memory_used_bytes / gpu.memory_total_bytes if gpu.memory_total_bytes else None, _held(gpu)),
    ]
    rows = [fitted(name, width)]
    for label, ratio, said in bars:
        text = padded(line((f"  {label}", palette.muted)), 13)
        number = line((f"{said:>16}", palette.text if ratio is not None else palette.muted))
        bar = min(max(width - text.cell_len - number.cell_len - 2, 0), 40)
        picture = meter(ratio, bar, palette.good, palette) if ratio is not None else line()
        rows.append(fitted(line(text, number, "  ", picture), width))
    if gpu.sm_ratio is None and gpu.busy_ratio is not None:
        said = f"  some kernel ran {gpu.busy_ratio:.0%} of the time, which does not say how much of the GPU it used"
        rows.append(fitted(line((said, palette.muted)), width))
    return rows


def _power_ratio(gpu: GpuSample) -> float | None:
    return gpu.power_w / gpu.power_limit_w if gpu.power_w is not None and gpu.power_limit_w else None


def _power(gpu: GpuSample) -> str:
    if gpu.power_w is None:
        return "not known"
    return f"{gpu.power_w:.0f} W of {gpu.power_limit_w:.0f} W" if gpu.power_limit_w else f"{gpu.power_w:.0f} W"


def _held(gpu: GpuSample) -> str:
    return f"{memory.gigabytes(gpu.memory_used_bytes)} of {memory.gigabytes(gpu.memory_total_bytes)} GB"


def _model_rows(state: State, width: int, palette: Palette) -> list[Row]:
    size = words.size(sum(model.size_bytes for model in state.models))
    head = line(("models  ", f"bold {palette.text}"), (size, palette.muted))
    largest = sorted(state.models, key=lambda model: -model.size_bytes)
    return [Row(head, _MODELS), *(Row(_model(model, width, palette), _MODELS) for model in largest)]


def _model(model: ModelOutcome, width: int, palette: Palette) -> Text:
    home = {"resident": "in the vault", "hosted": "in a process of its own", "worker": "not resident"}[model.home]
    size = words.size(model.size_bytes) if model.size_bytes else "size not known"
    how = "loaded in" if model.action == "loaded" else "attached in"
    about = f"  {home}  {how} {words.duration(model.took_s)}  {model.why}"
    return fitted(
        line(
            "  ", padded(line((model.name, palette.text)), 16), (f"{size:>8}", palette.strong), (about, palette.muted)
        ),
        width,
    )


def _last_rows(state: State, width: int, palette: Palette) -> list[Row]:
    rows: list[Row] = []
    if state.cost is not None:
        cost = state.cost
        parts = [
            line((f"${cost.per_hour:.2f}", palette.strong), (" an hour", palette.muted)),
            line((f"${cost.session:.2f}", palette.strong), (" so far", palette.muted)),
            line((f"${cost.idle:.2f}", palette.strong), (" of it idle", palette.muted)),
        ]
        if cost.per_1k_requests is not None:
            parts.append(line((f"${cost.per_1k_requests:.3f}", palette.strong), (" per 1k requests", palette.muted)))
        if cost.per_1m_items is not None:
            parts.append(line((f"${cost.per_1m_items:.2f}", palette.strong), (" per 1M items", palette.muted)))
        if cost.budget is not None:
            parts.append(line((f"${cost.budget:.2f}", palette.strong), (" budget", palette.muted)))
        parts.append(line((f"({cost.source})", palette.muted)))
        rows.append(Row(line(("cost  ", f"bold {palette.text}"), fitting(parts, max(width - 6, 1))), _COST))
    if state.link is not None:
        trip = line(
            (words.duration(state.link.round_trip_s), palette.strong), (f" to {state.runner} and back", palette.muted)
        )
        rows.append(Row(line(("link  ", f"bold {palette.text}"), trip), _COST))
    return rows
