"""From options and settings to what a session's runner costs, and what it may."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hotloop.devloop import prices
from hotloop.devloop.cost import Budget, Price
from hotloop.devloop.tariff import Terms
from hotloop.errors import UsageError

if TYPE_CHECKING:
    from hotloop.config import Settings
    from hotloop.remote_runner.runners import Runner


def terms(settings: Settings, runner: Runner, budget: float | None) -> Terms:
    """Join what was typed with the settings of the project and of the runner.

    Args:
        settings: The project's.
        runner: Where it runs.
        budget: As typed after ``--budget``; None: not said.

    Raises:
        UsageError: Something of it can't be.
    """
    if budget is not None and not 0 < budget < math.inf:
        msg = f"--budget is {budget:g}, US dollars above 0 were expected"
        raise UsageError(msg, hint="write it as --budget 5")
    limit = budget if budget is not None else settings.budget
    return Terms(
        runner=runner.name,
        price=_price(settings, runner),
        provider=_provider(runner),
        budget=Budget(float(limit), is_end=bool(settings.budget_stops)) if limit is not None else None,
    )


def _price(settings: Settings, runner: Runner) -> Price | None:
    if runner.price is not None:
        return Price(float(runner.price), f"runner {runner.name}")
    if settings.price_per_hour is not None:
        return Price(float(settings.price_per_hour), "pyproject.toml")
    return None


def _provider(runner: Runner) -> str:
    from hotloop.remote_runner.ssh import target

    if runner.provider:
        known = sorted(prices.table().hosts)
        if runner.provider not in known:
            msg = f"runner {runner.name!r}: provider is {runner.provider!r}, which has no list prices here"
            raise UsageError(msg, hint=f"there are: {', '.join(known)}; or give a price: price = 1.50")
        return runner.provider
    if runner.is_local or runner.is_container:
        return ""
    return prices.table().provider_of(target.parse(runner.target).host)
