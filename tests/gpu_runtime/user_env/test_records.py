"""Records with type parameters, and with fields that are only read or only written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass, field
from typing import Annotated, Any, Generic, NamedTuple, Optional, TypedDict, TypeVar

import pydantic
import pytest

from hotloop.gpu_runtime.user_env import decode, jsonable
from hotloop.gpu_runtime.user_env.scalars import Mismatch
from hotloop.gpu_runtime.user_env.schemas import Schemas

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Box(Generic[T]):
    item: T
    others: list[T] = field(default_factory=list)


@dataclass
class Numbers(Box[int]):
    unit: str = ""


@dataclass
class Labelled(Box[str], Generic[T]):
    """Its own parameter is the same object as its base's, which has another argument."""

    value: Optional[T] = None  # noqa: UP045  which is this


@dataclass
class Swapped(Labelled[U], Generic[T, U]):
    first: Mapping[str, T] = field(default_factory=dict)


@dataclass
class Tree(Generic[T]):
    value: T
    children: list[Tree[T]] = field(default_factory=list)


class Page(TypedDict, Generic[T]):
    items: list[T]


class NumberedPage(Page[int]):
    number: int


class Span(NamedTuple, Generic[T]):
    start: T
    end: T


@dataclass
class Scaled:
    size: int
    scale: InitVar[int] = 1
    area: int = field(init=False, default=0)

    def __post_init__(self, scale: int) -> None:
        self.area = self.size * scale


@dataclass
class Filled(Generic[T]):
    items: list[T] = field(init=False)
    item: InitVar[T]
    count: InitVar[int]

    def __post_init__(self, item: T, count: int) -> None:
        self.items = [item] * count


Small = Annotated[int, pydantic.Field(le=3)]


@pytest.mark.parametrize(
    ("hint", "value", "made"),
    [
        (Box[int], {"item": 1, "others": [2]}, Box(1, [2])),
        (Box[Numbers], {"item": {"item": 1}}, Box(Numbers(1))),
        (Box[Small], {"item": 3}, Box(3)),
        (Box, {"item": "anything"}, Box("anything")),
        (Numbers, {"item": 1, "unit": "m"}, Numbers(1, unit="m")),
        (Labelled[int], {"item": "a", "value": 2}, Labelled("a", value=2)),
        (Swapped[bool, int], {"item": "a", "value": 2, "first": {"x": True}}, Swapped("a", [], 2, {"x": True})),
        (Tree[int], {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
        (Page[int], {"items": [1]}, {"items": [1]}),
        (NumberedPage, {"items": [1], "number": 2}, {"items": [1], "number": 2}),
        (Span[int], [1, 2], Span(1, 2)),
        (Span[Box[int]], {"start": {"item": 1}, "end": {"item": 2}}, Span(Box(1), Box(2))),
    ],
)
def test_what_is_given_for_a_type_parameter_is_read(hint: Any, value: Any, made: Any):
    assert decode.decoder(hint)(value) == made


@pytest.mark.parametrize(
    ("hint", "value", "where"),
    [
        (Box[int], {"item": "a"}, "item"),
        (Box[int], {"item": 1, "others": [1, "a"]}, "others[1]"),
        (Box[Box[int]], {"item": {"item": "a"}}, "item.item"),
        (Box[Small], {"item": 4}, "item"),
        (Numbers, {"item": "a"}, "item"),
        (Labelled[int], {"item": 1}, "item"),
        (Labelled[int], {"item": "a", "value": "a"}, "value"),
        (Swapped[bool, int], {"item": "a", "value": True}, "value"),
        (Swapped[bool, int], {"item": "a", "first": {"x": 2}}, "first.x"),
        (Tree[int], {"value": 1, "children": [{"value": "a"}]}, "children[0].value"),
        (Page[int], {"items": ["a"]}, "items[0]"),
        (NumberedPage, {"items": ["a"], "number": 2}, "items[0]"),
        (Span[int], [1, "a"], "end"),
        (Scaled, {"size": 2, "scale": "a"}, "scale"),
        (Scaled, {"size": 2, "area": 1}, "area"),
        (Filled[str], {"item": 1, "count": 2}, "item"),
        (Filled[str], {"item": "a"}, "count"),
    ],
)
def test_what_a_record_does_not_take_is_refused_where_it_is(hint: Any, value: Any, where: str):
    with pytest.raises(Mismatch) as caught:
        decode.decoder(hint)(value)

    assert caught.value.where == where


def test_each_argument_of_a_type_parameter_has_its_schema():
    schemas = Schemas()

    references = [schemas.of(hint)["$ref"] for hint in (Box[int], Box[str], Box[int], Tree[int])]

    assert references == [f"#/components/schemas/{name}" for name in ("Box_int", "Box_str", "Box_int", "Tree_int")]
    assert schemas.components["Box_int"]["properties"] == {
        "item": {"type": "integer"},
        "others": {"type": "array", "items": {"type": "integer"}},
    }
    children = {"type": "array", "items": {"$ref": "#/components/schemas/Tree_int"}}
    assert schemas.components["Tree_int"]["properties"]["children"] == children


def test_what_a_dataclass_takes_only_to_be_made_is_read_and_what_it_makes_is_written():
    scaled = decode.decoder(Scaled)({"size": 2, "scale": 3})
    filled = decode.decoder(Filled[str])({"item": "a", "count": 2})

    assert asdict(scaled) == json.loads(jsonable.dumps(scaled)) == {"size": 2, "area": 6}
    assert filled.items == ["a", "a"]


def test_what_is_read_and_what_is_written_of_a_dataclass_are_described_apart():
    schemas = Schemas()
    read, written = (
        schemas.components[schemas.of(Filled[int], mode)["$ref"].rpartition("/")[2]]
        for mode in ("validation", "serialization")
    )

    assert (read["properties"], read["required"]) == (
        {"item": {"type": "integer"}, "count": {"type": "integer"}},
        ["item", "count"],
    )
    assert (written["properties"], written["required"]) == (
        {"items": {"type": "array", "items": {"type": "integer"}}},
        ["items"],
    )
    assert schemas.of(Box[int], "serialization") == schemas.of(Box[int]), "no second one where nothing differs"
