"""What a running session can be asked, by a key, by another terminal or by a dashboard: one table for all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

from hotloop import clock, events
from hotloop.devloop import logs, tests_on_save
from hotloop.devloop.machine_events import Asked, Confirmed, Paused, Resumed
from hotloop.errors import RunnerError, UsageError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.devloop.engine import Engine

Fields = dict[str, Any]
_TYPE_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


@frozen
class Request:
    """Something that a session can be asked.

    Attributes:
        do: Does it, and gives the answer.
        about: What it does, as help says it.
        needed: The fields that it must have, with their types.
        allowed: Those that it may have.
        is_users: Whether somebody presses a key for it, so that it counts as activity; else a program asks by itself.
    """

    do: Callable[[Engine, Fields], Awaitable[Fields]]
    about: str
    needed: dict[str, type] = field(default_factory=dict[str, type])
    allowed: dict[str, type] = field(default_factory=dict[str, type])
    is_users: bool = True


async def answer(engine: Engine, request: object) -> Fields:
    """Do what is asked.

    Args:
        engine: The session.
        request: ``{"name": ..., FIELD: ...}``, from JSON: anything may be in it.

    Raises:
        UsageError: There is no such request, or its fields are wrong.
        HotloopError: It can't be done.
    """
    if not isinstance(request, dict):
        msg = f"a request is a JSON object with a name, this is {request!r:.40}"
        raise UsageError(msg, hint='such as {"name": "status"}')
    fields: Fields = {**request}
    name = fields.pop("name", None)
    known = REQUESTS.get(name) if isinstance(name, str) else None
    if known is None:
        msg = f"this dev serve knows no request {name!r}"
        raise UsageError(msg, hint=f"it knows {', '.join(REQUESTS)}; both terminals need the same version of hotloop")
    _check(name, known, fields)
    if known.is_users:
        engine.touched()
    return await known.do(engine, fields)


def _check(name: Any, request: Request, fields: Fields) -> None:
    takes = {**request.needed, **request.allowed}
    hint = f"{name} takes {', '.join(takes)}" if takes else f"{name} takes no fields"
    for key in request.needed:
        if key not in fields:
            msg = f"the request {name!r} needs {key!r}"
            raise UsageError(msg, hint=hint)
    for key, value in fields.items():
        if key not in takes:
            msg = f"the request {name!r} takes no {key!r}"
            raise UsageError(msg, hint=hint)
        wanted = takes[key]
        is_right = type(value) is wanted or (wanted is float and type(value) is int)
        if not is_right:
            msg = f"{key!r} of the request {name!r} is {value!r:.40}, {_TYPE_NAMES[wanted]} was expected"
            raise UsageError(msg, hint=hint)


async def _status(engine: Engine, _: Fields) -> Fields:
    return {
        "pid": os.getpid(),
        "address": engine.address,
        "is_paused": engine.state.is_paused,
        "app": engine.options.app.option,
        "python": engine.environment.python,
        "runner": engine.options.runner,
    }


async def _outcome(engine: Engine, _: Fields) -> Fields:
    iteration = engine.newest if engine.state.is_quiet else None  # else a save that was seen is on its way
    return {"iteration": events.to_json(iteration) if iteration is not None else None}


async def _touched(_: Engine, __: Fields) -> Fields:
    return {}


async def _reload(engine: Engine, fields: Fields) -> Fields:
    return await _load(engine, model=fields.get("model", ""), is_cold=False)


async def _restart(engine: Engine, _: Fields) -> Fields:
    return await _load(engine, model="", is_cold=True)


async def _load(engine: Engine, *, model: str, is_cold: bool) -> Fields:
    asked = clock.read_pair()
    await engine.agent.command("reload", model=model, is_cold=is_cold)
    engine.tell(Asked(clock.SaveTime(asked.monotonic_s, asked.wall_s, is_estimated=False), is_cold))
    return {}


async def _pause(engine: Engine, _: Fields) -> Fields:
    engine.tell(Paused(time.monotonic()))
    return {"queued": engine.state.num_dirty}


async def _resume(engine: Engine, _: Fields) -> Fields:
    engine.tell(Resumed(time.monotonic()))
    return {}


async def _undo(engine: Engine, _: Fields) -> Fields:
    if engine.state.is_offline:
        msg = f"{engine.options.runner} does not answer, so no edit can be taken back there"
        raise RunnerError(msg, hint="try again when it does")
    undone = engine.changesets.take_back()
    engine.tell(undone)
    return {"undone": undone.undone, "paths": list(undone.paths)}


async def _probe(engine: Engine, fields: Fields) -> Fields:
    name = fields.get("probe", "")
    if name:
        known = (*engine.probes, *(request["name"] for request in await engine.pins.pinned()))
        if name not in known:
            msg = f"no probe is called {name!r}"
            raise UsageError(msg, hint=f"there are {', '.join(known)}" if known else "write one: @app.probe")
    await engine.agent.command("probe", probe=name)
    return {}


async def _locals(engine: Engine, fields: Fields) -> Fields:
    if engine.state.is_offline:
        msg = f"{engine.options.runner} does not answer, and the local variables are there"
        raise RunnerError(msg, hint="try again when it does")
    return await engine.agent.command("locals", failure=fields.get("failure", ""))


async def _lines(engine: Engine, _: Fields) -> Fields:
    return await logs.kept(engine.agent.way, engine.options.session_id)


async def _test(engine: Engine, _: Fields) -> Fields:
    if engine.tester is None:
        msg = "this dev serve has no tests to run"
        raise UsageError(msg, hint='start it with: dev serve --test "pytest -q tests"')
    engine.tell(tests_on_save.Wanted())
    return {}


async def _pin(engine: Engine, fields: Fields) -> Fields:
    return {"pinned": await engine.pins.pin(fields.get("pin", ""))}


async def _unpin(engine: Engine, fields: Fields) -> Fields:
    await engine.agent.command("unpin", name=fields["pin"])
    return {}


async def _pins(engine: Engine, _: Fields) -> Fields:
    return {"pins": await engine.pins.pinned()}


async def _confirm(engine: Engine, _: Fields) -> Fields:
    was_held = bool(engine.state.hold)
    if was_held and engine.state.is_paused:
        msg = "nothing is sent while syncing is paused"
        raise UsageError(msg, hint="resume first; it asks again")
    engine.tell(Confirmed())
    return {"was_held": was_held}


async def _stop(engine: Engine, fields: Fields) -> Fields:
    engine.stop(fields.get("reason", ""), 0)
    return {}


async def _detach(engine: Engine, _: Fields) -> Fields:
    engine.leave(0)
    return {}


async def _shown(engine: Engine, fields: Fields) -> Fields:
    engine.painting.painted(fields["generation"], fields["probe"], fields.get("at_s"))
    return {}


REQUESTS: dict[str, Request] = {
    "status": Request(_status, "say what runs", is_users=False),
    "reload": Request(_reload, "load all models again, or the one that is named", allowed={"model": str}),
    "restart": Request(_restart, "start again from nothing: import every module and load every model anew"),
    "pause": Request(_pause, "keep saves back"),
    "resume": Request(_resume, "send the saves that were kept back, as one"),
    "undo": Request(_undo, "take the newest edit back on the runner; the files here stay as they are"),
    "probe": Request(_probe, "run all probes now, or the one that is named", allowed={"probe": str}),
    "locals": Request(
        _locals,
        "give the local variables of the newest failure, or of the one that is named, as they were described",
        allowed={"failure": str},
    ),
    "lines": Request(_lines, "give the app's lines that the runner kept", is_users=False),
    "test": Request(_test, "run the tests of --test now"),
    "pin": Request(_pin, "make the last request a probe", allowed={"pin": str}),
    "unpin": Request(_unpin, "forget a pinned request", needed={"pin": str}),
    "pins": Request(_pins, "list the pinned requests", is_users=False),
    "confirm": Request(_confirm, "make the large deletion that is waited for"),
    "stop": Request(_stop, "end the session, for a reason that its own terminal says", allowed={"reason": str}),
    "detach": Request(_detach, "leave the session running without a client"),
    "shown": Request(
        _shown,
        "note that a probe's result is on a screen",
        needed={"generation": int, "probe": str},
        allowed={"at_s": float},  # on this machine's monotonic clock
        is_users=False,
    ),
    "outcome": Request(_outcome, "say how the newest save went; null while one is on its way", is_users=False),
    "touched": Request(_touched, "note that a key was pressed: once a minute is enough"),
}
