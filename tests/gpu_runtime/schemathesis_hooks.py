"""What schemathesis has to be told: how bodies look that it has no words for. It loads this file by itself."""

from __future__ import annotations

import struct

import schemathesis
from hypothesis import strategies as st

NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5)


def npy(values: list[float]) -> bytes:
    """Write an array as numpy's format 1.0 has it."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(values)},), }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack(f"<{len(values)}f", *values)


schemathesis.openapi.media_type("application/x-npy", NUMBERS.map(npy))
