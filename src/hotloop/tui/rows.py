"""Questions and messages: one row in place of the figures, never a window above what is being read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from hotloop.frozen import frozen
from hotloop.tui.panels.lines import finished, fitting, joined, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from hotloop.devloop.pulse import Question
    from hotloop.events import ProbeReport
    from hotloop.tui.palette import Palette

MESSAGE_S = 5.0
MAX_PROBES = 9


class Choice(NamedTuple):
    """A key that answers a row.

    Attributes:
        key: Textual's name.
        shown: As people write it.
        label: What it does; may be empty.
        answer: What the app is told.
    """

    key: str
    shown: str
    label: str
    answer: str


@frozen
class Row:
    """What is asked or said.

    Attributes:
        name: What it is about: the app decides by it what an answer means.
        text: The question.
        choices: Empty for a message.
        ink: Its colour, a field of `Palette`.
        is_taking_keys: Any key answers it, if only with no; after a question, another key also does what it always does.
        until_s: When it goes by itself, monotonic seconds; None if it stays.
        note: Said behind the choices, if there is room.
        short: The question where there is too little room for all choices otherwise; empty if there is none.
    """

    name: Literal["message", "quit", "restart", "probe", "question"]
    text: str
    choices: tuple[Choice, ...] = ()
    ink: Literal["warning", "bad", "model", "code", "good"] = "code"
    is_taking_keys: bool = False
    until_s: float | None = None
    note: str = ""
    short: str = ""


def message(text: str, now_s: float, *, is_bad: bool = False) -> Row:
    """Say something for some seconds."""
    return Row("message", text, ink="bad" if is_bad else "good", until_s=now_s + (2 if is_bad else 1) * MESSAGE_S)


def quitting(*, is_attached: bool) -> Row:
    """Ask how to leave."""
    stay = Choice("escape", "Esc", "stay", "")
    if is_attached:
        choices = (
            Choice("enter", "Enter", "close, the session goes on", "close"),
            Choice("x", "x", "stop it", "stop"),
            stay,
        )
        return Row("quit", "Close the dashboard?", choices, "warning", is_taking_keys=True, short="Close?")
    choices = (Choice("enter", "Enter", "stop", "stop"), Choice("d", "d", "leave it running", "detach"), stay)
    return Row("quit", "Stop the session?", choices, "warning", is_taking_keys=True, short="Stop?")


def restarting(usual_s: str) -> Row:
    """Ask whether everything is to be loaded again."""
    takes = f", about {usual_s}" if usual_s else ""
    choices = (Choice("enter", "Enter", "restart", "restart"), Choice("escape", "Esc", "stay", ""))
    text = f"Start cold? Everything is loaded again{takes}"
    return Row("restart", text, choices, "warning", is_taking_keys=True, short="Start cold?")


def probing(reports: Sequence[ProbeReport]) -> Row:
    """Ask what to do about probes."""
    choices = [Choice("p", "p", "run all", "run"), Choice("enter", "Enter", "", "run")]
    choices += [Choice("a", "a", "pin the last request", "pin")]
    choices += [Choice("x", "x", "unpin the one shown", "unpin")] if reports else []
    choices += [Choice(str(at), str(at), report.name, report.name) for at, report in enumerate(reports[:MAX_PROBES], 1)]
    return Row("probe", "Probes", (*choices, Choice("escape", "Esc", "", "")), "code", is_taking_keys=True)


def question(asked: Question, until_s: float) -> Row:
    """Ask how the loop feels: a key answers, any other is no answer."""
    labels = {"1": "no", "3": "mostly", "5": "yes", "y": "yes", "n": "no", "v": "never"}
    choices = (*(Choice(key, key, labels.get(key, ""), key) for key in asked.keys), Choice("escape", "Esc", "skip", ""))
    note = "weekly at most, kept on this machine"
    return Row(
        "question", asked.text, choices, "model", is_taking_keys=True, until_s=until_s, note=note, short=asked.short
    )


def draw(row: Row, width: int, palette: Palette) -> list[Text]:
    """Draw it: the question on a ground of its own, then the keys, in as many words as there is room for."""
    ink = getattr(palette, row.ink)
    if not row.choices:
        return finished([line((row.text, f"bold {ink}"))], width, 1, palette)
    told = [choice for choice in row.choices if choice.label or choice.key.isdigit()]
    long, short = (line((f" {text} ", f"bold reverse {ink}")) for text in (row.text, row.short or row.text))
    key = f"bold {palette.strong} on {_key_ground(palette)}"
    labelled = [line((f" {choice.shown} ", key), (f" {choice.label}", palette.text)) for choice in told]
    brief = [line((choice.shown, f"bold {palette.strong}"), (_brief(choice.label), palette.text)) for choice in told]
    for head, keys, gap in ((long, labelled, "  "), (short, labelled, "  "), (short, brief, "  "), (short, brief, " ")):
        made = joined([head, *keys], gap)
        if made.cell_len <= width:
            note = line((row.note if head is long else "", palette.muted))
            return finished([fitting([made, *([note] if note.plain else [])], width)], width, 1, palette)
    return finished([_squeezed([short, *brief], width)], width, 1, palette)


def _brief(label: str) -> str:
    word = label.partition(" ")[0].rstrip(",")
    return f" {word}" if word and word != "mostly" else ""  # it is between no and yes


def _key_ground(palette: Palette) -> str:
    return palette.track if palette.track != "bright_black" else palette.strip


def _squeezed(parts: list[Text], width: int) -> Text:
    """Drop keys at the end where two stay; else cut the question, never the keys."""
    if joined(parts[:3], " ").cell_len <= width:
        return fitting(parts, width, gap=" ")
    room = max(width - min(joined(parts[1:], " ").cell_len, width - 12) - 1, 8)
    head = parts[0].copy()
    head.truncate(room, overflow="ellipsis")
    return joined([head, fitting(parts[1:], width - room - 1, gap=" ")], " ")
