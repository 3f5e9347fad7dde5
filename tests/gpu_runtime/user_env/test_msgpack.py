"""MessagePack: the specification's examples, the law that what is written is read again, and hostile input."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.user_env import msgpack
from hotloop.gpu_runtime.user_env.jsonable import NotEncodable, dumps

INT64 = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | TEXT | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


@given(VALUES)
def test_what_is_written_is_read_again(value: Any):
    read = msgpack.unpack(msgpack.pack(value))

    assert read == value
    assert repr(read) == repr(value)  # True is not 1, and -0.0 is not 0.0


@given(VALUES)
def test_every_beginning_of_a_message_is_refused(value: Any):
    whole = msgpack.pack(value)

    for length in range(min(len(whole), 64)):
        with pytest.raises(msgpack.Malformed):
            msgpack.unpack(whole[:length])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes):
    with contextlib.suppress(msgpack.Malformed):
        value = msgpack.unpack(data)

        assert repr(msgpack.unpack(msgpack.pack(value))) == repr(value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xc0", None),
        (b"\xc2", False),
        (b"\xc3", True),
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\xff", -1),
        (b"\xe0", -32),
        (b"\xcc\xff", 255),
        (b"\xcd\x01\x00", 256),
        (b"\xce\x00\x01\x00\x00", 65536),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xd0\x80", -128),
        (b"\xd1\x80\x00", -32768),
        (b"\xd2\x80\x00\x00\x00", -(2**31)),
        (b"\xd3\x80" + b"\x00" * 7, -(2**63)),
        (b"\xca\x3f\xc0\x00\x00", 1.5),
        (b"\xcb\x3f\xf8" + b"\x00" * 6, 1.5),
        (b"\xa1a", "a"),
        (b"\xd9\x01a", "a"),
        (b"\xda\x00\x01a", "a"),
        (b"\xdb\x00\x00\x00\x01a", "a"),
        (b"\xc4\x01a", b"a"),
        (b"\xc5\x00\x01a", b"a"),
        (b"\xc6\x00\x00\x00\x01a", b"a"),
        (b"\x92\x01\x02", [1, 2]),
        (b"\xdc\x00\x01\x01", [1]),
        (b"\xdd\x00\x00\x00\x01\x01", [1]),
        (b"\x81\xa1a\x01", {"a": 1}),
        (b"\xde\x00\x01\xa1a\x01", {"a": 1}),
        (b"\xdf\x00\x00\x00\x01\xa1a\x01", {"a": 1}),
        (b"\x81\x07\x01", {"7": 1}),
        (b"\xd6\xff\x00\x00\x00\x00", "1970-01-01T00:00:00+00:00"),
        (b"\xd7\xff" + struct.pack(">Q", 500_000_000 << 34 | 1), "1970-01-01T00:00:01.500000+00:00"),
        (b"\xc7\x0c\xff" + struct.pack(">Iq", 0, -1), "1969-12-31T23:59:59+00:00"),
    ],
)
def test_every_form_of_the_specification_is_read(data: bytes, value: Any):
    read = msgpack.unpack(data)

    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65535, 65536])
def test_each_length_is_written_as_short_as_it_can_be(length: int):
    extra = 1 + (length > 31) + (length > 255) + 2 * (length > 65535)

    assert len(msgpack.pack("a" * length)) == length + extra
    assert msgpack.unpack(msgpack.pack([None] * length)) == [None] * length
    assert msgpack.unpack(msgpack.pack(b"a" * length)) == b"a" * length


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends too early"),
        (b"\xc1", "no MessagePack"),
        (b"\x01\x02", "1 bytes follow"),
        (b"\xdd\xff\xff\xff\xff", "4294967295 entries are announced"),
        (b"\xdf\xff\xff\xff\xff\xc0", "4294967295 entries are announced"),
        (b"\xdb\xff\xff\xff\xff", "4294967295 bytes are announced"),
        (b"\xc6\xff\xff\xff\xff", "4294967295 bytes are announced"),
        (b"\xc9\xff\xff\xff\xff\x01", "4294967295 bytes are announced"),
        (b"\xd4\x05\x00", "extension type 5"),
        (b"\xd4\xff\x00", "extension type -1 of 1 bytes"),
        (b"\xc7\x0c\xff\x00\x00\x00\x00" + b"\x7f" * 8, "timestamp is out of range"),
        (b"\x81\xc0\x01", "key is neither"),
        (b"\x81\x90\x01", "key is neither"),
        (b"\xa2a\xff", r"not UTF-8 \(byte 2\)"),
    ],
)
def test_what_is_refused_says_why_and_where(data: bytes, message: str):
    with pytest.raises(msgpack.Malformed, match=message):
        msgpack.unpack(data)


@pytest.mark.parametrize(
    ("depth", "is_read"), [(msgpack.MAX_DEPTH - 1, True), (msgpack.MAX_DEPTH, True), (msgpack.MAX_DEPTH + 1, False)]
)
def test_depth_is_bounded_in_both_directions(depth: int, is_read: bool):
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    data = b"\x91" * (depth - 1) + b"\x90"

    if is_read:
        assert msgpack.unpack(data) == value
        assert msgpack.pack(value) == data
    else:
        with pytest.raises(msgpack.Malformed, match="nested"):
            msgpack.unpack(data)
        with pytest.raises(NotEncodable, match="levels deep"):
            msgpack.pack(value)


@pytest.mark.parametrize(("extra", "is_read"), [(-1, True), (0, True), (1, False)])
def test_the_number_of_values_is_bounded(extra: int, is_read: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(msgpack, "MAX_VALUES", 1000)
    count = 1000 + extra
    data = b"\xdc" + struct.pack(">H", count) + b"\xc0" * count

    if is_read:
        assert len(msgpack.unpack(data)) == count
    else:
        with pytest.raises(msgpack.Malformed, match="more than 1000 values"):
            msgpack.unpack(data)


def test_announced_lengths_allocate_nothing():
    hostile = b"\xdd\x7f\xff\xff\xff" * 1000
    tracemalloc.start()

    try:
        with pytest.raises(msgpack.Malformed):
            msgpack.unpack(hostile)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


@pytest.mark.parametrize(
    "value", [Point(1, {"b", "a"}), {1: 2, None: 3, False: 4}, [(1, 2)], {"p": [Point(2, set())]}, {1.5: "x"}]
)
def test_the_same_is_said_as_in_json(value: Any):
    assert msgpack.unpack(msgpack.pack(value)) == json.loads(dumps(value))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, object()]}, "result.a[1]"),
        ([2**64], "result[0]"),
        ({"two words": -(2**63) - 1}, "result['two words']"),
        ({(1,): 2}, "result[(1,)]"),
    ],
)
def test_what_cannot_be_written_is_named(value: Any, where: str):
    with pytest.raises(NotEncodable) as caught:
        msgpack.pack(value)

    assert caught.value.where == where
