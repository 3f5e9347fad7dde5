"""Tables, made late."""

import dataclasses
import mimetypes

import decorate
import parts
from config import *

from . import DEPTH, names


@dataclasses.dataclass
class Row:
    """One row."""

    key: str
    value: int = 8

    def scaled(self):
        return self.value * SCALE


WIDTH: int = 3


@decorate.doubled
def total(rows):
    return sum(row.scaled() for row in rows) + DEPTH + parts.VERSION


def make(count):
    mimetypes.add_type(names.kind(threshold(1)), ".late")
    return [Row(names.key(number), number + WIDTH) for number in range(count)]
