"""Endpoints of every kind, for tools that read their description and then call them."""
from __future__ import annotations
import enum
import datetime as dt
import decimal
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, TypedDict, Union

import numpy
import numpy.typing
import pydantic
import hotloop

app = hotloop.App("kinds")

class Color(enum.Enum):
    RED = "red"
    GREEN = "green"

class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2

@dataclass
class Point:
    x: float
    y: float = 0.0
    label: str | None = None

@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)

class Movie(TypedDict):
    title: str
    year: NotRequired[int]

class Pair(NamedTuple):
    left: int
    right: str = "r"

class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)  # else it takes "1" and true for a number, and does not say so

    name: str = pydantic.Field(min_length=1, max_length=5)
    price: float = pydantic.Field(gt=0)
    tags: list[str] = []

@app.endpoint
def scalars(text: str, number: int, ratio: float, flag: bool) -> str:
    return f"{text}{number}{ratio}{flag}"

@app.endpoint
def defaults(text: str = "a", number: int = 3, color: Color = Color.RED, level: Level = Level.LOW) -> dict[str, Any]:
    return {"text": text, "number": number, "color": color, "level": level}

@app.endpoint
def optional(text: Optional[str] = None, number: int | None = None) -> str | None:
    return text

@app.endpoint
def lists(texts: list[str], numbers: list[list[float]], pairs: list[tuple[int, str]], names: set[str]) -> list[str]:
    return texts

@app.endpoint
def points(points: list[Point], origin: Point) -> list[Point]:
    return points

@app.endpoint
def trees(tree: Tree) -> Tree:
    return tree

@app.endpoint
def movies(movie: Movie, others: dict[str, Movie]) -> Movie:
    return movie

@app.endpoint
def pairs(pair: Pair):  # schemathesis 4.32 reads prefixItems of a response wrongly
    return pair

@app.endpoint
def items(item: Item) -> Item:
    return item

@app.endpoint
def enums(color: Color, level: Level, mode: Literal["fast", "slow", 3]) -> Color:
    return color

@app.endpoint
def unions(value: int | str | list[int], other: Union[Point, Movie]) -> Any:
    return value

@app.endpoint
def times(at: dt.datetime, day: dt.date, clock: dt.time, length: dt.timedelta, id: uuid.UUID, price: decimal.Decimal) -> dt.datetime:
    return at

@app.endpoint
def query(text: str, at: dt.date, id: uuid.UUID, color: Color, price: decimal.Decimal, flags: bool = False, mode: Literal["a", "b"] = "a") -> str:
    return text

@app.endpoint(methods=["GET"])
def search(terms: list[str], limit: Annotated[int, pydantic.Field(ge=1, le=50)] = 10, near: Point | None = None) -> list[str]:
    return terms[:limit]

@app.endpoint(methods=["DELETE", "PUT", "PATCH"])
def remove(name: str, times: int = 1) -> int:
    return times

@app.endpoint
def blob(data: bytes) -> bytes:
    return data

@app.endpoint
def blob_and_name(data: bytes, name: str = "x") -> int:
    return len(data)

@app.endpoint
def array(values: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float32]:
    return values / 2

@app.endpoint
def arrays(left: numpy.ndarray, right: numpy.ndarray) -> float:
    return float(left.size + right.size)

@app.endpoint
def files(images: list[bytes], caption: str = "") -> list[int]:
    return [len(image) for image in images]

@app.endpoint
def stream(text: str) -> Iterator[str]:
    yield from text

@app.endpoint
def stream_points(points: list[Point]) -> Iterator[Point]:
    yield from points

@app.endpoint
async def stream_async(count: Annotated[int, pydantic.Field(ge=0, le=5)]) -> AsyncIterator[int]:
    for n in range(count):
        yield n

@app.endpoint
async def asynchronous(text: str) -> dict[str, int]:
    return {text: len(text)}

@app.endpoint(batch=hotloop.Batch(max_size=8, max_wait_ms=1, key=len))
def batch(text: list[str]) -> list[int]:
    return [len(t) for t in text]

@app.endpoint(batch=hotloop.Batch(max_size=8))
def batch_optional(text: list[str], weight: list[float | None]) -> list[str]:
    return text

@app.endpoint
def nothing() -> None:
    return None

@app.endpoint
def anything(value, other=None):
    return [value, other]

@app.endpoint
def maps(counts: dict[str, int], by_number: dict[int, str], nested: dict[str, list[dict[str, Point]]]) -> dict[int, str]:
    return by_number


@app.endpoint
def constrained(
    count: Annotated[int, pydantic.Field(ge=1, le=3)],
    words: Annotated[list[Annotated[str, pydantic.Field(min_length=1)]], pydantic.Field(max_length=2)],
    share: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None,
) -> list[str]:
    assert 1 <= count <= 3
    assert len(words) <= 2
    assert all(words)
    assert share is None or 0 < share < 1
    return words * count
