"""What a GPU costs an hour: a table that comes with hotloop, with the date and the source of each price."""

from __future__ import annotations

import datetime as dt
import tomllib
from functools import cache
from pathlib import Path

from hotloop.frozen import frozen

_TABLE = Path(__file__).with_name("prices.toml")


@frozen
class ListPrice:
    """A provider's price of one kind of GPU.

    Attributes:
        provider: Its name here.
        gpus: What NVIDIA's driver calls that kind.
        per_hour: US dollars for one GPU.
        read_on: When that was the price.
        source: Where it was read.
    """

    provider: str
    gpus: tuple[str, ...]
    per_hour: float
    read_on: dt.date
    source: str


@frozen
class Table:
    """All list prices.

    Attributes:
        prices: In the file's order.
        hosts: By provider, how the names of its machines end.
    """

    prices: tuple[ListPrice, ...]
    hosts: dict[str, tuple[str, ...]]

    def provider_of(self, host: str) -> str:
        """Say whose machine it is by its name; empty if that does not tell."""
        for provider, ends in self.hosts.items():
            if any(host == end or host.endswith(f".{end}") for end in ends):
                return provider
        return ""

    def find(self, provider: str, gpu: str) -> ListPrice | None:
        """Give a provider's price of a GPU by the driver's name of it."""
        return next((price for price in self.prices if price.provider == provider and gpu in price.gpus), None)

    def of_gpu(self, gpu: str) -> list[ListPrice]:
        """Give all prices of a GPU, the lowest first."""
        return sorted((price for price in self.prices if gpu in price.gpus), key=lambda price: price.per_hour)


@cache
def table() -> Table:
    """Read the table."""
    data = tomllib.loads(_TABLE.read_text(encoding="utf-8"))["providers"]
    prices = tuple(
        ListPrice(provider, tuple(each["gpus"]), float(each["per_hour"]), each["read_on"], each["source"])
        for provider, said in data.items()
        for each in said["prices"]
    )
    return Table(prices, {provider: tuple(said["hosts"]) for provider, said in data.items()})
