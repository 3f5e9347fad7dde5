"""Make a PNG small: 256 colours at most, which is what a picture of a terminal needs. The standard library alone."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLORS = 256
Color = tuple[int, int, int]


def shrink(path: Path) -> None:
    """Write a picture of 8-bit RGB or RGBA, as Chromium makes them, again with a palette."""
    chunks = list(_chunks(path.read_bytes()))
    width, height, depth, kind = struct.unpack(">IIBB", chunks[0][1][:10])
    if depth != 8 or kind not in {2, 6}:
        return
    raw = zlib.decompress(b"".join(data for name, data in chunks if name == b"IDAT"))
    rows = list(_rows(raw, width, height, 3 if kind == 2 else 4))
    counts = Counter(pixel for row in rows for pixel in row)
    palette = [color for color, _ in counts.most_common(COLORS)]
    index = {color: number for number, color in enumerate(palette)}
    for color in counts:
        if color not in index:
            index[color] = min(range(len(palette)), key=lambda number: _distance(palette[number], color))
    lines = b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in rows)
    path.write_bytes(
        SIGNATURE
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", bytes(part for color in palette for part in color))
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += length + 12


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _rows(raw: bytes, width: int, height: int, size: int) -> Iterator[list[Color]]:
    """Undo the filters, and round each channel to 6 bits: nobody sees the difference, and far fewer colours are left."""
    stride, above = width * size, bytearray(width * size)
    for number in range(height):
        at = number * (stride + 1)
        row = bytearray(raw[at + 1 : at + 1 + stride])
        _unfilter(raw[at], row, above, size)
        above = row
        yield [tuple(part & 0xFC for part in row[x : x + 3]) for x in range(0, stride, size)]


def _unfilter(kind: int, row: bytearray, above: bytearray, size: int) -> None:
    for x in range(len(row)) if kind else ():
        left = row[x - size] if x >= size else 0
        upper_left = above[x - size] if x >= size else 0
        guess = (0, left, above[x], (left + above[x]) // 2, _paeth(left, above[x], upper_left))[kind]
        row[x] = (row[x] + guess) & 0xFF


def _paeth(left: int, up: int, upper_left: int) -> int:
    guess = left + up - upper_left
    near_left, near_up, near_both = abs(guess - left), abs(guess - up), abs(guess - upper_left)
    if near_left <= near_up and near_left <= near_both:
        return left
    return up if near_up <= near_both else upper_left


def _distance(one: Color, other: Color) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
