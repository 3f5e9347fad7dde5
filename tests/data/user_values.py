"""Run in a user's environment: values of numpy, pydantic and torch, in and out. Prints the number of checks."""

import io
import json
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray

from hotloop.gpu_runtime.user_env import arrays, decode, doubles, hints, jsonable
from hotloop.gpu_runtime.user_env.resolve import RequestParameter
from hotloop.gpu_runtime.user_env.values import BadRequest, RequestDecoder, encode

NPY = arrays.NPY
checks: list[Any] = []


class Item(pydantic.BaseModel):
    name: str
    sizes: list[float] = []


class Box(pydantic.BaseModel):
    items: list[Item]


@dataclass
class Holder:
    box: Box
    vector: NDArray[np.float32]


def reader(hint: Any) -> RequestDecoder:
    return RequestDecoder([RequestParameter("x", hint, hints.REQUIRED)])


def read(hint: Any, value: Any) -> Any:
    return reader(hint).decode({"type": "application/json"}, json.dumps({"x": value}).encode())["x"]


def read_raw(hint: Any, body: bytes, kind: str = NPY) -> Any:
    return reader(hint).decode({"type": kind}, body)["x"]


def refusal(action: Any) -> str:
    try:
        action()
    except BadRequest as error:
        return f"{error.status} {error.message}"
    return "nothing was raised"


def unwritable(value: Any) -> str:
    try:
        encode(value)
    except jsonable.NotEncodable as error:
        return str(error)
    return "nothing was raised"


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        is_same = isinstance(found, np.ndarray) and found.dtype == expected.dtype and np.array_equal(found, expected)
    else:
        is_same = found == expected
    assert is_same, f"expected {expected!r}, got {found!r}"
    checks.append(found)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


# --- numpy in ---
same(read(np.ndarray, [[1, 2.5]]), np.array([[1, 2.5]]))
same(read(np.ndarray, 3), np.array(3))
same(read(NDArray[np.float32], [1, 2]), np.array([1, 2], np.float32))
same(read(NDArray[np.int64], []), np.array([], np.int64))
same(read(NDArray[np.floating], [1.5]), np.array([1.5]))
same(read(np.ndarray | None, None), None)
same(
    refusal(lambda: read(np.ndarray, [[1], [2, 3]])).partition(": setting")[0],
    "422 x: expected nested lists of numbers, all of one shape",
)
same(refusal(lambda: read(np.ndarray, "a")), '422 x: expected nested lists of numbers, got "a"')
same(refusal(lambda: read(np.ndarray, ["a"])), "422 x: expected nested lists of numbers, got entries of type <U1")
same(refusal(lambda: read(np.ndarray, [None]))[:4], "422 ")
for wrong in ([None], [[1.0, None]], ["1"], [[True, "1"]], [{}]):  # numpy itself would make numbers of most of them
    same(refusal(lambda wrong=wrong: read(NDArray[np.float32], wrong))[:42], "422 x: expected nested lists of numbers, g")
same(refusal(lambda: read(NDArray[np.float32], [1e39])), "422 x: expected numbers that fit float32")
same(read(NDArray[np.float32], [3e38]), np.array([3e38], np.float32))
same(refusal(lambda: read(NDArray[np.uint8], [256]))[:4], "422 ")
same(read(NDArray[np.uint8], [255, True]), np.array([255, 1], np.uint8))
same(read(NDArray[np.int32], [1.0, -2.0]), np.array([1, -2], np.int32))
for unfit in ([1.5], [[1], [0.1]]):
    same(refusal(lambda unfit=unfit: read(NDArray[np.int32], unfit)), "422 x: expected whole numbers that fit int32")
same(refusal(lambda: read(NDArray[np.int32], [1e12, 0.5]))[:4], "422 ")
same(refusal(lambda: read(NDArray[np.int32], [-1e30]))[:4], "422 ")
same(read(np.ndarray, [2**70, 1]), np.array([2.0**70, 1.0]))
for array in (
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(3.5, np.float16),
    np.zeros((0, 4), np.float32),
    np.array([True, False]),
    np.arange(24).reshape(2, 3, 4)[:, ::2],
    np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.zeros(3, [("a", np.int8), ("b", np.float32, 2)]),
    np.arange(3).astype(">i4"),
):
    same(read_raw(np.ndarray, npy(array)), array)
    same(read_raw(np.ndarray, memoryview(bytearray(npy(array)))), array)
    same(encode(array, NPY)[1], npy(array))
    same(read_raw(np.ndarray, npy(array), "application/octet-stream"), array)
    same(read_raw(np.ndarray, encode(array, NPY)[1]), array)
same(read_raw(NDArray[np.float32], npy(np.arange(3))), np.arange(3, dtype=np.float32))
same(read_raw(np.ndarray, npy(np.arange(3))).flags.writeable, True)
whole = npy(np.zeros(1000))
lent = memoryview(bytearray(whole))
given = read_raw(np.ndarray, lent)
given[:] = 1.0
same(bytes(lent[-8:]), np.float64(1).tobytes())  # a view of what was lent, and the user's to write to
shifted = memoryview(bytearray(b"x" + whole))[1:]
for copied in (read_raw(np.ndarray, shifted), read_raw(NDArray[np.float32], lent), read_raw(np.ndarray, whole)):
    same((copied.flags.writeable, copied.flags.aligned), (True, True))
    same(np.shares_memory(copied, np.frombuffer(lent, np.uint8)), False)
