"""What is done for many requests at a time is what is done for each of them alone."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.user_env.hints import REQUIRED
from hotloop.gpu_runtime.user_env.items import columns, items, runs
from hotloop.gpu_runtime.user_env.resolve import RequestParameter
from hotloop.gpu_runtime.user_env.strict_json import loads_bytes
from hotloop.gpu_runtime.user_env.values import BadRequest, RequestDecoder, encode, encode_alike

JSON = "application/json"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner),
    max_leaves=5,
)
BODIES = st.sampled_from([
    b'{"text": "a"}', b'{"text": "\xc3\xa4", "size": 2}', b' {"text": ""}', b'{"size": 2.0, "text": "b"} ', b"{}", b"", b"[]",
    b'{"text": 3}', b'{"text": "a", "size": null}', b'{"text": "a", "other": 1}', b'{"text": NaN}', b"{", b'{"text": "\xff"}',
    b'\xef\xbb\xbf{"text": "a"}', '{"text": "a"}'.encode("utf-16"), '{"text": "a"}'.encode("utf-16-le"), b'{"text": 1e999}',
])  # fmt: skip
DECODER = RequestDecoder([RequestParameter("text", str, REQUIRED), RequestParameter("size", int, 1)])


def each_alone(header: dict[str, Any], bodies: list[bytes]) -> list[dict[str, Any]] | None:
    """Decode one after the other; None if one can't be."""
    try:
        return [DECODER.decode(header, body) for body in bodies]
    except BadRequest:
        return None


@given(st.lists(BODIES, min_size=1, max_size=4), st.sampled_from([JSON, f"{JSON}; charset=utf-8", "", "text/plain"]))
def test_requests_that_are_read_together_are_read_as_each_alone(bodies: list[bytes], kind: str):
    header = {"type": kind}

    found = DECODER.decode_alike(header, list(map(len, bodies)), b"".join(bodies))

    assert found is None or found == each_alone(header, bodies)


def test_usual_requests_are_read_together():
    bodies = [b'{"text": "a"}', b'{"text": "b", "size": 2}']

    assert DECODER.decode_alike({"type": JSON, "accept": "*/*"}, [13, 24], b"".join(bodies)) == [
        {"text": "a"},
        {"text": "b", "size": 2},
    ]
    assert DECODER.decode_alike({"type": JSON, "query": "size=3"}, [13, 24], b"".join(bodies)) is None


@given(
    st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["", "*/*", JSON, "application/msgpack", "text/plain"])
)
def test_results_that_are_written_together_are_written_as_each_alone(values: list[Any], accept: str):
    written = encode_alike(values, accept)

    assert written is None or [(JSON, body) for body in written] == [encode(value, accept) for value in values]


def test_usual_results_are_written_together():
    @dataclasses.dataclass
    class Box:
        side: int

    assert encode_alike([{"n": 1}, "ä", [Box(2)]], "*/*") == [b'{"n":1}', '"ä"'.encode(), b'[{"side":2}]']
    assert encode_alike([{"n": 1}, float("nan")], "") is None
    assert encode_alike([b"raw"], "") is None


@given(st.binary(max_size=6) | st.text(max_size=4).map(str.encode) | BODIES)
def test_json_is_read_in_the_encoding_that_the_standard_library_finds(body: bytes):
    def read(loads: Any) -> Any:
        try:
            return loads()
        except (ValueError, RecursionError) as error:
            return type(error)

    expected = read(lambda: loads_bytes(body.decode(json.detect_encoding(body), "surrogatepass").encode("utf-8")))

    assert read(lambda: loads_bytes(body)) == expected or b"\xef\xbb\xbf" in body


@pytest.mark.parametrize("count", [1, 3])
def test_items_that_are_alike_are_told_once(count: int):
    ids, lengths = list(range(count)), list(range(10, 10 + count))
    header = {"kind": "call", **columns(ids, lengths, {"type": JSON})}

    assert items(header) == [{"id": n, "size": 10 + n, "type": JSON} for n in range(count)]
    assert [(run.ids, run.sizes, run.like) for run in runs(header)] == [(ids, lengths, {"type": JSON})]


def test_items_with_descriptions_of_their_own_are_one_run_each():
    described = [{"id": 1, "size": 2, "type": JSON}, {"id": 2, "size": 3}]

    assert items({"items": described}) == described
    assert [(run.ids, run.sizes, run.like) for run in runs({"items": described})] == [
        ((1,), (2,), described[0]),
        ((2,), (3,), described[1]),
    ]
