"""Read JSON as the standard has it: no NaN, and no number that would become infinite."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

_SHOWN_CHARS = 40


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        msg = f"{text[:_SHOWN_CHARS]} is too large a number"
        raise ValueError(msg)
    return value


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is no JSON number"
    raise ValueError(msg)


# One for all: `json.loads` makes a decoder for each call that has options.
_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)


def loads(text: str) -> Any:
    """Read one value.

    Raises:
        ValueError: It is no JSON; a `json.JSONDecodeError` if it says where.
        RecursionError: It is nested too deep.
    """
    return _DECODER.decode(text)


def loads_bytes(body: bytes) -> Any:
    """Read one value in UTF-8, -16 or -32, as `json.loads` tells them apart; raises as `loads` does."""
    # As the detection has it for what begins so, at a tenth of its price.
    is_usual = body[:1] == b"{" and body[1:2] != b"\0"
    text = body.decode("utf-8" if is_usual else json.detect_encoding(body), "surrogatepass")
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError:  # it does not begin with a value, but may after white space
        value, end = None, -1
    return value if end == len(text) else _DECODER.decode(text)
