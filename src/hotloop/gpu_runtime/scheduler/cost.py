"""What a call costs, learned from the times seen: ``t = per_call + per_unit * units``.

Recursive least squares with forgetting, in relative errors: a call of ten seconds may miss by one, one of ten
milliseconds may not. A unit is what an endpoint's sizes count; a call's units are its requests times their largest size.
"""

from __future__ import annotations

import math

FORGETTING = 0.97  # a call counts half after 23 others
MAX_MISS = 3.0  # a time that misses by more of the usual misses counts as one that missed by so many
UNLIKE_IN_A_ROW = 4  # calls that missed by more: the next one says that the machine is not what it was
_SPREAD_AT_FIRST = 100.0  # in squares of a usual miss: what was seen once says next to nothing of the split
_LEAST_S = 1e-7
_LEAST_UNITS = 1e-6


class CostModel:
    """Learns one endpoint's times. Before the first it predicts nothing: 0 seconds, and calls as few as can be.

    Attributes:
        per_call_s: What a call costs however little is in it.
        per_unit_s: What each unit adds.
        num_seen: How many calls it has learned from.
    """

    __slots__ = (
        "_mean_units",
        "_miss",
        "_num_unlike",
        "_pcc",
        "_pcu",
        "_puu",
        "_scale",
        "num_seen",
        "per_call_s",
        "per_unit_s",
    )

    def __init__(self) -> None:
        self.per_call_s: float = 0.0
        self.per_unit_s: float = 0.0
        self.num_seen = 0
        self._scale: float = 1.0
        self._mean_units: float = 1.0
        self._miss: float = 0.2
        self._num_unlike = 0
        self._pcc: float = _SPREAD_AT_FIRST
        self._pcu: float = 0.0
        self._puu: float = _SPREAD_AT_FIRST

    def __repr__(self) -> str:
        return f"<CostModel {self.per_call_s:.6f} s + {self.per_unit_s:.3g} s a unit, from {self.num_seen} calls>"

    @property
    def is_known(self) -> bool:
        """Whether it can predict."""
        return self.num_seen > 0

    @property
    def call_in_units(self) -> float:
        """How many units of padding cost as much as another call; infinite while that is not known."""
        return self.per_call_s / self.per_unit_s if self.per_unit_s > 0 else math.inf

    def predict_s(self, units: float) -> float:
        """Say how long a call will take; 0 before anything was seen."""
        return self.per_call_s + self.per_unit_s * units

    def units_within(self, limit_s: float) -> float:
        """Say how many units a call of ``limit_s`` has room for; infinite before anything was seen."""
        if self.per_unit_s <= 0:
            return math.inf if self.per_call_s <= limit_s else 0.0
        return max(0.0, (limit_s - self.per_call_s) / self.per_unit_s)

    def saw(self, units: float, took_s: float) -> None:
        """Learn from a call that is done."""
        took_s, units = max(took_s, _LEAST_S), max(units, _LEAST_UNITS)
        if not self.num_seen:
            self._begin(units, took_s)
        else:
            self._mean_units += 0.05 * (units - self._mean_units)
            self._correct(units, took_s)
        self.num_seen += 1

    def _begin(self, units: float, took_s: float) -> None:
        self._scale = self._mean_units = units
        self.per_call_s = took_s / 2
        self.per_unit_s = took_s / 2 / self._scale

    def _correct(self, units: float, took_s: float) -> None:
        expected_s = max(self.predict_s(units), _LEAST_S)
        miss = took_s / expected_s - 1
        bound = MAX_MISS * self._miss
        if abs(miss) <= bound:
            self._num_unlike = 0
        elif self._num_unlike < UNLIKE_IN_A_ROW:
            self._num_unlike += 1
        else:
            self._doubt()
            bound = MAX_MISS * self._miss
        self._miss += 0.1 * (min(abs(miss), bound) - self._miss)
        self._miss = max(self._miss, 0.01)
        self._step(units / self._scale, max(-bound, min(bound, miss)) * expected_s)
        self._keep_positive()

    def _doubt(self) -> None:
        """Believe the next calls rather than those before: so many in a row are no accident."""
        self._num_unlike = 0
        self._miss = 1.0
        self._pcc = self._puu = _SPREAD_AT_FIRST
        self._pcu = 0.0

    def _step(self, x: float, miss_s: float) -> None:
        # The covariance is of the parameters over the usual time at the mean, so that it has no unit.
        usual_s = max(self.predict_s(self._mean_units), _LEAST_S)
        weight = (self.predict_s(x * self._scale) / usual_s) ** 2
        gain_call = self._pcc + self._pcu * x
        gain_unit = self._pcu + self._puu * x
        noise = FORGETTING * max(weight, 1e-6) + gain_call + gain_unit * x
        self.per_call_s += gain_call / noise * miss_s
        self.per_unit_s += gain_unit / noise * miss_s / self._scale
        pcc = self._pcc - gain_call * gain_call / noise
        pcu = self._pcu - gain_call * gain_unit / noise
        puu = self._puu - gain_unit * gain_unit / noise
        # Calls that are all alike teach nothing of the split: to forget on and on would leave it to chance.
        faded = FORGETTING if pcc + puu < 2 * _SPREAD_AT_FIRST * FORGETTING else 1.0
        self._pcc, self._pcu, self._puu = pcc / faded, pcu / faded, puu / faded

    def _keep_positive(self) -> None:
        """Neither part is negative: what is too much goes to the other, at the calls' usual size."""
        if self.per_call_s < 0:
            self.per_unit_s = max(0.0, self.per_unit_s + self.per_call_s / self._mean_units)
            self.per_call_s = 0.0
        elif self.per_unit_s < 0:
            self.per_call_s = max(0.0, self.per_call_s + self.per_unit_s * self._mean_units)
            self.per_unit_s = 0.0
