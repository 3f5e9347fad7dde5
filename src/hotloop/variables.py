"""The local variables of failures, as descriptions: what the request ``locals`` is answered with.

They are text that was made where it failed, and travel only when somebody asks: no event, no log and no table has them.
"""

from __future__ import annotations

from typing import Literal

from hotloop.frozen import frozen

Of = Literal["start", "model", "probe", "call"]


@frozen
class Variable:
    """One name in a frame.

    Attributes:
        value: What it held, in at most 200 characters: never the value itself.
        is_hidden: It looks like a secret, so that `value` says only why it is not shown.
    """

    name: str
    value: str
    is_hidden: bool = False


@frozen
class VariableFrame:
    """One of the user's frames.

    Attributes:
        file: Relative to the project.
        line: Where it was, counted from 1.
        source: The line's text.
        variables: Those that the line names first.
        num_more: How many were left out.
    """

    file: str
    line: int
    function: str
    source: str = ""
    variables: tuple[Variable, ...] = ()
    num_more: int = 0


@frozen
class KeptFailure:
    """A failure whose local variables are kept.

    Attributes:
        id: As `events.Problem.failure` has it.
        of: What failed: the start of a generation, the loading of a hosted model, a probe, a call.
        name: The model's or the probe's; empty for others.
        type: The exception's class name.
        where: The user's innermost line, as ``file:line``.
        age_s: How long ago it was when that was asked.
        frames: The user's, innermost first; empty where only the list of failures is wanted.
        num_more: How many of the user's frames were left out, the outermost.
    """

    id: str
    of: Of
    type: str
    where: str
    name: str = ""
    age_s: float = 0.0
    frames: tuple[VariableFrame, ...] = ()
    num_more: int = 0


@frozen
class Locals:
    """The answer.

    Attributes:
        failure: The one that was asked for; None if it is not kept any more, or nothing is.
        kept: Those that can be asked for, the newest first, without their frames.
    """

    failure: KeptFailure | None = None
    kept: tuple[KeptFailure, ...] = ()
