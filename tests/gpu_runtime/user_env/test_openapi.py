"""The OpenAPI document: valid by the specification's own validator, and true of what the decoders take."""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import jsonschema
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject
from openapi_spec_validator import validate
from tests.gpu_runtime.user_env.aliases import TypeAliasType

from hotloop.gpu_runtime.user_env import openapi, resolve
from hotloop.gpu_runtime.user_env.app import App, Batch
from hotloop.gpu_runtime.user_env.batch import DONE, Done
from hotloop.gpu_runtime.user_env.decode import decoder
from hotloop.gpu_runtime.user_env.scalars import Mismatch
from hotloop.gpu_runtime.user_env.schemas import Schemas


class Color(enum.Enum):
    RED = "red"
    ODD = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Part:
    """One part of it."""

    name: str
    size: float = 1.0


@dataclass
class Tree:
    parts: list[Part]
    children: list[Tree] = field(default_factory=list)


class Options(TypedDict):
    top: int
    seed: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: int = 0


class Item(pydantic.BaseModel):
    name: str
    price: float = pydantic.Field(ge=0)
    parent: Item | None = None


Name = NewType("Name", str)
T = TypeVar("T")
K = TypeVar("K")
Names = TypeAliasType("Names", lambda: list[str])
Json = TypeAliasType("Json", lambda: dict[str, Json] | list[Json] | str | None)
Nested = TypeAliasType("Nested", lambda: list[Nested[T]] | T, (T,))
Swapped = TypeAliasType("Swapped", lambda: dict[T, K], (K, T))
TYPES: list[Any] = [
    str, int, float, bool, None, bytes, bytearray, Any, object, Name, dt.datetime, dt.date, dt.time, dt.timedelta,
    uuid.UUID, decimal.Decimal, Color, Level, Literal["a", 1], Literal["a"] | None, int | None, str | int | list[int],
    list, list[str], list[list[float]], tuple[int, ...], tuple[int, str], tuple, set[int], frozenset[str],
    Sequence[int], collections.abc.Iterable[str], dict, dict[str, int], dict[int, str], dict[Literal["a", "b"], int],
    Mapping[str, list[int]], Part, Tree, list[Tree], Options, Point, Item, list[Item], Item | None,
    Annotated[int, pydantic.Field(ge=1, le=5)], Annotated[str, "only a note"], Names, Json, Nested[int],
    Swapped[float, str],
]  # fmt: skip


def described(app: App) -> dict[str, Any]:
    header, body = openapi.answer(resolve.check(app), {"kind": "document", "revision": 7})
    assert header == {"kind": "documented"}
    found = json.loads(body)
    validate(found)
    return found


@pytest.mark.parametrize("hint", TYPES, ids=repr)
def test_an_endpoint_of_any_type_is_described_validly(hint: Any):
    def take(value):
        return value

    take.__annotations__ = {"value": hint, "return": hint}
    app = App("all")
    app.endpoint(methods=["POST", "GET"])(take)

    found = described(app)

    assert set(found["paths"]["/take"]) == {"post", "get"}
    assert found["info"] == {"title": "all", "version": "7"}


