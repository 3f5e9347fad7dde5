"""Out of memory: what was asked for, who holds what, what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.panels import memory, waterfall
from hotloop.tui.panels.error import problem_of
from hotloop.tui.panels.lines import Row, blank, finished, kept, line, spread, wrapped
from hotloop.tui.panels.load import batch_sizes
from hotloop.tui.panels.meanings import badge, title_of

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.events import Problem
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State, Trip

_AIR, _ADVICE_REST, _HOLDERS, _PLACE, _MAP = 9, 6, 5, 4, 2
_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?([KMGT]?i?B|bytes)|Unable to allocate ([\d.]+) ([KMGTP]iB)")


def draw(state: State, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw the iteration that is looked at, which ran out of memory."""
    trip = state.trip
    problem = problem_of(trip) if trip is not None else None
    rows = [Row(_title(trip, width, palette, now_s)), blank(_AIR), *_what(problem, width, palette)]
    held = memory.map_of(state)
    if held is not None:
        rows += [blank(_AIR), *_map_rows(held, width, palette)]
    else:
        rows += [blank(_AIR), *_models_alone(state, palette)]
    rows.append(blank(_PLACE))
    rows += [
        Row(
            line((f"{number} ", f"bold {palette.code}"), text) if not index else line("  ", text),
            0 if number == 1 else _ADVICE_REST,
        )
        for number, advice in enumerate(advices(state, problem, held), 1)
        for index, text in enumerate(wrapped(line((advice, palette.text)), width - 2))
    ]
    return finished(kept(rows, height), width, height, palette)


def _title(trip: Trip | None, width: int, palette: Palette, now_s: float) -> Text:
    if trip is None:
        return line(("Memory", f"bold {palette.strong}"))
    name = title_of(trip) if width >= 45 else f"#{trip.number}"
    took = words.duration(waterfall.elapsed_s(trip, now_s))
    left = line((name, f"bold {palette.strong}"), "  ", badge("out of memory", palette.bad))
    return spread(left, line(("✗ ", palette.bad), (took, f"bold {palette.strong}")), width)


def _what(problem: Problem | None, width: int, palette: Palette) -> list[Row]:
    if problem is None:
        return []
    first = (problem.message.strip().splitlines() or [""])[0]
    asked = _asked(problem.message)
    said = f"{asked} more was asked for" if asked else first
    head = line((problem.type, f"bold {palette.bad}"), (f": {said}" if said else "", f"bold {palette.strong}"))
    rows = [Row(text, _ADVICE_REST if index else 0) for index, text in enumerate(wrapped(head, width)[:3])]
    where = problem.where
    if where is not None:
        place = (f"{where.file}:{where.line}", f"underline {palette.code}")
        code = (f"  {where.source.strip()}", palette.muted)
        rows.append(Row(line(place, (f"  in {where.function}", palette.muted), code), _PLACE))
    return rows


def _asked(message: str) -> str:
    """Say how much was asked for, as people write it; empty if the message does not."""
    match = _ASKED.search(message)
    amount, unit = [group for group in match.groups() if group] if match else ("", "")
    return words.size(int(amount)) if unit == "bytes" else f"{amount} {unit}".strip()


def _map_rows(held: memory.MemoryMap, width: int, palette: Palette) -> list[Row]:
    of = f" of {words.size(held.total_bytes)}" if held.total_bytes else ""
    what = "GPU memory" if held.is_gpu else "memory of the app's processes"
    before = line(
        (f"{what}  ", palette.muted), (words.size(held.used_bytes), f"bold {palette.strong}"), (of, palette.muted)
    )
    rows = [Row(before, _MAP), Row(memory.stack(held, width, palette), _MAP)]
    return rows + [Row(text, _HOLDERS) for text in memory.holder_rows(held, width, palette)]


def _models_alone(state: State, palette: Palette) -> list[Row]:
    """Without a measurement, what is known of the models."""
    models = sorted((model for model in state.models if model.size_bytes), key=lambda model: -model.size_bytes)
    return [
        Row(
            line(
                ("● ", palette.model), (f"{model.name} ", palette.text), (words.size(model.size_bytes), palette.muted)
            ),
            _HOLDERS,
        )
        for model in models
    ]


def advices(state: State, problem: Problem | None, held: memory.MemoryMap | None) -> list[str]:
    """Say what to do, the likeliest first; each from what was measured."""
    said = [problem.hint] if problem is not None and problem.hint else []
    sizes = batch_sizes(each for sample in state.samples for each in sample.endpoints)
    largest = max(state.models, key=lambda model: model.size_bytes, default=None)
    is_gpu = held is not None and held.is_gpu  # else most of the rest are libraries
    rest = next((holder for holder in held.holders if not holder.is_model), None) if held and is_gpu else None
    weights = sum(model.size_bytes for model in state.models)
    if rest is not None and rest.size_bytes > weights:
        said.append(
            f"{words.size(rest.size_bytes)} is held by no model: run inference under torch.inference_mode(), and keep no "
            "outputs on the GPU between requests"
        )
    if sizes and max(sizes) > 1:
        said.append(f"batches of up to {max(sizes)} were served: a smaller Batch(max_size=…) needs less at once")
    if largest is not None and largest.size_bytes:
        said.append(
            f"{largest.name} holds {words.size(largest.size_bytes)}: load it in a smaller type (bfloat16, int8)"
        )
    return said or ["load less at once: a smaller model, a smaller type (bfloat16, int8) or smaller batches"]
