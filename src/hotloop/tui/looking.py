"""What the keys do that choose what is looked at: views, panels, iterations, lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from textual.actions import SkipAction

from hotloop.tui import inspecting
from hotloop.tui.placing import Panels
from hotloop.tui.surface import Surface

if TYPE_CHECKING:
    from hotloop.tui.app import Dashboard
    from hotloop.tui.arrangement import View

PASSING = frozenset({"why", "diff", "locals", "help"})  # views that one leaves for the one before
MANY = 100_000  # lines: more than any panel has
FOCUSED_FIRST = ("iterations", "metrics", "why", "locals", "help", "runtime", "probe", "iteration", "history")


class Looking:
    """The actions of `Dashboard` that change nothing but what it shows."""

    @property
    def _app(self) -> Dashboard:
        return cast("Dashboard", self)

    def action_view(self, view: View) -> None:
        """Look at something else."""
        app, now = self._app, self._app.look
        came_from = now.came_from if now.view in PASSING else now.view
        app.look = replace(now, view=view, came_from=came_from, zoomed="", first=0, is_comparing=False)
        if view == "metrics":
            app.show_figures()
            app.follow_figures()
        self.rearrange()

    def action_diff(self) -> None:
        """Show the probes alone, and back."""
        self._toggle("diff")

    def action_why(self) -> None:
        """Show why the iteration took what it took, and back."""
        self._toggle("why")

    def action_help(self) -> None:
        """Show the keys, and back."""
        self._toggle("help")

    def _toggle(self, view: View) -> None:
        self.action_view(self._behind if self._app.look.view == view else view)

    @property
    def _behind(self) -> View:
        """What was looked at before what is only looked at in passing."""
        look = self._app.look
        return look.came_from if look.view in PASSING else "loop"

    def action_escape(self) -> None:
        """Close what is open: the row, a comparison, what is zoomed, a view; at last look at the newest iteration."""
        app, look = self._app, self._app.look
        if look.row is not None and look.row.name != "message":
            app.close_row()
        elif look.is_comparing or look.compared is not None:
            app.look = replace(look, is_comparing=False, compared=None)
        elif look.zoomed:
            app.look = replace(look, zoomed="")
        elif look.view != "loop":
            self.action_view(self._behind)
        else:
            app.state = replace(app.state, selected=None)
            app.logs.clear_filter()
        self.rearrange()

    def action_zoom(self) -> None:
        """Show the focused panel alone, and back."""
        app = self._app
        app.look = replace(app.look, zoomed="" if app.look.zoomed else self.focused_panel, first=0)
        self.rearrange()

    @property
    def focused_panel(self) -> str:
        """The id of the panel that has the focus."""
        focused = self._app.focused
        return "logs" if focused is None or focused in self._app.logs.walk_children() else focused.id or "logs"

    def rearrange(self) -> None:
        """Lay out again, with the focus on something that is shown."""
        app = self._app
        boxes = app.arranged(*app.size)
        app.main.query_one(Panels).arrange_again()
        for surface in app.main.query(Surface):
            if surface.id not in boxes:
                surface.forget()
        if self.focused_panel not in boxes:
            shown = next((name for name in boxes if name in FOCUSED_FIRST), "")
            if shown:
                app.main.query_one(f"#{shown}").focus()
            elif "logs" in boxes:
                app.logs.focus_lines()
        app.repaint()

    def action_locals(self) -> None:
        """Show the local variables of what failed, and back."""
        self._app.beside(lambda: inspecting.toggle(self._app))

    def action_select(self, step: int) -> None:
        """Look at the iteration before, or after; behind the newest one, at whatever is newest."""
        app = self._app
        if app.look.view == "locals" and app.look.locals is not None:
            self._app.beside(lambda: inspecting.step(app, step))
            return
        numbers = [trip.number for trip in app.state.trips]
        if not numbers:
            return
        looked_at = app.state.trip
        at = (numbers.index(looked_at.number) if looked_at is not None else len(numbers) - 1) + step
        selected = numbers[max(at, 0)] if at < len(numbers) - 1 else None
        app.state = replace(app.state, selected=selected)
        app.look = replace(app.look, first=0)
        if selected is None:
            app.logs.action_end()
        else:
            app.logs.show_iteration(selected)
        app.repaint()

    def action_move(self, step: int) -> None:
        """Go down or up in what is longer than its panel; the newest iteration is at the top of its table."""
        if not self.scroll(self.focused_panel, step):
            self.action_select(-step)

    def scroll(self, panel: str, step: int) -> bool:
        """See lines further down, or up; False for a panel that has all in sight."""
        app, last = self._app, self._app.last_first(panel)
        if last is None:
            return False
        app.look = replace(app.look, first=min(max(app.look.first + step, 0), last))
        app.repaint()
        return True

    def on_surface_scrolled(self, event: Surface.Scrolled) -> None:
        """Turn what the wheel is over."""
        self.scroll(event.panel, event.step)

    def action_edge(self, step: int) -> None:
        """Go to the end of what has the focus, or to its top; what has neither leaves the key to the log."""
        if self.focused_panel == "iterations":
            self.action_select(-step * len(self._app.state.trips))
        elif not self.scroll(self.focused_panel, step * MANY):
            raise SkipAction

    def action_enter(self) -> None:
        """Explain the iteration that is looked at."""
        if self.focused_panel not in {"iterations", "history", "iteration"}:
            raise SkipAction
        self.action_view("why")

    def action_compare(self) -> None:
        """Note an iteration; the second one is shown beside it."""
        app, trip = self._app, self._app.state.trip
        if app.look.view != "iterations" or trip is None:
            raise SkipAction
        if app.look.compared in {None, trip.number}:
            is_off = app.look.compared == trip.number
            app.look = replace(app.look, compared=None if is_off else trip.number, is_comparing=False)
        else:
            app.look = replace(app.look, is_comparing=not app.look.is_comparing)
        app.repaint()

    def action_library(self) -> None:
        """Show frames of libraries, or not."""
        app = self._app
        app.state = replace(app.state, shows_library=not app.state.shows_library)
        app.repaint()