WORDS = st.sampled_from(["a", "red", "ODD", "2025-01-31", "", "1.5", "-1e3", "1_0", "nan", "YQ==", "YWJj", "YQ"])
KEYS = st.sampled_from(["a", "1", "name", "size", "parts", "top", "seed", "x", "y", "price"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 6) | st.floats(-2, 2) | st.sampled_from([1e14, -1e14]) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
# To a schema a format is only a note: it takes more than they do.
NOTED = {dt.datetime, dt.date, dt.time, uuid.UUID}


def is_beyond_a_schema(hint: Any, value: Any) -> bool:
    """pydantic's models convert ("1" is 1), and no set holds lists: no schema says so."""
    if "Item" in repr(hint):
        return True
    return "set" in repr(hint) and isinstance(value, list) and any(isinstance(entry, list | dict) for entry in value)


@pytest.mark.parametrize("hint", TYPES, ids=repr)
@given(data=st.data())
@settings(max_examples=60)
def test_what_is_decoded_is_what_the_schema_says(hint: Any, data: DataObject):
    schemas = Schemas()
    schema = {**schemas.of(hint), "components": {"schemas": schemas.components}}
    value = data.draw(JSON_VALUES)

    try:
        decoder(hint)(value)
    except Mismatch:
        is_decoded = False
    else:
        is_decoded = True
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(value)

    if hint in NOTED:
        assert is_valid or not is_decoded
    elif not is_beyond_a_schema(hint, value):
        assert is_valid == is_decoded


def test_a_named_tuple_is_read_from_an_object_or_a_list_and_written_as_a_list():
    schemas = Schemas()
    list_of_two = {
        "type": "array",
        "prefixItems": [{"type": "integer"}] * 2,
        "items": False,
        "minItems": 2,
        "maxItems": 2,
    }

    read, written = schemas.of(Point), schemas.of(Point, "serialization")

    assert (read["$ref"], written["$ref"]) == ("#/components/schemas/Point", "#/components/schemas/PointOutput")
    assert schemas.components["PointOutput"] == list_of_two
    assert schemas.components["Point"]["anyOf"][0]["type"] == "object"
    assert schemas.components["Point"]["anyOf"][1] == list_of_two | {"minItems": 1}


def test_a_class_that_holds_what_is_written_otherwise_is_described_for_both():
    @dataclass
    class Line:
        ends: list[Point]

    schemas = Schemas()
    references = [schemas.of(Line, mode)["$ref"] for mode in ("validation", "serialization")]
    ends = [schemas.components[name]["properties"]["ends"]["items"]["$ref"] for name in ("Line", "LineOutput")]

    assert references == ["#/components/schemas/Line", "#/components/schemas/LineOutput"]
    assert ends == ["#/components/schemas/Point", "#/components/schemas/PointOutput"]


def test_two_classes_of_one_name_are_told_apart():
    def another() -> Any:
        @dataclass
        class Part:
            other: int

        return Part

    schemas = Schemas()

    references = [schemas.of(cls)["$ref"] for cls in (Part, another(), Part)]

    assert references == [f"#/components/schemas/{name}" for name in ("Part", "Part2", "Part")]


def test_pydantic_classes_of_one_name_are_told_apart():
    other = pydantic.create_model("Item", other=(int, ...))
    schemas = Schemas()

    first, second = (
        schemas.of(Annotated[list[Item], pydantic.Field()]),
        schemas.of(Annotated[list[other], pydantic.Field()]),
    )

    assert first["items"] == {"$ref": "#/components/schemas/Item"}
    assert second["items"] == {"$ref": "#/components/schemas/Item2"}
    assert set(schemas.components["Item2"]["properties"]) == {"other"}


def test_what_each_kind_of_endpoint_takes_and_gives():
    app = App("kinds")

    @app.endpoint
    def scalars(count: int) -> str:
        """Count.

        As often as asked.
        """
        return str(count)

    @app.endpoint(batch=Batch(max_size=4))
    def batched(text: list[str], image: list[bytes | None]) -> list[list[float]]:
        return [[float(len(text)), float(len(image))]]

    @app.endpoint
    def streamed(prompt: str) -> Iterator[dict[str, int]]:
        yield {prompt: 1}

    @app.endpoint
    async def also_streamed() -> AsyncIterator[str]:
        yield "a"

    @app.endpoint(batch=Batch(max_size=4))
    def streams(text: list[str]) -> Iterator[list[str | Done]]:
        yield [*text[1:], DONE]

    @app.endpoint
    def raw(image: bytes, width: int = 3) -> bytes:
        return image * width

    paths = described(app)["paths"]
    bodies = {path: list(one["post"].get("requestBody", {}).get("content", {})) for path, one in paths.items()}
    results = {path: one["post"]["responses"]["200"]["content"] for path, one in paths.items()}

    usual = ["application/json", "application/msgpack"]
    assert bodies == {
        "/scalars": usual,
        "/batched": [*usual, "multipart/form-data"],
        "/streamed": usual,
        "/also_streamed": [],
        "/streams": usual,
        "/raw": [*usual, "multipart/form-data", "application/octet-stream"],
    }
    assert (paths["/scalars"]["post"]["summary"], paths["/scalars"]["post"]["description"]) == (
        "Count.",
        "As often as asked.",
    )
    assert results["/batched"]["application/json"]["schema"] == {"type": "array", "items": {"type": "number"}}
    assert "application/octet-stream" not in results["/streamed"]
    assert list(results["/streamed"]) == ["text/event-stream", "application/x-ndjson", "text/plain"]
    assert results["/also_streamed"]["application/x-ndjson"]["schema"] == {"type": "string"}
    assert results["/streams"]["application/x-ndjson"]["schema"] == {"type": "string"}
    assert list(results["/raw"]) == ["application/octet-stream"]


def test_a_batched_endpoint_shows_one_item():
    app = App("batched")

    @app.endpoint(batch=Batch())
    def embed(text: list[str]) -> list[Part]:
        return [Part(each) for each in text]

    found = described(app)

    assert found["components"]["schemas"]["embed.request"]["properties"] == {"text": {"type": "string"}}
    result = found["paths"]["/embed"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert result == {"$ref": "#/components/schemas/Part"}


def test_parameters_of_a_query_say_their_types_and_defaults():
    app = App("query")

    @app.endpoint(methods=["GET"])
    def ask(count: int, part: Part, level: Level = Level.LOW, when: dt.date | None = None):
        return [count, part, level, when]

    found = {one["name"]: one for one in described(app)["paths"]["/ask"]["get"]["parameters"]}

    assert (found["count"]["required"], found["count"]["schema"]) == (True, {"type": "integer"})
    assert found["part"]["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Part"}}}
    assert found["level"]["schema"] == {"$ref": "#/components/schemas/Level", "default": 1}
    assert (found["when"]["required"], found["when"]["schema"]["default"]) == (False, None)


def test_a_type_that_cannot_be_described_takes_anything():
    class Strange(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        thing: Schemas

    assert Schemas().of(Strange) == {}


def test_an_app_that_cannot_be_described_says_why():
    app = App("broken")
    plan = resolve.check(app)
    app.name = {1}  # pyright: ignore[reportAttributeAccessIssue]

    answered = openapi.answer(plan, {"revision": 1})

    assert answered == ({"kind": "documented", "error": "TypeError: Object of type set is not JSON serializable"}, b"")
