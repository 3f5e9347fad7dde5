"""Requests to arguments, results to responses: tables of cases, and the law that what is written is read again."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gpu_runtime.user_env.aliases import TypeAliasType

from hotloop.gpu_runtime.user_env import jsonable
from hotloop.gpu_runtime.user_env.hints import REQUIRED, UnknownType, text_of
from hotloop.gpu_runtime.user_env.resolve import RequestParameter
from hotloop.gpu_runtime.user_env.values import BadRequest, RequestDecoder, encode

JSON = "application/json"


class Color(enum.Enum):
    RED = "red"
    ODD = (1, 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Part:
    name: str
    size: float = 1.0


@dataclass
class Tree:
    parts: list[Part]
    children: list[Tree] = field(default_factory=list)
    tag: str | None = None


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            msg = f"{self.value} is not positive"
            raise ValueError(msg)


class Options(TypedDict):
    top: int
    seed: NotRequired[int]


class Loose(TypedDict, total=False):
    top: Required[int]
    seed: int


class Point(NamedTuple):
    x: int
    y: int = 0


Pair = namedtuple("Pair", "left right")  # noqa: PYI024  without types
SHORT = dt.timedelta(seconds=1.5)
Name = NewType("Name", str)
T = TypeVar("T")
Json = TypeAliasType("Json", lambda: dict[str, Json] | list[Json] | str | None)
Nested = TypeAliasType("Nested", lambda: list[Nested[T]] | T, (T,))


def decoder(**hints: Any) -> RequestDecoder:
    """A decoder of required parameters; a pair is a type and a default."""
    return RequestDecoder(
        RequestParameter(name, *(hint if isinstance(hint, tuple) else (hint, REQUIRED))) for name, hint in hints.items()
    )


def decode(hint: Any, value: Any) -> Any:
    return decoder(x=hint).decode({"type": JSON}, json.dumps({"x": value}).encode())["x"]


def refusal(action: Callable[[], object]) -> tuple[int, str, str]:
    with pytest.raises(BadRequest) as caught:
        action()
    return caught.value.status, caught.value.message, caught.value.where


def outcome(action: Callable[[], object]) -> tuple[int, str]:
    try:
        action()
    except BadRequest as error:
        return error.status, error.message
    return 200, ""


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Any, {"a": [1]}, {"a": [1]}),
        (object, None, None),
        (str, "é", "é"),
        (int, 3, 3),
        (int, 3.0, 3),
        (int, 10**30, 10**30),
        (float, 3, 3.0),
        (bool, True, True),
        (type(None), None, None),
        (bytes, "AAH/", b"\x00\x01\xff"),
        (bytearray, "AAH/", bytearray(b"\x00\x01\xff")),
        (list, [1, "a"], [1, "a"]),
        (list[int], [1, 2.0], [1, 2]),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (Sequence[str], ["a"], ["a"]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple, [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (frozenset[str], ["a"], frozenset({"a"})),
        (dict, {"a": 1}, {"a": 1}),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (dict[int, str], {"3": "a"}, {3: "a"}),
        (Mapping[str, Part], {"a": {"name": "b"}}, {"a": Part("b")}),
        (Optional[int], None, None),  # noqa: UP045
        (Optional[int], 3, 3),  # noqa: UP045
        (int | str, "3", "3"),
        (str | int, 3, 3),
        (float | int, 3, 3),
        (Union[Part, Options], {"top": 1}, {"top": 1}),  # noqa: UP007
        (bytes | str, "AA==", "AA=="),
        (Literal["a", 1], 1, 1),
        (Literal["a", 1], 1.0, 1),
        (Literal[True, 1], 1.0, 1),
        (Level, 2.0, Level.HIGH),
        (Literal[Color.RED, "blue"], "red", Color.RED),
        (Literal[Color.ODD], "ODD", Color.ODD),
        (Json, {"a": ["b", None]}, {"a": ["b", None]}),
        (Nested[float], [[1, 2.5], 3], [[1.0, 2.5], 3.0]),
        (Color, "red", Color.RED),
        (Color, "ODD", Color.ODD),
        (Level, 2, Level.HIGH),
        (Part, {"name": "a", "size": 2}, Part("a", 2.0)),
        (
            Tree,
            {"parts": [{"name": "a"}], "children": [{"parts": [], "tag": "t"}]},
            Tree([Part("a")], [Tree([], [], "t")]),
        ),
        (Options, {"top": 1}, {"top": 1}),
        (Options, {"top": 1, "seed": 2}, {"top": 1, "seed": 2}),
        (Loose, {"top": 1}, {"top": 1}),
        (Point, [1, 2], Point(1, 2)),
        (Point, {"x": 1}, Point(1, 0)),
        (Pair, {"left": 1, "right": "b"}, Pair(1, "b")),
        (Pair, [1, "b"], Pair(1, "b")),
        (Name, "a", "a"),
        (Annotated[int, "a note"], 3, 3),
        (dt.datetime, "2025-01-31T12:00:00Z", dt.datetime(2025, 1, 31, 12, tzinfo=dt.UTC)),
        (dt.date, "2025-01-31", dt.date(2025, 1, 31)),
        (dt.timedelta, 1.5, dt.timedelta(seconds=1.5)),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (decimal.Decimal, 3, decimal.Decimal(3)),
    ],
    ids=lambda value: text_of(value) if not isinstance(value, str | int | float | list | dict) else None,
)
def test_json_becomes_the_annotated_type(hint, value, expected):
    found = decode(hint, value)

    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("hint", "value", "message", "where"),
    [
        (str, 3, "x: expected a string, got 3", "x"),
        (str, None, "x: expected a string, got null", "x"),
        (int, "3", 'x: expected an integer, got "3"', "x"),
        (int, 3.5, "x: expected an integer, got 3.5", "x"),
        (int, True, "x: expected an integer, got true", "x"),
        (float, True, "x: expected a number, got true", "x"),
        (float, [], "x: expected a number, got an empty list", "x"),
        (bool, 1, "x: expected true or false, got 1", "x"),
        (bytes, "a-", 'x: expected a string of base64, got "a-"', "x"),
        (bytes, "é", 'x: expected a string of base64, got "é"', "x"),
        (list[str], "a", 'x: expected a list, got "a"', "x"),
        (list[str], ["a", "b", 3], "x[2]: expected a string, got 3", "x[2]"),
        (list[int], [1, 2, "c"], 'x[2]: expected an integer, got "c"', "x[2]"),
        (tuple[int, str], [1], "x: expected a list of 2, got 1 entries", "x"),
        (tuple[int, str], [1, 2], "x[1]: expected a string, got 2", "x[1]"),
        (set[Any], [[1]], "x: expected entries that a set can hold, got a list or an object", "x"),
        (dict[str, int], {"a": "b"}, 'x.a: expected an integer, got "b"', "x.a"),
        (dict[int, int], {"a": 1}, 'x.a: expected an integer, got "a"', "x.a"),
        (int | None, "a", 'x: expected int or null, got "a"', "x"),
        (int | Part, "a", 'x: expected int or Part, got "a"', "x"),
        (Part | None, {"name": 1}, "x.name: expected a string, got 1", "x.name"),
        (Literal["a", "b"], "c", 'x: expected one of "a", "b", got "c"', "x"),
        (Literal[1], True, "x: expected 1, got true", "x"),
        (Literal[Color.RED], "ODD", 'x: expected "red", got "ODD"', "x"),
        (Pair, [1], "x.right: missing, expected Any", "x.right"),
        (Color, "blue", 'x: expected one of "red", "ODD", got "blue"', "x"),
        (Part, [], "x: expected an object, got an empty list", "x"),
        (Part, {}, "x.name: missing, expected str", "x.name"),
        (Part, {"name": "a", "sise": 1}, "x.sise: unknown field, did you mean 'size'?", "x.sise"),
        (list[Tree], [{"parts": [{"name": 3}]}], "x[0].parts[0].name: expected a string, got 3", "x[0].parts[0].name"),
        (Positive, {"value": 0}, "x: 0 is not positive", "x"),
        (Options, {"seed": 1}, "x.top: missing, expected int", "x.top"),
        (Loose, {}, "x.top: missing, expected int", "x.top"),
        (dt.date, "soon", 'x: expected a date such as 2025-01-31, got "soon"', "x"),
        (dt.timedelta, "1", 'x: expected a number of seconds, got "1"', "x"),
        (decimal.Decimal, "a", 'x: expected a decimal number, got "a"', "x"),
        (str, {"a": "long" * 30}, "x: expected a string, got an object", "x"),
        (int, "long" * 30, 'x: expected an integer, got "longlonglonglonglonglonglonglonglon..."', "x"),
        (float, 10**400, f"x: expected a number that fits a float, got 1{'0' * 35}...", "x"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(hint, value, message, where):
    assert refusal(lambda: decode(hint, value)) == (422, message, where)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "body: not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
        (b'{"x": NaN}', 400, "body: not JSON: NaN is no JSON number"),
        (b'{"x": 1e999}', 400, "body: not JSON: 1e999 is too large a number"),
        (b'{"x": -1e999}', 400, "body: not JSON: -1e999 is too large a number"),
        (b'{"x": "\xff"}', 400, "body: not JSON: byte 7 is not UTF-8"),
        (b"[" * 100_000, 400, "body: not JSON: nested too deep"),
        (b"[1]", 422, "body: expected an object, got a list"),
        (b"null", 422, "body: expected an object, got null"),
        (b"{}", 422, "x: missing, expected int"),
        (b"", 422, "x: missing, expected int"),
        (b'{"y": 1, "x": 1}', 422, "y: unknown field, expected 'x'"),
    ],
)
def test_a_body_that_is_no_object_of_parameters_is_refused(body, status, message):
    assert refusal(lambda: decoder(x=int).decode({"type": JSON}, body))[:2] == (status, message)


def test_a_number_too_long_for_python_is_refused_and_not_an_error_of_ours():
    status, message, _ = refusal(lambda: decoder(x=int).decode({"type": JSON}, b'{"x":' + b"1" * 5000 + b"}"))

    assert status == 400
    assert message.startswith("body: not JSON: Exceeds the limit")


def test_an_endpoint_without_parameters_refuses_any():
    assert decoder().decode({}, b"") == {}
    assert refusal(lambda: decoder().decode({}, b'{"x": 1}')) == (422, "x: unknown field, expected none", "x")


def test_parameters_with_a_default_may_be_left_out():
    assert decoder(x=int, y=(int, 3)).decode({"type": JSON}, b'{"x": 1}') == {"x": 1}


@pytest.mark.parametrize(
    ("hints", "query", "expected"),
    [
        ({"x": str}, "x=a%20b", {"x": "a b"}),
        ({"x": str}, "x=", {"x": ""}),
        ({"x": int, "y": float, "z": bool}, "x=1&y=2&z=True", {"x": 1, "y": 2.0, "z": True}),
        ({"x": int | None}, "x=3", {"x": 3}),
        ({"x": int | str}, "x=a", {"x": "a"}),
        ({"x": Literal["a", 1]}, "x=1", {"x": 1}),
        ({"x": Level}, "x=2", {"x": Level.HIGH}),
        ({"x": Color}, "x=ODD", {"x": Color.ODD}),
        ({"x": list[int]}, "x=1&x=2", {"x": [1, 2]}),
        ({"x": dt.date}, "x=2025-01-31", {"x": dt.date(2025, 1, 31)}),
        ({"x": Part}, "x=%7B%22name%22%3A%22a%22%7D", {"x": Part("a")}),
        ({"x": dt.timedelta | None, "y": dt.timedelta}, "x=1.5&y=2", {"x": SHORT, "y": dt.timedelta(seconds=2)}),
        ({"x": Literal[Color.RED, Level.HIGH]}, "x=2", {"x": Level.HIGH}),
    ],
)
def test_a_query_string_becomes_the_annotated_types(hints, query, expected):
    assert decoder(**hints).decode({"query": query}, b"") == expected


@pytest.mark.parametrize(
    ("hint", "query", "message"),
    [
        (int, "x=a", 'x: expected an integer, got "a"'),
        (float, "x=a", 'x: expected a number, got "a"'),
        (float, "x=nan", 'x: expected a number, got "nan"'),
        (float, "x=1e999", 'x: expected a number, got "1e999"'),
        (float, "x=1_0", 'x: expected a number, got "1_0"'),
        (int, "x=1_0", 'x: expected an integer, got "1_0"'),
        (int, "x=%D9%A1", 'x: expected an integer, got "\u0661"'),
        (int, "x=%201", 'x: expected an integer, got " 1"'),
        (list[list[float]], "x=[[NaN]]", 'x: expected JSON, got "[[NaN]]"'),
        (decimal.Decimal, "x=NaN", 'x: expected a decimal number, got "NaN"'),
        (bool, "x=yes", 'x: expected true or false, got "yes"'),
        (int, "x=1&x=2", "x: expected one value, got 2"),
        (int, "xx=1", "xx: unknown field, did you mean 'x'?"),
        (list[int], "x=1&x=a", 'x[1]: expected an integer, got "a"'),
        (int | float, "x=a", 'x: expected int or float, got "a"'),
        (Literal["a"], "x=b", 'x: expected "a", got "b"'),
        (Part, "x=a", 'x: expected JSON, got "a"'),
    ],
)
def test_a_wrong_query_is_refused_with_its_place(hint, query, message):
    assert refusal(lambda: decoder(x=hint).decode({"query": query}, b""))[:2] == (422, message)


def test_a_raw_body_is_the_one_parameter_of_bytes_and_the_query_has_the_others():
    found = decoder(image=bytes, top=(int, 1)).decode({"type": "image/png", "query": "top=3"}, b"\x89PNG")

    assert found == {"image": b"\x89PNG", "top": 3}


@pytest.mark.parametrize(("kind", "taken"), [("application/octet-stream", True), ("", False), (JSON, False)])
def test_an_empty_body_is_no_bytes_if_it_is_said_to_be_bytes(kind: str, taken: bool):
    read = decoder(image=bytes)

    if taken:
        assert read.decode({"type": kind}, b"") == {"image": b""}
    else:
        assert refusal(lambda: read.decode({"type": kind}, b""))[:2] == (422, "image: missing, expected bytes")


def test_a_parameter_given_twice_is_refused():
    header = {"type": JSON, "query": "x=1"}

    assert refusal(lambda: decoder(x=int).decode(header, b'{"x": 1}')) == (
        422,
        "x: given in the query string and in the body",
        "x",
    )


def test_two_parameters_of_bytes_have_no_raw_body():
    header = {"type": "application/octet-stream"}

    assert refusal(lambda: decoder(a=bytes, b=bytes).decode(header, b"x"))[:2] == (
        415,
        "body: expected application/json, got application/octet-stream",
    )


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/x-www-form-urlencoded", b'{"x": "a"}', "a"),
        ("application/x-www-form-urlencoded", b"x=a+b", "a b"),
        ("text/plain; charset=utf-8", "é{".encode(), "é{"),
        ("", b'{"x": "a"}', "a"),
        ("application/ld+json", b'{"x": "a"}', "a"),
        ("Application/JSON; charset=utf-8", b'\xef\xbb\xbf{"x": "a"}', "a"),
    ],
)
def test_bodies_are_read_as_tools_send_them(kind, body, expected):
    assert decoder(x=str).decode({"type": kind}, body) == {"x": expected}


@pytest.mark.parametrize("hint", [Callable[[int], int], type, complex, list[type], dict[str, complex]])
def test_a_type_that_no_json_makes_is_refused_when_the_decoder_is_made(hint):
    with pytest.raises(UnknownType):
        decoder(x=hint)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        ("é", '"é"'),
        ([1, 2.5, True], "[1,2.5,true]"),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        ({1: "a"}, '{"1":"a"}'),
        ({Level.LOW: 1}, '{"1":1}'),
        ({Color.RED: 1, uuid.UUID(int=1): 2}, '{"red":1,"00000000-0000-0000-0000-000000000001":2}'),
        (Tree([Part("a")]), '{"parts":[{"name":"a","size":1.0}],"children":[],"tag":null}'),
        (Point(1), "[1,0]"),
        ({"b", "a", "c"}, '["a","b","c"]'),
        ({1, "a"}, '[1,"a"]'),
        ([b"\x00\xff"], '["AP8="]'),
        ([Color.RED, Color.ODD, Level.LOW], '["red","ODD",1]'),
        (dt.datetime(2025, 1, 31, 12), '"2025-01-31T12:00:00"'),  # noqa: DTZ001
        (dt.timedelta(seconds=1.5), "1.5"),
        (decimal.Decimal("1.10"), '"1.10"'),
        (range(3), "[0,1,2]"),
        ({}.values(), "[]"),
        ({"b": 1, "a": 2}.keys(), '["b","a"]'),
        ({"b": 1, "a": 2}.items(), '[["b",1],["a",2]]'),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_results_are_written_as_json(value, expected):
    assert encode(value) == (JSON, expected.encode())


@pytest.mark.parametrize(
    ("value", "accept", "expected"),
    [
        (b"\x00", "", ("application/octet-stream", b"\x00")),
        (memoryview(b"ab"), "*/*", ("application/octet-stream", b"ab")),
        ("a", "text/plain", ("text/plain; charset=utf-8", b"a")),
        ("a", "text/plain, application/json", (JSON, b'"a"')),
        ("a", "*/*", (JSON, b'"a"')),
    ],
)
def test_results_are_written_as_the_client_asks(value, accept, expected):
    assert encode(value, accept) == expected


def itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "result is nan, which JSON does not have: return None or a number there"),
        ({"a": [1, -math.inf]}, "result.a[1] is -inf, which JSON does not have: return None or a number there"),
        ([Part("a", math.nan)], "result[0].size is nan, which JSON does not have: return None or a number there"),
        ([object()], "result[0] is an object, which can't be written as JSON"),
        ({"a b": {1: len}}, "result['a b'][1] is a builtin_function_or_method, which can't be written as JSON"),
        ({(1, 2): 3}, "result's key (1, 2) is a tuple: a key is a string or a number"),
        ((n for n in "ab"), "result is a generator, which can't be written as JSON"),
        ([1j], "result[0] is a complex, which can't be written as JSON"),
    ],
)
def test_what_json_lacks_is_refused_with_its_place(value, message):
    with pytest.raises(jsonable.NotEncodable) as caught:
        encode(value)

    assert str(caught.value) == message


def test_a_value_that_contains_itself_is_refused():
    with pytest.raises(jsonable.NotEncodable, match=r"is more than 200 levels deep, or contains itself$"):
        encode(itself())


# --- laws -------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"))
floats = st.floats(allow_nan=False, allow_infinity=False)
parts = st.builds(Part, texts, floats)
trees = st.recursive(
    st.builds(Tree, st.lists(parts, max_size=2), st.just([]), st.none() | texts),
    lambda children: st.builds(Tree, st.lists(parts, max_size=1), st.lists(children, max_size=2), texts),
    max_leaves=5,
)
VALUES: list[tuple[Any, Any]] = [
    (str, texts),
    (int, st.integers()),
    (float, floats),
    (bool, st.booleans()),
    (list[list[float]], st.lists(st.lists(floats))),
    (dict[str, list[int]], st.dictionaries(texts, st.lists(st.integers()))),
    (dict[int, bool], st.dictionaries(st.integers(), st.booleans())),
    (tuple[int, str], st.tuples(st.integers(), texts)),
    (set[int], st.frozensets(st.integers()).map(set)),
    (list[bytes], st.lists(st.binary())),
    (Tree, trees),
    (Color, st.sampled_from(Color)),
    (list[Level | None], st.lists(st.none() | st.sampled_from(Level))),
    (Options, st.fixed_dictionaries({"top": st.integers()}, optional={"seed": st.integers()})),
    (Point, st.builds(Point, st.integers(), st.integers())),
    (dt.datetime, st.datetimes(timezones=st.none() | st.just(dt.UTC))),
    (dt.timedelta, st.timedeltas(dt.timedelta(days=-999), dt.timedelta(days=999))),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (int | str | None, st.none() | st.integers() | texts),
]


@pytest.mark.parametrize(("hint", "strategy"), VALUES, ids=[text_of(hint) for hint, _ in VALUES])
def test_what_is_written_is_read_again_as_the_same(hint, strategy):
    decode_x = decoder(x=hint)

    @given(strategy)
    def check(value: Any) -> None:
        _, body = encode({"x": value})

        assert decode_x.decode({"type": JSON}, body) == {"x": value}

    check()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.sampled_from([hint for hint, _ in VALUES]))
def test_any_json_is_either_decoded_or_refused(value, hint):
    status, message = outcome(lambda: decode(hint, value))

    assert status in {200, 422}
    assert status == 200 or message.startswith("x")


@given(st.binary())
def test_any_body_is_either_decoded_or_refused(body):
    for kind in (JSON, "", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"):
        header = {"type": kind, "query": "x=1"}
        status, _ = outcome(lambda header=header: decoder(x=str, y=(bytes, b"")).decode(header, body))

        assert status in {200, 400, 415, 422}


@given(st.binary())
def test_bytes_travel_raw_and_in_json(data):
    read = decoder(x=bytes)

    assert read.decode({"type": "application/octet-stream"}, data or b"\0") == {"x": data or b"\0"}
    in_json = json.dumps({"x": base64.b64encode(data).decode()}).encode()
    assert read.decode({"type": JSON}, in_json) == {"x": data}
