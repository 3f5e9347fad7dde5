"""The report as one JSON object, and such an object as what another period is compared with."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, cast

from hotloop.devloop.report.data import SCHEMA
from hotloop.devloop.report.figures import Figures
from hotloop.errors import UsageError
from hotloop.events import record_from_json

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.devloop.report.data import Report

HINT = "dev report --json > FILE writes one"


def render(report: Report) -> str:
    """Write the object; its fields are only ever added to."""
    return json.dumps({"schema": SCHEMA, "kind": "report", **dataclasses.asdict(report)})


def read_figures(file: Path) -> Figures:
    """Read what `render` wrote, as the period to compare with.

    Raises:
        UsageError: It can't be read, or is something else.
    """
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"--compare {file}: {error.strerror if isinstance(error, OSError) else 'no JSON'}, a report was expected"
        raise UsageError(msg, hint=HINT) from error
    try:
        return _figures(found, file.name)
    except (KeyError, TypeError, ValueError) as error:
        msg = f"--compare {file}: it holds no report that this version can read ({type(error).__name__}: {error})"
        raise UsageError(msg, hint=HINT) from error


def _figures(found: Any, name: str) -> Figures:
    data = cast("dict[str, Any]", found)
    if data["schema"] != SCHEMA or data["kind"] != "report":
        msg = f"schema {data['schema']!r}"
        raise ValueError(msg)
    figures = record_from_json(Figures, data["current"])
    numbers = [value for field, value in dataclasses.asdict(figures).items() if field not in {"name", "feedback_s"}]
    if not all(value is None or isinstance(value, int | float) for value in (*numbers, *figures.feedback_s)):
        msg = "text where numbers were expected"
        raise TypeError(msg)
    return dataclasses.replace(figures, name=name)
