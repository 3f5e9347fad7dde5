"""What the memory is used for: models, the rest, what is free; and how far one that is being loaded is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.frozen import frozen
from hotloop.tui.panels.bars import meter, stacked
from hotloop.tui.panels.lines import line, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State


FREE = "free"
MIN_SPEED_S = 0.5  # a speed of less says nothing


@frozen
class Holder:
    """What holds memory."""

    name: str
    size_bytes: int
    is_model: bool


@frozen
class MemoryMap:
    """Memory and what holds it, the largest first; of all GPUs together, else of the app's processes.

    Attributes:
        total_bytes: 0 if that is not known, as for processes.
        holders: They sum to `used_bytes`.
    """

    used_bytes: int
    total_bytes: int
    holders: tuple[Holder, ...]
    is_gpu: bool

    @property
    def free_bytes(self) -> int:
        """What nobody holds."""
        return max(self.total_bytes - self.used_bytes, 0)


def map_of(state: State) -> MemoryMap | None:
    """Split the memory of the last sample by model; None if nothing was sampled."""
    if not state.samples:
        return None
    last = state.samples[-1]
    total = sum(gpu.memory_total_bytes for gpu in last.gpus)
    used = sum(gpu.memory_used_bytes for gpu in last.gpus) if last.gpus else last.memory_bytes
    return MemoryMap(used, total, _holders(state, used, is_gpu=bool(last.gpus)), bool(last.gpus)) if used else None


def _holders(state: State, used_bytes: int, *, is_gpu: bool) -> tuple[Holder, ...]:
    models = sorted(
        (Holder(model.name, model.size_bytes, True) for model in state.models if model.size_bytes > 0),
        key=lambda holder: -holder.size_bytes,
    )
    held = sum(model.size_bytes for model in models)
    if held > used_bytes:  # not all of them lie there, and which ones do is not known
        return (Holder("all together", used_bytes, False),)
    rest = used_bytes - held
    name = "activations, caches, other processes" if is_gpu else "code, libraries, activations"
    return (*models, *([Holder(name, rest, False)] if rest else []))


def gigabytes(size_bytes: int) -> str:
    """Write a size in GB without the unit: ``52.3``, ``80``."""
    return f"{size_bytes / 1e9:.1f}".removesuffix(".0")


def holder_style(index: int, holder: Holder, palette: Palette) -> str:
    """Give a holder's colour: models in turn, the rest muted."""
    if not holder.is_model:
        return palette.muted
    return (palette.model, palette.code, palette.environment, palette.cold)[index % 4]


def stack(held: MemoryMap, width: int, palette: Palette) -> Text:
    """Draw it as one thin bar."""
    whole = max(held.total_bytes, held.used_bytes)
    parts = [
        (holder.size_bytes / whole, holder_style(index, holder, palette)) for index, holder in enumerate(held.holders)
    ]
    return stacked(parts, width, palette)


def holder_rows(held: MemoryMap, width: int, palette: Palette) -> list[Text]:
    """Draw a row a holder and one for what is free, each with its share."""
    whole = max(held.total_bytes, held.used_bytes)
    named: Sequence[tuple[str, int, str]] = [
        (holder.name, holder.size_bytes, holder_style(index, holder, palette))
        for index, holder in enumerate(held.holders)
    ]
    if held.total_bytes:
        named = [*named, (FREE, held.free_bytes, palette.track)]
    name_cells = min(max((len(name) for name, _, _ in named), default=0) + 1, max(width // 2, 8))
    bar = max(width - name_cells - 18, 0)
    return [
        line(
            ("■ ", style),
            padded(line((name, palette.text)), name_cells),
            padded(line((words.size(size), f"bold {palette.strong}")), 8, is_right=True),
            (f"{_share(size, whole):>5}  ", palette.muted),
            meter(size / whole, bar, style, palette) if name != FREE else "",
        )
        for name, size, style in named
    ]


def _share(size: int, whole: int) -> str:
    return "<1%" if 0 < size < 0.005 * whole else f"{size / whole:.0%}"


def loading_rows(state: State, width: int, palette: Palette, *, speed_s: float | None = None) -> list[Text]:
    """Say how far the loader that runs is, in bytes; of how many where the model was in memory before.

    Args:
        state: What is known.
        width: Cells.
        palette: Colours.
        speed_s: How long it has been at it; None says no speed.
    """
    loading = state.loading
    if loading is None:
        return []
    whole = next((model.size_bytes for model in state.models if model.name == loading.model), 0)
    done = words.size(loading.done_bytes)
    told = f"{done} of {words.size(whole)}" if whole >= loading.done_bytes > 0 else f"{done} read"
    if not loading.done_bytes:  # it has begun, or is read by what nobody can look into
        return [
            line(
                f"  {loading.model}  ", (f"loading, {words.size(whole)} before" if whole else "loading", palette.muted)
            )
        ]
    per_s = (
        f"  {words.size(round(loading.done_bytes / speed_s))}/s"
        if speed_s is not None and speed_s >= MIN_SPEED_S
        else ""
    )
    name = line(("  ", ""), (f"{loading.model}  ", palette.text))
    said = line((told, f"bold {palette.strong}"), (per_s, palette.muted))
    bar = width - name.cell_len - said.cell_len - 2
    if not whole or bar < 6:
        return [line(name, said)]
    return [line(name, meter(loading.done_bytes / whole, bar, palette.model, palette), "  ", said)]
