"""What once made syncing slow, torn or unsafe, one check each; no check measures time, for a machine may be slow.

| | what must hold | checked by |
|--|--|--|
| 1 | a save waits for no timer, and is one message | `test_a_save_waits_for_no_timer_and_is_one_message` |
| 2 | a slow writer's file is never read half way | `devloop/test_watch.py::test_a_slow_writer_is_never_read_half_way` |
| 3 | a checkout of 3,000 files is one changeset, the trees are equal | \
`devloop/test_watch.py::test_a_checkout_of_many_files_is_one_changeset` |
| 4 | killed connections lose nothing and do nothing twice | \
`remote_runner/test_agent.py::test_cut_streams_lose_no_save_and_no_event`, \
`remote_runner/test_any_edits.py::test_after_any_edits_cuts_and_kills_the_trees_are_equal_and_nothing_outside_was_touched` |
| 4 | a workspace has one writer | `remote_runner/test_workspace.py::test_a_second_process_can_not_open_the_workspace` |
| 5 | `..` and absolute paths are refused | \
`remote_runner/test_workspace.py::test_a_path_that_leaves_the_tree_or_is_no_name_is_refused` |
| 5 | no link leads outside | `remote_runner/test_workspace.py::test_a_link_planted_in_the_tree_does_not_lead_outside`, \
`remote_runner/test_hostile.py::test_a_folder_swapped_for_a_link_while_a_changeset_is_applied_leads_nowhere` |
| 5 | a content that is not what its digest says is refused | \
`remote_runner/test_hostile.py::test_parts_that_overlap_count_once_and_a_wrong_content_starts_over` |
| 5 | setuid and the like do not arrive | `test_a_mode_arrives_as_executable_or_not` |
| 6 | what is ignored is what git ignores | `devloop/test_ignore.py::test_random_trees_are_cut_as_git_cuts_them` |
| 7 | a second small message is not held back (Nagle) | `remote_runner/test_ssh.py::test_a_connection_holds_no_small_message_back` |
| 8 | an edit overtakes a bulk transfer | `test_an_edit_overtakes_a_bulk_transfer_on_the_same_connection` |
| 9 | an overflow of the kernel's queue is a rescan | `devloop/test_watch.py::test_lost_events_lead_to_a_rescan` |
| | a first copy asks for nothing, and after a cut only for what did not come | \
`test_a_first_copy_asks_for_nothing_until_it_is_cut` |
| 10 | an sshd that allows no forwarding will do | \
`remote_runner/test_ssh.py::test_agent_is_reached_and_outlives_the_connection` |
"""

import asyncio
import os
import re
from pathlib import Path

import pytest

from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.devloop.watch import make_watcher, watch
from hotloop.remote_runner.client import connect as connect_by
from hotloop.remote_runner.pacing import MAX_WINDOW_BYTES
from tests.remote_runner.line import Line
from tests.remote_runner.test_agent import PROJECT, agents_of, connect, run, saved, until, workspace_files

TESTS = Path(__file__).parents[1]


def test_the_tests_that_the_table_names_are_there():
    named = re.findall(r"`(?:([\w/]+\.py)::)?(test_\w+)`", __doc__)

    missing = [
        name for file, name in named if f"def {name}(" not in (TESTS / file if file else Path(__file__)).read_text()
    ]

    assert len(named) >= 10
    assert missing == []


class StoppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be stopped: what waits for a timer waits for ever."""

    stopped_at_s = None

    def time(self):
        return super().time() if self.stopped_at_s is None else self.stopped_at_s


def test_a_save_waits_for_no_timer_and_is_one_message(tmp_path):
    root, state = tmp_path / "p", tmp_path / "s"
    root.mkdir()
    (root / "app.py").write_bytes(b"0")

    async def main():
        async with connect(state) as session:
            await session.open(root, PROJECT)
            index, ignore = Index(root, Ignore(root)), Ignore(root)
            index.refresh()
            await session.sync(index)
            batches = watch(root, ignore, index, watcher=make_watcher(root, ignore))
            coming = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0.1)  # it watches by then
            sent, send = [], session._connection.send

            async def noting(message):
                sent.append(message.WhichOneof("body"))
                await send(message)

            session._connection.send = noting
            loop = asyncio.get_running_loop()
            loop.stopped_at_s = loop.time()
            (root / "app.py").write_bytes(b"1")
            batch = await coming
            await session.push(index.snapshot(batch.paths).changeset)
            num_sent = len(sent)
            loop.stopped_at_s = None
            files = workspace_files(state)
            await session.end()
            return sent[:num_sent], files

    with agents_of(state), asyncio.Runner(loop_factory=StoppedLoop) as runner:
        sent, files = runner.run(main())

    assert sent == ["changeset"]
    assert files == {"app.py": b"1"}


def test_a_mode_arrives_as_executable_or_not(tmp_path):
    root, state = tmp_path / "p", tmp_path / "s"
    root.mkdir()
    for mode in (0o4755, 0o2644, 0o1777, 0o600):
        (root / f"{mode:o}").touch()
        (root / f"{mode:o}").chmod(mode)

    async def main():
        async with connect(state) as session:
            await session.open(root, PROJECT)
            index = Index(root, Ignore(root))
            index.refresh()
            await session.sync(index)
            await session.end()

    run(state, main())
    tree = state / "sessions" / PROJECT / "tree"
    assert {path.name: f"{path.stat().st_mode & 0o7777:o}" for path in tree.iterdir()} == {
        "4755": "755",
        "2644": "644",
        "1777": "755",
        "600": "644",
    }


@pytest.mark.parametrize(
    ("cut_at", "after", "expected"),
    [
        ("nothing", 0, ["parts", "parts", "parts", "manifest"]),
        ("parts", 500, ["parts", "parts", "manifest", "parts", "parts", "become"]),
        ("manifest", 1200, ["parts", "parts", "parts", "manifest", "manifest"]),
    ],
)
def test_a_first_copy_asks_for_nothing_until_it_is_cut(tmp_path, cut_at, after, expected):
    root, state = tmp_path / "p", tmp_path / "s"
    root.mkdir()
    for number in range(1200):
        (root / f"{number}.py").write_bytes(b"%d" % number)
    parts = state / "sessions" / PROJECT / "state" / "stage" / "parts"

    async def main():
        sent, cuts = [], [cut_at]
        async with connect(state) as session:
            await session.open(root, PROJECT)
            index = Index(root, Ignore(root))
            index.refresh()
            connection = session._connection

            async def noting(message, send=connection.send):
                kind = message.WhichOneof("body")
                if kind in {"parts", "manifest", "become"}:
                    sent.append(kind)
                if kind in cuts and (kind != "parts" or len(sent) > 1):
                    cuts.clear()
                    await until(lambda: len(list(parts.iterdir())) == after, "contents before the cut")
                    await connection._stream.close()
                await send(message)

            connection.send = session._outgoing._flow._send = noting
            await session.sync(index)
            await session.end()
        return sent

    assert run(state, main()) == expected
    assert workspace_files(state) == {path.name: path.read_bytes() for path in root.iterdir()}


def test_an_edit_overtakes_a_bulk_transfer_on_the_same_connection(tmp_path):
    root, state = tmp_path / "p", tmp_path / "s"
    root.mkdir()
    size_bytes = 6 * MAX_WINDOW_BYTES

    async def main():
        line = Line(state, delay_s=0.01)
        async with connect_by(line) as session:
            await session.open(root, PROJECT)
            index = Index(root, Ignore(root))
            await session.sync(index)
            (root / "weights.bin").write_bytes(os.urandom(size_bytes))
            bulk = asyncio.create_task(session.push(index.snapshot(["weights.bin"]).changeset))
            await until(lambda: line.num_bytes > MAX_WINDOW_BYTES, "bulk")
            before_bytes = line.num_bytes
            await session.push(saved("app.py", b"1"))
            meanwhile_bytes, is_first = line.num_bytes - before_bytes, not bulk.done()
            await bulk
            await session.end()
            return meanwhile_bytes, is_first

    meanwhile_bytes, is_first = run(state, main())

    assert is_first
    assert meanwhile_bytes < 3 * MAX_WINDOW_BYTES  # what was on its way, and what went while the answer came
    assert {path: len(content) for path, content in workspace_files(state).items()} == {
        "weights.bin": size_bytes,
        "app.py": 1,
    }
