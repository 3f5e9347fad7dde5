"""What a save waits for that found no standby is told, if it waits for long."""

import pytest

from hotloop import events
from hotloop.devloop.unready import Unready
from hotloop.events import Problem

STARTED = events.ReloadStarted(1.0, 2, "fork")
READY = events.Ready(0.5, 1, 1, 0.4, "fork", (), (), ())


class Told:
    def __init__(self):
        self.due = []
        self.keys = []
        self.unready = Unready(lambda _, call: self.due.append(call), lambda key, *_: self.keys.append(key))

    def after(self, *happened):
        for event in happened:
            self.unready.heard(event)
        for call in self.due:
            call()
        return self.keys


def test_a_save_without_a_standby_is_told_what_it_waits_for():
    assert Told().after(READY, STARTED) == ["standby"]


@pytest.mark.parametrize(
    "happened",
    [
        (STARTED,),  # the first start: it says what it does
        (READY, events.ReloadStarted(1.0, 2, "standby")),
        (READY, STARTED, READY),
        (READY, STARTED, events.ModelLoading(1.1, 2, "llm", "load.py:14 changed")),
        (READY, STARTED, events.ReloadFailed(1.1, 2, Problem("E", "e"), 1)),
        (READY, STARTED, events.ReloadSuperseded(1.1, 2, 3)),
        (READY, STARTED, events.RuntimeStopped(1.1)),
        (READY, events.RuntimeStopped(1.1), STARTED),
    ],
)
def test_where_something_else_explains_it_nothing_is_told(happened):
    assert Told().after(*happened) == []


def test_a_second_save_meanwhile_is_told_of_once():
    assert Told().after(READY, STARTED, events.ReloadSuperseded(1.1, 2, 3), events.ReloadStarted(1.2, 3, "fork")) == [
        "standby"
    ]
