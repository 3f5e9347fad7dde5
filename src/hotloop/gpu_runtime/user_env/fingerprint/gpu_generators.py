# pyright: basic
# (torch's own, private in part)
"""The random generators of the GPUs, seeded or about to be: torch keeps a seed until a process first uses the GPU."""

from __future__ import annotations

import struct
from typing import Any

_STATE = struct.Struct("<Qq")  # of a generator of Philox4x32-10: its seed, and how far it has counted
State = tuple[int, int]


def read(torch: Any) -> list[State]:
    """The seed and count of each GPU's generator; one for all if torch keeps a seed; none if nobody seeded any."""
    if torch.cuda.is_initialized():
        return [_STATE.unpack(bytes(each.get_state().tolist())) for each in torch.cuda.default_generators]
    waiting = getattr(getattr(torch.cuda, "_lazy_seed_tracker", None), "call_order", ())
    if not waiting:
        return []
    callback, _ = waiting[-1]
    kept = dict(zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=True))
    if "states" in kept:  # by `write`
        return kept["states"].cell_contents
    return [(kept["seed"].cell_contents, 0)] if "seed" in kept else []


def write(torch: Any, states: list[State]) -> None:
    """Set the generators, now or when the GPU is first used; of GPUs that are more than the states, as the last one."""

    def set_all() -> None:
        for number, generator in enumerate(torch.cuda.default_generators):
            seed, count = states[min(number, len(states) - 1)]
            generator.manual_seed(seed)
            if count:
                state = _STATE.pack(seed, count)
                generator.set_state(torch.tensor(list(state), dtype=torch.uint8, device="cpu"))

    if torch.cuda.is_initialized():
        set_all()
    elif hasattr(torch.cuda, "_lazy_seed_tracker"):
        # Not by `_lazy_call`, which formats the stack for an error that can't come: that takes as long as a reload.
        torch.cuda._lazy_seed_tracker.queue_seed_all(set_all, [])  # noqa: SLF001
