# pyright: basic
# numpy and torch are the user's, if anyone's: they are looked up among the imported modules, never imported here.
"""Arrays and tensors: from nested lists and from ``.npy`` bytes, and back."""

from __future__ import annotations

import io
import math
import sys
import typing
from typing import Any

from hotloop.gpu_runtime.user_env.hints import without_aliases
from hotloop.gpu_runtime.user_env.scalars import Decoder, Mismatch, refuse

NPY = "application/x-npy"
NPY_MAGIC = b"\x93NUMPY"
_MAX_HEAD_BYTES = 1 << 17


def numpy() -> Any:
    """The user's numpy, None if nothing has imported it."""
    return sys.modules.get("numpy")


def is_array_type(hint: Any) -> bool:
    """Whether a type is numpy's array (however parametrised) or torch's tensor."""
    return _is_exactly(hint, "numpy", "ndarray") or _is_exactly(hint, "torch", "Tensor")


def is_numpy_type(hint: Any) -> bool:
    """Whether a type is numpy's array, however parametrised; from numpy 2.5 on ``NDArray[...]`` is an alias of it."""
    hint = without_aliases(hint)
    return _is_exactly(typing.get_origin(hint) or hint, "numpy", "ndarray")


def is_array(value: Any) -> bool:
    """Whether a value is a numpy array."""
    return numpy() is not None and isinstance(value, numpy().ndarray)


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor."""
    return "torch" in sys.modules and isinstance(value, getattr(sys.modules["torch"], "Tensor", ()))


def decoder(hint: Any) -> Decoder:
    """Make the function that builds an array or a tensor from nested lists."""
    if not is_numpy_type(hint):
        return _tensor
    dtype = dtype_of(hint)

    def decode(value: Any) -> Any:
        if isinstance(value, bytes):  # from MessagePack or a form: a .npy file
            return from_npy(value, dtype)
        if not isinstance(value, list | int | float):
            refuse("nested lists of numbers", value)
        return _from_lists(value, dtype)

    return decode


def dtype_of(hint: Any) -> Any:
    """The dtype that ``NDArray[numpy.float32]`` names, None if it names none."""
    for argument in typing.get_args(without_aliases(hint))[1:]:
        scalar = next(iter(typing.get_args(argument)), None)
        if isinstance(scalar, type) and not scalar.__subclasses__():  # numpy.floating and the like are no dtype
            return numpy().dtype(scalar)
    return None


def _from_lists(value: Any, dtype: Any) -> Any:
    """Read nested lists of numbers; numpy would take more for a number: null, text, what does not fit."""
    try:
        found = numpy().asarray(value)
        if found.dtype.kind == "O" and all(type(entry) in {int, float, bool} for entry in found.flat):
            found = numpy().asarray(value, dtype=float)  # integers of more than 64 bits
        if found.dtype.kind not in "biuf":
            msg = f"expected nested lists of numbers, got entries of type {found.dtype}"
            raise Mismatch(msg)
        if dtype is None or dtype == found.dtype:
            return found
        with numpy().errstate(over="ignore", invalid="ignore"):
            array = numpy().asarray(value, dtype=dtype) if dtype.kind in "iu" else found.astype(dtype)
    except (ValueError, TypeError, OverflowError) as error:
        msg = f"expected nested lists of numbers, all of one shape: {error}"
        raise Mismatch(msg) from None
    if dtype.kind in "iu" and not (array == found).all():
        msg = f"expected whole numbers that fit {dtype}"
        raise Mismatch(msg)
    if dtype.kind == "f" and numpy().isinf(array).sum() > numpy().isinf(found).sum():
        msg = f"expected numbers that fit {dtype}"
        raise Mismatch(msg)
    return array


def _tensor(value: Any) -> Any:
    if not isinstance(value, list | int | float):
        refuse("nested lists of numbers", value)
    try:
        return sys.modules["torch"].tensor(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        msg = f"expected nested lists of numbers, all of one shape: {error}"
        raise Mismatch(msg) from None


def from_npy(body: bytes | memoryview, dtype: Any = None) -> Any:
    """Read an array in numpy's own format; never an object array, which could run code.

    What is given can be written to: it is a view of the body if that can be, else a copy.
    """
    file = io.BytesIO(body if isinstance(body, bytes) else bytes(body[:_MAX_HEAD_BYTES]))
    reader = numpy().lib.format
    try:
        version = reader.read_magic(file)
        read_header = reader.read_array_header_1_0 if version == (1, 0) else reader.read_array_header_2_0
        shape, is_fortran, found = read_header(file)
    except ValueError as error:
        msg = f"expected the bytes of a .npy file: {error}"
        raise Mismatch(msg) from None
    # The header's word is checked before anything is allocated: a short body may claim terabytes.
    count, size = math.prod(shape), len(body) - file.tell()
    if found.hasobject or count * found.itemsize != size:
        claimed = "objects" if found.hasobject else f"{count * found.itemsize} bytes"
        msg = f"expected a .npy file of numbers, its header claims {claimed} and {size} bytes follow"
        raise Mismatch(msg)
    array = numpy().frombuffer(body, found, count, file.tell()).reshape(shape, order="F" if is_fortran else "C")
    is_as_wanted = dtype is None or dtype == found
    return array if is_as_wanted and array.flags.writeable and array.flags.aligned else array.astype(dtype or found)


def to_npy(array: Any) -> bytes:
    """Write an array in numpy's own format."""
    return b"".join(npy_parts(array))


