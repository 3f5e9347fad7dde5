"""Writes JSON with an encoder that is made once.

`json.JSONEncoder` makes a new one for each value, which takes longer than to write a small one.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from typing import Any


def _refuse(value: Any) -> Any:
    msg = f"Object of type {type(value).__name__} is not JSON serializable"
    raise TypeError(msg)


def encoder(
    *, ensure_ascii: bool = True, allow_nan: bool = True, default: Callable[[Any], Any] = _refuse
) -> Callable[[Any], str]:
    """Make a function that writes values without spaces, as `json.JSONEncoder` would.

    It does not look for values that contain themselves: they raise RecursionError.

    Args:
        ensure_ascii: Whether what is not ASCII is escaped.
        allow_nan: Whether NaN and infinities are written, as no standard has it; else they raise ValueError.
        default: Turns what JSON lacks into what it has.
    """
    options: dict[str, Any] = {"ensure_ascii": ensure_ascii, "allow_nan": allow_nan, "default": default}
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # a Python without its C parts
        return json.JSONEncoder(separators=(",", ":"), check_circular=False, **options).encode
    text = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
    chunks = make(None, default, text, None, ":", ",", False, False, allow_nan)
    join: Callable[[Any], str] = "".join
    return lambda value: join(chunks(value, 0))
