"""What is under way in a session when its client goes, or when it ends: it is done, and nothing comes after it."""

import asyncio
import json
import threading

import pytest

from hotloop.changes import MakeDirectory, content_digest
from hotloop.errors import WorkspaceError
from hotloop.remote_runner.environments.store import Store
from hotloop.remote_runner.sessions import Session
from hotloop.remote_runner.tree import Tree
from tests.remote_runner.test_agent import FAKE_RUNTIME, until


class Gate:
    """Holds up a workspace before a step, in the thread that does it."""

    def __init__(self, workspace, step):
        self._step = step
        self._reached = threading.Event()
        self._open = threading.Event()
        workspace._on_step = self

    def __call__(self, step):
        if step == self._step:
            self._reached.set()
            assert self._open.wait(20)

    async def reached(self):
        assert await asyncio.to_thread(self._reached.wait, 20)

    def open(self):
        self._open.set()


def revisions(session):
    events = [json.loads(event) for _, event in session.journal.since(0)]
    return [json.loads(event["text"]) for event in events if event.get("key") == "revision"]


def test_a_tree_that_is_being_made_when_its_client_goes_is_made_and_told_before_the_next_one_begins(tmp_path):
    async def main():
        session = Session(tmp_path / "abcdef0123", environments=Store(tmp_path), command=FAKE_RUNTIME)
        await session.runtime.start({"entry": "app.py"})
        gate = Gate(session.workspace, "commit b")

        async def make(sequence, *paths):
            async with session.lock:
                return await session.become(sequence, Tree(map(MakeDirectory, paths)))

        first = asyncio.create_task(make(1, "a", "b"))
        await gate.reached()
        first.cancel()
        second = asyncio.create_task(make(2, "a", "b", "c"))
        await asyncio.sleep(0.05)
        first.cancel()  # again: whoever ends it may be cancelled too
        begun = session.workspace.revision, second.done()
        gate.open()
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], asyncio.CancelledError)
        applied = await second
        await until(lambda: len(revisions(session)) == 2, "two revisions")
        told = revisions(session)
        await session.close()
        return begun, applied.changed, told

    begun, changed, told = asyncio.run(main())

    assert begun == (0, False)
    assert changed == {"c": "directory"}
    assert [(each["number"], each["changed"]) for each in told] == [
        (1, {"a": "directory", "b": "directory"}),
        (2, {"c": "directory"}),
    ]


def test_a_session_ends_after_the_tree_that_is_being_made(tmp_path):
    async def main():
        session = Session(tmp_path / "abcdef0123", environments=Store(tmp_path), command=FAKE_RUNTIME)
        gate = Gate(session.workspace, "commit b")

        async def make():
            async with session.lock:
                return await session.become(1, Tree(map(MakeDirectory, "ab")))

        making = asyncio.create_task(make())
        await gate.reached()
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0.05)
        was_closed = closing.done()
        gate.open()
        applied = await making
        await closing
        with pytest.raises(WorkspaceError, match="has ended"):
            session.workspace.stage.add_part(content_digest(b"1"), 0, 1, b"1")
        return was_closed, applied.revision

    assert asyncio.run(main()) == (False, 1)
    assert sorted(path.name for path in (tmp_path / "abcdef0123/tree").iterdir()) == ["a", "b"]
