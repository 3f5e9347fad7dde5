import enum

SCALE = 2
LIMITS = {"low": 1, "high": 9}
UNUSED = 11


class Mode(enum.Enum):
    FAST = 0
    SLOW = 1


def threshold(level=5):
    return SCALE * level
