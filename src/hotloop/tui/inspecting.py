"""What the keys of the local variables do: ask for those of what failed, and go through the newest failures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop.devloop import inspecting
from hotloop.events import record_from_json
from hotloop.tui.panels.error import problem_of
from hotloop.variables import Locals

if TYPE_CHECKING:
    from hotloop.tui.app import Dashboard


async def toggle(app: Dashboard) -> None:
    """Show those of the iteration that is looked at, if it failed, else those of the newest failure; and back."""
    trip = app.state.trip
    problem = problem_of(trip) if trip is not None and trip.outcome == "failed" else None
    if app.look.view == "locals":
        app.action_view("loop")
    elif problem is not None and not problem.failure:
        app.say("no local variables: none of your lines ran where it failed, or they were not kept", is_bad=True)
    elif await _ask(app, problem.failure if problem is not None else ""):
        app.action_view("locals")


async def step(app: Dashboard, num: int) -> None:
    """Go to a newer failure, or an older one, if variables are looked at."""
    if app.look.view == "locals" and app.look.locals is not None:
        await _ask(app, inspecting.beside(app.look.locals, num))
        app.repaint()


def copy(app: Dashboard) -> bool:
    """Copy all that is known. False if no variables are looked at."""
    if app.look.view != "locals" or app.look.locals is None:
        return False
    app.copy_to_clipboard("\n".join(inspecting.lines_of(app.look.locals)))
    app.say("copied the local variables")
    return True


async def _ask(app: Dashboard, failure: str) -> bool:
    answer = await app.ask("locals", failure=failure)
    if answer is not None:
        app.look = replace(app.look, locals=record_from_json(Locals, answer), first=0)
    return answer is not None
