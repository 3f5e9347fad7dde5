"""Write docs/events.md from hotloop.events, so that it can't say anything else. Run by `make docs`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from pathlib import Path
from typing import Any

from hotloop import events

TARGET = Path(__file__).parent / "events.md"
RECORDS = (
    events.Iteration,
    events.ModelOutcome,
    events.ImportTime,
    events.ProbeReport,
    events.Change,
    events.EndpointShape,
    events.Problem,
    events.Frame,
    events.FailedTest,
    events.EndpointSample,
    events.GpuSample,
    events.GaugeSample,
)
INTRODUCTION = """\
# Events: what `dev serve --json` prints

Written by `make docs` from `src/hotloop/events/`; a test compares the two.

One JSON object a line on stdout, and nothing else there; messages for people are on stderr. Every object has a `kind`.
Fields are only ever added, so ignore what you don't know. A field without a default is always there. Times called `at_s`
are seconds of the machine's monotonic clock: they compare with each other, not with the time of day. `T | null` may be
null; a list is written `[T]`.

A session begins with `session_started` and ends with `session_ended`. Each save gives one `iteration_started` and one
`iteration_finished`, which holds the whole record: a program that reads only that line misses nothing of the outcome.

    dev serve --json | jq -c 'select(.kind == "iteration_finished") | .iteration | {number, outcome, feedback_s}'
"""

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def document() -> str:
    """Write the whole page."""
    parts = [INTRODUCTION, "## Events\n"]
    parts += [_section(event_type, "kind") for event_type in typing.get_args(events.Event)]
    parts += ["## Records inside events\n"]
    parts += [_section(record_type, "") for record_type in RECORDS]
    return "\n".join(parts)


def _section(record_type: type[Any], left_out: str) -> str:
    text = inspect.cleandoc(record_type.__doc__ or "")
    summary, _, attributes = text.partition("Attributes:")
    said = {name: re.sub(r"\s+", " ", words) for name, words in _ATTRIBUTE.findall(attributes)}
    fields = [field for field in dataclasses.fields(record_type) if field.name != left_out]
    kinds = [field.default for field in dataclasses.fields(record_type) if field.name == left_out]
    title = kinds[0] if kinds else record_type.__name__
    rows = [_row(field, record_type, said.get(field.name, "")) for field in fields]
    table = ["| field | type | meaning |", "| --- | --- | --- |", *rows]
    return f"### `{title}`\n\n{_plain(summary.strip())}\n\n" + "\n".join(table) + "\n"


def _row(field: dataclasses.Field[Any], record_type: type[Any], meaning: str) -> str:
    hint = typing.get_type_hints(record_type)[field.name]
    default = "" if field.default is dataclasses.MISSING else f" Default `{field.default!r}`."
    cell = f"{_plain(meaning)}{default}".strip().replace("|", "\\|")
    return f"| `{field.name}` | {_type_name(hint)} | {cell} |"


def _type_name(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f'`"{each}"`' for each in arguments)
    if type(None) in arguments:
        return " \\| ".join(_type_name(each) for each in arguments if each is not type(None)) + " \\| null"
    if typing.get_origin(hint) is tuple:
        members = [each for each in arguments if each is not Ellipsis]
        return "[" + ", ".join(_type_name(each) for each in members) + "]"
    if typing.get_origin(hint) is dict:
        return f"object of {_type_name(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        hint.__name__, hint.__name__
    )


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`"))


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
