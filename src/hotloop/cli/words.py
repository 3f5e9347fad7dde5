"""How numbers and places are written for people: as everywhere, so that the plain lines and the dashboard agree."""

from __future__ import annotations

from hotloop.devloop.words import count, duration, paths, phases, rate, size

__all__ = ["count", "duration", "paths", "phases", "rate", "size"]