def npy_parts(array: Any) -> tuple[bytes, memoryview]:
    """Write an array in numpy's own format: the head, and its numbers, as they lie in memory if they do in one piece."""
    file, writer = io.BytesIO(), numpy().lib.format
    if not array.flags.c_contiguous and not array.flags.f_contiguous:
        array = numpy().ascontiguousarray(array)
    head = writer.header_data_from_array_1_0(array)
    try:
        writer.write_array_header_1_0(file, head)
    except ValueError:  # a type of so many fields that their names need the later version
        writer.write_array_header_2_0(file, head)
    numbers = array if array.flags.c_contiguous else array.T
    return file.getvalue(), memoryview(numbers.reshape(-1).view(numpy().uint8))


def _is_exactly(hint: Any, package: str, name: str) -> bool:
    return package in sys.modules and hint is getattr(sys.modules[package], name, None)


def is_numpy_scalar(value: Any) -> bool:
    """Whether a value is one number of numpy's."""
    return numpy() is not None and isinstance(value, numpy().generic)


def to_lists(value: Any) -> Any:
    """Write an array, a tensor or one number of numpy's as nested lists or a plain value.

    Raises:
        TypeError: Its entries are complex numbers, which JSON does not have.
    """
    array = value.detach() if is_tensor(value) else value
    if getattr(array.dtype, "is_complex", False) or getattr(array.dtype, "kind", "") in {"c", "V", "M", "m"}:
        msg = f"entries of type {array.dtype} have no form in JSON"
        raise TypeError(msg)
    if getattr(array.dtype, "kind", "") == "f" and array.dtype.itemsize > 8:  # Python has no float of its size
        array = array.astype(float)
    return array.tolist()


def is_row_of_floats(value: Any) -> bool:
    """Whether a value is an array or a tensor of one dimension that `to_lists` makes a list of floats of."""
    if is_array(value):
        return value.ndim == 1 and value.dtype.kind == "f"
    return is_tensor(value) and value.ndim == 1 and value.is_floating_point() and str(value.layout) == "torch.strided"


def can_be_npy(value: Any) -> bool:
    """Whether a value can be written in numpy's own format."""
    if is_tensor(value):
        return numpy() is not None and str(value.dtype) != "torch.bfloat16" and not value.is_sparse
    return is_array(value) and not value.dtype.hasobject


def as_numpy(value: Any) -> Any:
    """Give an array, or the array of a tensor's values on the CPU."""
    return value.detach().cpu().numpy() if is_tensor(value) else value
