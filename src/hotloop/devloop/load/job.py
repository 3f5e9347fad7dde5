"""What passes between the loop and the process that benches for it: one line of JSON each way. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import field
from typing import Any

from hotloop.devloop.load.figures import Figures, Noise
from hotloop.events import Change, Problem, record_from_json, to_json
from hotloop.frozen import frozen

NUM_CONNECTIONS = 8
DURATION_S = 2.0


@frozen
class Job:
    """What is asked for.

    Attributes:
        url: Of the server.
        path: Of the endpoint, to name it.
        request: A whole request.
        before: What it is compared with.
        noise: What benches of the same code differ by.
        duration_s: How long load is sent that counts.
    """

    url: str
    path: str
    request: bytes
    before: Figures | None = None
    noise: Noise = field(default_factory=Noise)
    duration_s: float = DURATION_S

    def to_line(self) -> bytes:
        """Write it for the process."""
        fields = {"url": self.url, "path": self.path, "request": base64.b64encode(self.request).decode()}
        before = None if self.before is None else to_json(self.before)
        more = {"before": before, "noise": to_json(self.noise), "duration_s": self.duration_s}
        return json.dumps({**fields, **more}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Job:
        """Read what `to_line` wrote."""
        data: dict[str, Any] = json.loads(line)
        before = data["before"] and record_from_json(Figures, data["before"])
        noise = record_from_json(Noise, data["noise"])
        return cls(data["url"], data["path"], base64.b64decode(data["request"]), before, noise, data["duration_s"])


@frozen
class Result:
    """What became of a job: figures, or why there are none.

    Attributes:
        throughput: How it changed; None if there is nothing to compare.
        latency: How p99 changed; None likewise.
    """

    figures: Figures | None = None
    throughput: Change | None = None
    latency: Change | None = None
    problem: Problem | None = None

    def to_line(self) -> bytes:
        """Write it for the loop."""
        return json.dumps(to_json(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Result:
        """Read what `to_line` wrote.

        Raises:
            ValueError: The process ended without a whole line.
        """
        return record_from_json(cls, json.loads(line))
