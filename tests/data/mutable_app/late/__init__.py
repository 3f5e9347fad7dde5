"""What only a loader imports."""

from config import SCALE

DEPTH: int = 2
