"""What this session's runner costs: what the user says, else a provider's list price once its GPUs are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import cost, prices
from hotloop.events import Notice
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.events import GpuSample


@frozen
class Terms:
    """What is known of it before anything runs.

    Attributes:
        runner: Its name.
        price: What the user said; None if nothing.
        provider: Whose machine it is; empty if that is not known.
        budget: What the session may cost; None if nothing was said.
    """

    runner: str = "local"
    price: cost.Price | None = None
    provider: str = ""
    budget: cost.Budget | None = None


def list_price(terms: Terms, gpus: Sequence[GpuSample]) -> cost.Price | None:
    """Find the provider's price of all of a runner's GPUs; None if one of them is not in the table."""
    table = prices.table()
    found = [table.find(terms.provider, gpu.name) for gpu in gpus]
    known = [price for price in found if price is not None]
    if not known or len(known) < len(found):
        return None
    read_on = min(price.read_on for price in known)
    return cost.Price(sum(price.per_hour for price in known), f"{terms.provider}'s list price of {read_on:%Y-%m}")


def unknown(terms: Terms, gpus: Sequence[GpuSample], now_s: float) -> Notice | None:
    """Say what to do about a price that is not known; None where nobody would miss it."""
    names = list(dict.fromkeys(gpu.name for gpu in gpus))
    known = [price for name in names for price in prices.table().of_gpu(name)]
    setting = f"[tool.hotloop.runners.{terms.runner}]" if terms.runner != "local" else "[tool.hotloop]"
    key = "price" if terms.runner != "local" else "price_per_hour"
    say_price = f"say what an hour costs, 0 for nothing: {key} = 1.50 in {setting} of pyproject.toml"
    if terms.budget is not None:
        text = f"the budget can't be watched: what {terms.runner} costs is not known"
        return Notice(now_s, "price", text, say_price)
    if terms.runner == "local" or not known:
        return None
    low, high = min(price.per_hour for price in known), max(price.per_hour for price in known)
    span = cost.dollars(low) if low == high else f"{cost.dollars(low)} to {cost.dollars(high)}"
    whose = f"{terms.provider}'s price of {', '.join(names)}" if terms.provider else f"what {terms.runner} costs"
    providers = ", ".join(sorted({price.provider for price in known}))
    text = f"{whose} is not known; a GPU like its is {span} an hour, by provider"
    hint = say_price if terms.provider else f"{say_price}; or whose it is: provider = one of {providers}"
    return Notice(now_s, "price", text, hint)
