"""The zygotes of one app: the one that forks, and another that is to take its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hotloop.events import Problem
from hotloop.gpu_runtime import controller_events as on
from hotloop.gpu_runtime import zygote_process
from hotloop.gpu_runtime.controller_state import State
from hotloop.gpu_runtime.fleet import Fleet
from hotloop.gpu_runtime.learner import Learner
from hotloop.gpu_runtime.settings import RuntimeConfig
from hotloop.gpu_runtime.telling import Telling
from hotloop.gpu_runtime.zygote_process import Zygote

RETRY_AFTER_S = 0.2  # an interpreter that can't be started


class Zygotes:
    """Starts and ends them by the numbers that the controller gives.

    Args:
        config: Its interpreter is the first one used.
        learner: What they should have.
        fleet: Told of the processes that they fork.
        telling: Told what they leave out, and the lines they write.
        state: What the controller knows.
        feed: Told when one is up, down, or due.
    """

    def __init__(
        self,
        config: RuntimeConfig,
        learner: Learner,
        fleet: Fleet,
        telling: Telling,
        state: Callable[[], State],
        feed: Callable[[on.Event], None],
    ) -> None:
        self._environment = config.environment
        self._bridge = zygote_process.make_bridge(config.state_folder)
        self._python = self._python_before = config.python
        self._learner = learner
        self._fleet = fleet
        self._telling = telling
        self._state = state
        self._feed = feed
        self._all: dict[int, Zygote] = {}

    def __getitem__(self, number: int) -> Zygote:
        return self._all[number]

    @property
    def current(self) -> Zygote | None:
        """The one to fork from, None while there is none."""
        return self._all.get(self._state().zygote)

    @property
    def pids(self) -> list[int]:
        """All of them that are up."""
        return [zygote.pid for zygote in self._all.values() if zygote.pid]

    def change_environment(self, python: str) -> None:
        """Start the next ones with this interpreter; back to the one before if none can be had with it."""
        self._python_before, self._python = self._python, python
        self._learner.watch(python)

    def learned(self, modules: list[str]) -> None:
        """A worker imported these itself: if the current one lacks some that it could have, another is due."""
        zygote = self.current
        if zygote is not None and self._learner.imported(zygote.learned, modules):
            self._feed(on.Relearned())

    def is_shadowed(self) -> bool:
        """Whether the current one has a library that the project has its own of by now; then it is said, and the next has none."""
        return self.current is not None and self._shadowed(self.current.brought)

    def start(self, number: int) -> None:
        """Make one that imports what was learned: forked from the current one, if that has a part of it."""
        reports = zygote_process.Reports(
            up=lambda brought: self._up(number, brought),
            left_out=lambda module, why: self._left_out(number, module, why),
            forked=self._fleet.forked,
            exited=self._fleet.exited,
            down=lambda problem: self._down(number, problem),
            log=lambda stream, text: self._telling.log(0, stream, text),
        )
        current, learned = self.current, self._learner.learned
        is_same_place = self._state().switching is None  # what is installed may be other now, at the same path
        if current is not None and is_same_place and current.can_become(self._python, learned):
            self._all[number] = zygote_process.succeed(current, number, learned, reports)
            return
        try:
            self._all[number] = zygote_process.start(self._python, self._environment, self._bridge, learned, reports)
        except OSError as error:
            problem = Problem(type(error).__name__, f"{self._python} can't be started: {error}")
            asyncio.get_running_loop().call_later(RETRY_AFTER_S, self._feed_down, number, problem)

    def stop(self, number: int) -> None:
        """End one; its children live on."""
        zygote = self._all.pop(number, None)
        if zygote is not None:
            zygote.stop()

    def stop_all(self) -> None:
        """End them."""
        for number in list(self._all):
            self.stop(number)

    def _left_out(self, number: int, module: str, why: str) -> None:
        self._learner.leave_out(module, why)
        self._telling.say_once(f"left out {module}", f"{module} {why}, so it is imported anew in each reload.")
        self._start_again(number)

    def _start_again(self, number: int) -> None:
        self.stop(number)
        if number == self._state().next_zygote:
            self.start(number)

    def _up(self, number: int, brought: frozenset[str]) -> None:
        self._all[number].brought = brought
        if self._shadowed(brought):
            self._start_again(number)
        else:
            self._feed(on.ZygoteUp(number))

    def _shadowed(self, brought: frozenset[str]) -> bool:
        names = self._learner.shadowed(brought)
        for name in names:
            self._telling.say_once(
                f"shadowed {name}",
                f"The project's own {name} comes before the module of that name which libraries import, for them too, "
                "so they are all imported anew in each reload.",
                f"rename {name}, and reloads stay fast",
            )
        return bool(names)

    def _down(self, number: int, problem: Problem) -> None:
        if self._all.pop(number, None) is not None:
            self._feed_down(number, problem)

    def _feed_down(self, number: int, problem: Problem) -> None:
        was_switching = self._state().switching
        self._feed(on.ZygoteDown(number, time.monotonic(), problem))
        if was_switching is not None and self._state().switching is None:  # none can be had in the new environment
            self._python = self._python_before
            self._learner.watch(self._python)
