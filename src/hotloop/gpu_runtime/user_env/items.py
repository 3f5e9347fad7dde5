"""The requests of a call, and their answers, in a frame's header: each one's own description, or what all have in common.

Either ``items``, a list of objects with an ``id``, the ``size`` of its bytes in the payload and more; or, where they
differ in nothing else, the lists ``ids`` and ``lengths`` and one object ``like``: to write and to read that takes a fifth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Run(NamedTuple):
    """Items that are alike.

    Attributes:
        ids: Theirs.
        sizes: How many bytes of the payload each has.
        like: What else there is to say of each.
    """

    ids: Sequence[int]
    sizes: Sequence[int]
    like: Mapping[str, Any]


def columns(ids: Sequence[int], lengths: Sequence[int], like: Mapping[str, Any]) -> dict[str, Any]:
    """Describe items that are alike."""
    return {"ids": ids, "lengths": lengths, "like": like}


def runs(header: Mapping[str, Any]) -> list[Run]:
    """Give a frame's items in order, those that are described together as one run."""
    if "like" in header:
        return [Run(header["ids"], header["lengths"], header["like"])]
    return [Run((item["id"],), (item["size"],), item) for item in header["items"]]


def items(header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give each item's own description."""
    if "like" not in header:
        return header["items"]
    like: dict[str, Any] = header["like"]
    return [
        {"id": item_id, "size": size, **like} for item_id, size in zip(header["ids"], header["lengths"], strict=True)
    ]
