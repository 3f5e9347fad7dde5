"""Events that the agent makes, about the app's environment."""

from __future__ import annotations

from typing import Literal

from hotloop.events.records import Problem
from hotloop.frozen import frozen


@frozen
class EnvironmentProgress:
    """The environment that a revision asks for is being made; the old one, if there is one, goes on serving.

    Attributes:
        source: What asks for it: ``requirements.txt``, ``packages=[...] of app.py``.
        phase: ``wait`` (another process makes the same), ``python`` (finding an interpreter), ``resolve``, ``download``,
            ``build`` (a source distribution), ``install``.
        done: Packages of this phase that are done.
        total: Packages of this phase, as far as they are known: small downloads are not counted.
        size_bytes: Of the downloads that are counted.
        doing: The packages that are being downloaded or built.
    """

    at_s: float
    revision: int
    source: str
    phase: Literal["wait", "python", "resolve", "download", "build", "install"]
    done: int = 0
    total: int = 0
    size_bytes: int = 0
    doing: tuple[str, ...] = ()
    kind: Literal["environment_progress"] = "environment_progress"


@frozen
class EnvironmentReady:
    """The environment that a revision asks for is there. If another one served, a reload into this one follows.

    Attributes:
        digest: Names it by what it is made of.
        python: Its interpreter on the runner.
        version: The interpreter's.
        was_cached: It was made before, for this app or for another.
        changes: What differs from the one before: ``+ numpy 2.1.3``, ``- tqdm 4.0``, ``torch 2.5 → 2.6``.
        overruled: What was not read because `source` comes first; empty if nothing was.
    """

    at_s: float
    revision: int
    source: str
    digest: str
    python: str
    version: str
    took_s: float
    num_packages: int
    was_cached: bool
    changes: tuple[str, ...] = ()
    overruled: str = ""
    kind: Literal["environment_ready"] = "environment_ready"


@frozen
class EnvironmentFailed:
    """The environment that a revision asks for can't be made. What served goes on serving.

    Attributes:
        source: What asks for it; empty if that can't be read.
        serving: The digest of the environment that goes on serving; empty if there is none.
        serving_source: What that one was made for.
    """

    at_s: float
    revision: int
    source: str
    problem: Problem
    serving: str = ""
    serving_source: str = ""
    kind: Literal["environment_failed"] = "environment_failed"
