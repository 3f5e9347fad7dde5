"""What the dashboard's keys do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType

from hotloop.devloop import pulse, words
from hotloop.errors import HotloopError
from hotloop.tui import actions, copying, inspecting, opening, rows, themes
from hotloop.tui.exits import Exit
from hotloop.tui.looking import Looking
from hotloop.tui.panels import probe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def _bindings() -> list[BindingType]:
    made: list[BindingType] = [
        Binding(action.keys, action.does, action.about, id=action.id, show=False) for action in actions.ACTIONS
    ]
    made += [
        Binding("ctrl+c", "interrupt", "Quit; twice at once", show=False, priority=True),
        Binding("escape", "escape", "Back", show=False),
        Binding("tab", "app.focus_next", "Next panel", show=False),
        Binding("shift+tab", "app.focus_previous", "Panel before", show=False),
    ]
    return made


class Doing(Looking):
    """The actions of `Dashboard`, which mixes them in."""

    BINDINGS: ClassVar[list[BindingType]] = _bindings()
    _after_question = ""  # how to leave when the question was answered
    _has_mouse = True
    _num_beside = 0  # things that are done beside the keys

    @cached_property
    def _turn(self) -> asyncio.Lock:
        return asyncio.Lock()

    # --- asking the session -------------------------------------------------------------------------------------------

    async def ask(self, name: str, said: str = "", /, **fields: Any) -> dict[str, Any] | None:
        """Have the session do something; what it answers if it can't is shown. None then."""
        try:
            answer = await self._app.feed.ask(name, **fields)
        except HotloopError as error:
            self.say(f"{error.message}{f' ({error.hint})' if error.hint else ''}", is_bad=True)
            return None
        if said:
            self.say(said)
        return answer

    def beside(self, work: Callable[[], Awaitable[object]]) -> None:
        """Have something done that waits for the session, one such thing after another: keys and painting go on meanwhile."""
        self._num_beside += 1
        self._app.run_worker(self._in_turn(work), name="ask the session")

    async def _in_turn(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            async with self._turn:
                await work()
        finally:
            self._num_beside -= 1

    def action_request(self, name: str) -> None:
        """Ask for what needs no answer: it is told of as an event."""
        said = {"reload": "loading all models again", "undo": "", "confirm": "confirmed"}.get(name, "")
        self.beside(lambda: self.ask(name, said))

    def action_pause(self) -> None:
        """Keep saves back, or send them again."""
        self.beside(lambda: self.ask("resume" if self._app.state.is_paused else "pause"))

    def action_restart(self) -> None:
        """Ask before everything is loaded again."""
        recent = self._app.state.recent.get("cold", ())
        usual = words.duration(median(sum(phases.values()) for phases in recent)) if recent else ""
        self.open_row(rows.restarting(usual))

    def action_probe(self) -> None:
        """Ask what to do about probes."""
        self.open_row(rows.probing(self._app.state.probes))

    # --- rows -----------------------------------------------------------------------------------------------------------

    def open_row(self, row: rows.Row) -> None:
        """Ask something in place of the figures."""
        app = self._app
        if app.look.row is not None and app.look.row.name == "question":
            app.asking.answer("")  # it was ignored
        app.look = replace(app.look, row=row)
        app.strip.listen(is_listening=row.is_taking_keys)
        app.repaint()

    def close_row(self) -> None:
        """Show the figures again; a question that was not answered was ignored."""
        app = self._app
        row, app.look = app.look.row, replace(app.look, row=None)
        app.strip.listen(is_listening=False)
        if row is not None and row.name == "question":
            app.asking.answer("")
        if self._after_question:
            answer, self._after_question = self._after_question, ""
            self._close(answer)
        app.repaint()

    def say(self, text: str, *, is_bad: bool = False) -> None:
        """Show a message for some seconds; a question that waits is not covered."""
        row = self._app.look.row
        if row is None or row.name == "message":
            self.open_row(rows.message(text, self._app.read_clock().monotonic_s, is_bad=is_bad))

    def notify(self, message: str, *, severity: str = "information", **_: Any) -> None:
        """Show what widgets have to say, in the row where all messages are."""
        self.say(message, is_bad=severity == "error")

    def row_key(self, key: str) -> bool:
        """Answer the row with a key. Returns whether that is all that it does."""
        row = self._app.look.row
        if row is None or not row.is_taking_keys:
            return False
        choice = next((each for each in row.choices if each.key == key), None)
        is_question, is_leaving = row.name == "question", bool(self._after_question)
        if is_question:
            self._answer_question(choice.answer if choice is not None else "")
        else:
            self.close_row()
            if choice is not None and choice.answer:
                self._answered(row.name, choice.answer)
        return choice is not None or not is_question or is_leaving

    def _answered(self, name: str, answer: str) -> None:
        if name == "quit":
            self._leave(answer)
        elif name == "restart":
            self.beside(lambda: self.ask("restart", "starting cold"))
        elif name == "probe":
            self.beside(lambda: self._probe(answer))

    async def _probe(self, answer: str) -> None:
        app = self._app
        if answer == "run":
            await self.ask("probe", "running the probes")
        elif answer == "pin":
            pinned = await self.ask("pin")
            if pinned is not None:
                self.say(f"pinned {pinned.get('pinned', 'the last request')}: it is sent again after every reload")
        elif answer == "unpin":
            name = probe.chosen(probe.reports_of(app.state), app.state.probe).name
            await self.ask("unpin", f"unpinned {name}", pin=name)
        else:
            app.state = replace(app.state, probe=answer)
            self.action_view("diff")

    def _answer_question(self, key: str) -> None:
        is_leaving, said = bool(self._after_question), self._app.asking.answer(key)
        self.close_row()
        if said and not is_leaving:
            self.say(said)

    # --- leaving --------------------------------------------------------------------------------------------------------

    def action_leave(self) -> None:
        """Ask how to leave, if there is anything to leave."""
        if self._app.state.ended is not None:
            self._app.exit(return_code=Exit.CLOSED)
        else:
            self.open_row(rows.quitting(is_attached=self._app.is_visiting))

    def action_interrupt(self) -> None:
        """Copy what is selected; else as `action_leave`, and the second time at once."""
        app = self._app
        selected = app.screen.get_selected_text()
        row = app.look.row
        if selected:
            app.copy_to_clipboard(selected)
            app.screen.clear_selection()
            self.say(f"{words.count(selected.count(chr(10)) + 1, 'selected line')} copied")
        elif row is not None and row.name == "quit":
            self._close("close" if app.is_visiting else "stop")
        else:
            self.action_leave()

    def _leave(self, answer: str) -> None:
        app = self._app
        asked = app.asking.due(is_quitting=True) if answer != "close" else None
        if asked is None:
            self._close(answer)
            return
        self._after_question = answer
        self.open_row(rows.question(asked, app.read_clock().monotonic_s + pulse.SHOWN_S))

    def _close(self, answer: str) -> None:
        if answer == "close":
            self._app.exit(return_code=Exit.CLOSED)
        else:
            self._app.run_worker(self._end(answer), name="end the session")  # whatever else is waited for

    async def _end(self, answer: str) -> None:
        why = {"reason": "stopped in another terminal"} if self._app.is_visiting else {}
        if await self.ask(answer, **why) is None and self._app.state.ended is None:
            return  # it refused, and said why
        self._app.exit(return_code=Exit.CLOSED)

    def action_plain(self) -> None:
        """Give way to plain lines."""
        self._app.exit(return_code=Exit.PLAIN)

    # --- looks --------------------------------------------------------------------------------------------------------

    def action_theme(self) -> None:
        """Take the next theme."""
        app = self._app
        old = app.palette
        app.restyle(themes.palette(themes.after(old.name), is_ascii=old.is_ascii, is_mono=old.is_mono))
        self.say(f'{app.palette.name}: keep it with theme = "{app.palette.name}" in [tool.hotloop]')

    def action_mouse(self) -> None:
        """Leave the mouse to the terminal, so that it selects as everywhere, or take it back."""
        driver: Any = getattr(self._app, "_driver", None)  # Textual has no public way
        is_on = not self._has_mouse
        self._has_mouse = is_on
        switch = getattr(driver, "_enable_mouse_support" if is_on else "_disable_mouse_support", None)
        if switch is not None:
            switch()
        self.say("the mouse is the dashboard's again" if is_on else "the mouse is the terminal's: it selects any text")

    # --- elsewhere ------------------------------------------------------------------------------------------------------

    async def action_log(self, name: str) -> None:
        """Do something with the log, wherever the focus is."""
        app, does = self._app, name.removeprefix("log.")
        is_seen = "logs" in app.arranged(*app.size)
        if does == "mark" and not is_seen:
            self.say("marked in the log")
        elif does != "pager":
            if not is_seen:
                self.action_view("logs")
            app.logs.focus_lines()
        await app.run_action(does, default_namespace=app.logs)

    def action_copy(self) -> None:
        """Copy what has the focus."""
        app, panel = self._app, self.focused_panel
        if panel == "logs":
            app.logs.action_copy()
            return
        if panel == "locals" and inspecting.copy(app):
            return
        surface = next((each for each in app.surfaces() if each.id == panel), None)
        what, text = copying.copied(panel, app.state, surface.text if surface is not None else "")
        app.copy_to_clipboard(text)
        self.say(f"copied {what}")

    async def action_edit(self) -> None:
        """Open the line that is wrong, else the file that was saved, in the user's editor."""
        await opening.edit(self._app)
