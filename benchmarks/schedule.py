"""Take samples of several sides in turn, so that noise of the machine is shared by all of them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Side:
    """Something that is sampled: how often, and by what."""

    name: str
    count: int
    sample: Callable[[int], object]


@dataclass
class Failures:
    """What could not be measured, by name, and why. One that fails does not stop the rest."""

    reasons: dict[str, str] = field(default_factory=dict[str, str])

    def attempt(self, name: str, action: Callable[[], object]) -> bool:
        """Run it; whether it went well."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a peer's or the loop's own failure is a result, and is printed
            traceback.print_exc()
            self.reasons[name] = f"{type(error).__name__}: {error}"[:500]
            return False
        return True


def interleave(sides: list[Side], failures: Failures) -> None:
    """Sample each side as often as it wants, spread evenly over the rounds of the one that wants most."""
    rounds = max((side.count for side in sides), default=0)
    for number in range(rounds):
        for side in sides:
            is_due = (number + 1) * side.count // rounds > number * side.count // rounds
            if is_due and side.name not in failures.reasons:
                failures.attempt(side.name, lambda side=side, number=number: side.sample(number))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
