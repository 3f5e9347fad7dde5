"""It serves, and nothing was saved yet: what to do next, with a line to paste."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hotloop.devloop import words
from hotloop.tui.actions import USUAL_KEYS
from hotloop.tui.panels.lines import Row, blank, finished, kept, line, spread, wrapped
from hotloop.tui.panels.meanings import title_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.text import Text

    from hotloop.events import EndpointShape
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State

_AIR, _TIP, _REST = 3, 2, 1
_LABEL = 16
_EXAMPLES: dict[str, object] = {
    "str": "hello",
    "int": 1,
    "float": 0.5,
    "bool": True,
    "bytes": "",
    "list": [],
    "dict": {},
    "tuple": [],
}


def draw(
    state: State,
    width: int,
    height: int,
    palette: Palette,
    now_s: float,
    *,
    keys: Mapping[str, str] = USUAL_KEYS,
) -> list[Text]:
    """Draw the three next steps."""
    first = next((trip for trip in state.trips if trip.number == 0 and trip.feedback_s is not None), None)
    took = (
        f"{title_of(first).lower()} {words.duration(first.feedback_s)}"
        if first is not None and first.feedback_s
        else ""
    )
    head = spread(line(("Ready", f"bold {palette.strong}")), line((took, palette.muted)), width)
    rows = [Row(head), blank(_AIR)]
    for number, (name, about) in enumerate(_steps(state, keys["probe"]), 1):
        rows += _step(number, name, about, width, palette)
    tip = "Models stay in memory between reloads: an edit comes back in milliseconds."
    rows += [blank(_AIR), *(Row(line("  ", each), _TIP) for each in wrapped(line((tip, palette.muted)), width - 2))]
    return finished(kept(rows, height), width, height, palette)


def _steps(state: State, key: str) -> tuple[tuple[str, str], ...]:
    watched = f"{words.count(state.num_files, 'file')} {'is' if state.num_files == 1 else 'are'} watched"
    request = curl(state.endpoints, state.address) or "write an @app.endpoint first"
    if not state.num_files:  # seen through the agent: whoever holds the session sends saves and sets probes
        return (("Send a request", request),)
    return (
        ("Save a file", watched),
        ("Send a request", request),
        ("Set a probe", f"press {key}: a request sent again after every reload"),
    )


def _step(number: int, name: str, about: str, width: int, palette: Palette) -> list[Row]:
    label = line((f"  {number}  ", f"bold {palette.code}"), (name, f"bold {palette.strong}"))
    if width < 5 + _LABEL + len(about):
        told = [label, *(line("     ", each) for each in wrapped(line((about, palette.muted)), width - 5))]
    else:
        told = [line(label, " " * (5 + _LABEL - label.cell_len), (about, palette.muted))]
    return [Row(text, _REST if index else 0) for index, text in enumerate(told)]


def curl(endpoints: Sequence[EndpointShape], address: str) -> str:
    """Write a request to the first endpoint that can be pasted into a shell; empty if there is none."""
    if not endpoints or not address:
        return ""
    endpoint = endpoints[0]
    values = {name: example(kind) for name, kind in endpoint.parameters if "=" not in kind}
    base, _, machine = address.partition(" on ")  # as `devloop.onlooking.place` writes it
    url = f"{base.rstrip('/')}{endpoint.path}"
    where = f"  # on {machine}" if machine else ""
    shows_stream = "-N " if endpoint.is_stream else ""
    if "POST" in endpoint.methods:
        return f"curl {shows_stream}{url} -d {shlex.quote(json.dumps(values))}{where}"
    query = "?" + urlencode(values, errors="replace") if values else ""
    method = "" if "GET" in endpoint.methods or not endpoint.methods else f"-X {endpoint.methods[0]} "
    return f"curl {shows_stream}{method}{shlex.quote(url + query)}{where}"


def example(kind: str) -> object:
    """Give a value that a parameter of that type may take."""
    name = kind.partition("[")[0].partition("|")[0].strip()
    return _EXAMPLES.get(name, {})
