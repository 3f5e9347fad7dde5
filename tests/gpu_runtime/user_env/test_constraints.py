"""What pydantic's annotations ask of a parameter holds wherever the parameter stands and however it is sent."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

import pydantic
import pytest
from tests.gpu_runtime.user_env.aliases import TypeAliasType

from hotloop.gpu_runtime.user_env import resolve
from hotloop.gpu_runtime.user_env.app import App, Batch
from hotloop.gpu_runtime.user_env.schemas import Schemas
from hotloop.gpu_runtime.user_env.values import BadRequest, RequestDecoder

Small = Annotated[int, pydantic.Field(ge=1, le=3)]
Word = Annotated[str, pydantic.Field(min_length=2)]
Doubled = Annotated[int, pydantic.BeforeValidator(lambda value: 2 * int(value))]
WORD, SMALL = "string should have at least 2 characters", "input should be {} than or equal to {}"
TOO_LOW, TOO_HIGH = SMALL.format("greater", 1), SMALL.format("less", 3)
Level = TypeAliasType("Level", lambda: Small)
CASES = [
    (Level, 0, TOO_LOW),
    (Level, 3, ""),
    (list[Level], [4], TOO_HIGH),
    (Small, 0, TOO_LOW),
    (Small, 1, ""),
    (Small, 3, ""),
    (Small, 4, TOO_HIGH),
    (Small | None, 0, TOO_LOW),
    (Small | None, 1, ""),
    (Word, "a", WORD),
    (Word, "ab", ""),
    (list[Word], ["ab", "a"], WORD),
    (list[Word], ["ab", "abc"], ""),
    (list[Small], [4], TOO_HIGH),
    (list[Small] | None, [3], ""),
    (Word | Small, "a", WORD),
    (Word | Small, "abc", ""),
]


def decoder_of(hint: Any) -> RequestDecoder:
    app = App("checked")

    def f(x):
        return x

    f.__annotations__["x"] = hint
    app.endpoint(f)
    return RequestDecoder(resolve.check(app).endpoints[0].parameters)


def refusal(decoder: RequestDecoder, header: dict[str, str], body: bytes, expected: Any) -> str:
    try:
        found = decoder.decode(header, body)
    except BadRequest as error:
        return error.message
    assert found == {"x": expected}
    return ""


@pytest.mark.parametrize(("hint", "value", "message"), CASES)
def test_a_constraint_holds_in_json(hint: Any, value: Any, message: str):
    found = refusal(decoder_of(hint), {"type": "application/json"}, json.dumps({"x": value}).encode(), value)

    assert message in found if message else found == ""


@pytest.mark.parametrize(("hint", "value", "message"), CASES)
def test_a_constraint_holds_in_a_query(hint: Any, value: Any, message: str):
    found = refusal(decoder_of(hint), {"query": urlencode({"x": value}, doseq=True)}, b"", value)

    assert bool(found) == bool(message)


@pytest.mark.parametrize("value", ["2", True, 2.5, None])
def test_a_constraint_does_not_make_pydantic_convert(value: Any):
    body = json.dumps({"x": value}).encode()

    assert refusal(decoder_of(Small), {"type": "application/json"}, body, None).startswith("x: expected an integer")


def test_a_validator_that_makes_a_value_gets_what_was_sent():
    assert decoder_of(Doubled).decode({"type": "application/json"}, b'{"x": "21"}') == {"x": 42}


def test_a_constraint_holds_for_each_request_of_a_batch():
    app = App("checked")

    @app.endpoint(batch=Batch(max_size=4))
    def f(x: list[Small]) -> list[int]:
        return x

    decoder = RequestDecoder(resolve.check(app).endpoints[0].parameters)

    assert refusal(decoder, {"type": "application/json"}, b'{"x": 3}', 3) == ""
    assert TOO_HIGH in refusal(decoder, {"type": "application/json"}, b'{"x": 4}', 4)


def test_a_constraint_is_described():
    assert Schemas().of(Small) == {"type": "integer", "minimum": 1, "maximum": 3}