ones = np.ones((4, 5))
for part, is_view in ((ones, True), (ones.T, True), (ones[1:], True), (ones[:, 1:], False)):
    head, numbers = arrays.npy_parts(part)
    same((head + numbers, np.shares_memory(numbers, ones)), (npy(part), is_view))
many = np.zeros(1, [(f"field_{number}", np.int8) for number in range(4000)])
same(arrays.to_npy(many)[6], 2)  # the version of the format
same(
    refusal(lambda: read_raw(np.ndarray, whole[:-8])),
    "422 x: expected a .npy file of numbers, its header claims 8000 bytes and 7992 bytes follow",
)
same(
    refusal(lambda: read_raw(np.ndarray, npy(np.array([object()])))).partition(" and ")[0],
    "422 x: expected a .npy file of numbers, its header claims objects",
)
same(
    refusal(lambda: read_raw(np.ndarray, b"nonsense")).partition(": the")[0], "422 x: expected the bytes of a .npy file"
)
same(
    refusal(lambda: read_raw(np.ndarray, b"nonsense", "application/octet-stream")),
    "415 body: expected application/json, got application/octet-stream",
)

# --- numpy and torch out ---
same(encode(np.array([[1, 2.5]])), ("application/json", b"[[1.0,2.5]]"))
same(encode({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)})[1], b'{"a":0.5,"b":3,"c":true}')
same(encode({np.int64(3): 1})[1], b'{"3":1}')
same(encode([np.longdouble(1.5), np.array([[2.5]], np.longdouble)])[1], b"[1.5,[[2.5]]]")
same(encode(torch.tensor([[1.0, 2.0]], requires_grad=True))[1], b"[[1.0,2.0]]")
same(encode(torch.tensor(3, dtype=torch.int32))[1], b"3")
same(encode(torch.tensor([1.5], dtype=torch.bfloat16), NPY), ("application/json", b"[1.5]"))
same(np.load(io.BytesIO(encode(torch.tensor([1.5]), NPY)[1])), np.array([1.5], np.float32))
same(encode([np.arange(2), {"t": torch.arange(2)}])[1], b'[[0,1],{"t":[0,1]}]')
same(encode(np.array(["a"]))[1], b'["a"]')
same(
    unwritable({"v": np.array([1.0, np.nan])}),
    "result.v[1] is nan, which JSON does not have: return None or a number there",
)
same(unwritable(np.array([1j])), "result is a numpy.ndarray, which can't be written as JSON")
same(unwritable(torch.nn.Linear(1, 1)), "result is a torch.nn.modules.linear.Linear, which can't be written as JSON")

# --- torch in ---
same(read(torch.Tensor, [[1.0, 2.0]]).tolist(), [[1.0, 2.0]])
same(
    refusal(lambda: read(torch.Tensor, [[1], [2, 3]]))[:56],
    "422 x: expected nested lists of numbers, all of one shape"[:56],
)

# --- what the front may write ---
floats = np.arange(64) / 7
for row in (floats, floats.astype(np.float16), torch.tensor(floats), torch.tensor(floats, dtype=torch.bfloat16)):
    same(arrays.is_row_of_floats(row), True)
    raw = doubles.Allowance(1.0).take(arrays.to_lists(row))
    same(None if raw is None else doubles.as_json(raw), encode(row)[1])
for row in (
    floats.astype(int), floats.astype(complex), floats.reshape(8, 8), np.float64(1), torch.arange(64), torch.ones(8, 8),
    torch.tensor(floats).to_sparse(), torch.tensor(floats, dtype=torch.complex64), floats.tolist(), None,
):  # fmt: skip
    same(arrays.is_row_of_floats(row), False)

# --- pydantic ---
same(read(Box, {"items": [{"name": "a", "sizes": [1]}]}), Box(items=[Item(name="a", sizes=[1.0])]))
same(read(list[Item] | None, [{"name": "a"}]), [Item(name="a")])
same(
    refusal(lambda: read(Box, {"items": [{"name": "a"}, {"name": 3}]})),
    "422 x.items[1].name: input should be a valid string",
)
same(refusal(lambda: read(Box, {})), "422 x.items: field required")
same(read(Annotated[int, pydantic.Field(ge=0)], 3), 3)
same(
    refusal(lambda: read(Annotated[int, pydantic.Field(ge=0)], -1)),
    "422 x: input should be greater than or equal to 0",
)
same(refusal(lambda: read(list[Annotated[int, pydantic.Field(ge=0)]], [1, -1]))[:9], "422 x[1]:")
holder = read(Holder, {"box": {"items": []}, "vector": [1]})
same((holder.box, holder.vector.dtype), (Box(items=[]), np.dtype(np.float32)))
same(encode(Box(items=[Item(name="a")]))[1], b'{"items":[{"name":"a","sizes":[]}]}')
same(encode([holder])[1], b'[{"box":{"items":[]},"vector":[1.0]}]')
same("dtype[float32]" in hints.text_of(np.ndarray[Any, np.dtype[np.float32]]), True)
same(read(list[NDArray[np.float32]], [[1], [2]])[1].dtype, np.dtype(np.float32))
same(decode.decoder(Item)({"name": "a"}), Item(name="a"))

print(len(checks))
