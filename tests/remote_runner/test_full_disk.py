"""A runner's disk that fills up while a session runs: a real agent on a small file system of its own."""

import contextlib
import json
import os

import pytest

from hotloop import events
from hotloop.changes import content_digest
from hotloop.remote_runner import journal
from hotloop.remote_runner.following import since
from hotloop.remote_runner.journal import Journal
from hotloop.remote_runner.told import RefusedError
from tests.remote_runner.bare_machine import mounted
from tests.remote_runner.test_agent import PROJECT, Events, Files, connect, run, saved, until, workspace_files

NUM_SAVES = 60  # such that the ledger and the journal come to the end of the last block that they have


def fill(folder):
    """Leave not one block."""
    with contextlib.suppress(OSError):
        os.posix_fallocate(os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT), 0, 1 << 40)
    for size in (1 << 20, 1 << 12):
        with contextlib.suppress(OSError), (folder / f"ballast{size}").open("wb", buffering=0) as file:
            while file.write(b"x" * size):
                pass


def drain(folder):
    for file in folder.glob("ballast*"):
        file.unlink()


def test_a_full_disk_refuses_saves_and_the_session_goes_on_without_a_lost_event(tmp_path):
    async def main(state):
        async with connect(state) as session:
            await session.open(state, PROJECT)
            told = Events(session)
            files = Files(app=b"1")
            await session.sync(files)
            await session.start({"entry": "app.py"})
            await until(lambda: told.notices("revision"))
            fill(state)
            refusals = []
            for number in range(NUM_SAVES):
                files.contents["app.py"] = b"%d" % number + b"y" * 9000
                with pytest.raises(RefusedError) as refused:
                    await session.push(saved("app.py", files.contents["app.py"]))
                refusals.append(refused.value)
                await session.command("reload", model="m" * 50)
            await until(lambda: len(told.notices("reload")) == NUM_SAVES, "all events")
            drain(state)
            files.contents["app.py"] = b"2"
            await session.push(saved("app.py", b"2"))
            await until(lambda: content_digest(b"2") in told.notices("revision")[-1], "the revision")
            held = workspace_files(state)
            await session.end()
        return refusals, held, told

    with mounted(tmp_path / "disk", "size=160m") as disk:
        refusals, held, told = run(disk, main(disk))

    assert all(
        error.message.startswith(("The runner's disk is full", "The runner's disk has 0 MiB free"))
        for error in refusals
    )
    assert all(error.hint for error in refusals)
    assert held == {"app.py": b"2"}
    assert not told.of("offline")
    numbers = [number for number, _ in told.seen if number]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_journal_on_a_full_disk_keeps_what_it_can_and_counts_the_rest(tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        kept = Journal(disk)
        first = [kept.append(b'"%0100d"' % number) for number in range(60)]
        fill(disk)
        lost = [kept.append(b'"%0100d"' % number) for number in range(60)]
        in_memory = [number for number, _ in kept.since(0)]
        drain(disk)
        last = kept.append(b'"last"')
        kept.close()
        again = Journal(disk)
        found = since(again, 0)
        is_cut = journal.is_cut(disk)
        again.close()

    assert in_memory == [*first, *lost]
    assert is_cut
    assert (again.last, found[-1]) == (last, (last, b'"last"'))
    told = [events.from_json(json.loads(event)) for _, event in found if b"events_dropped" in event]
    assert sum(event.count for event in told) == last - sum(b"events_dropped" not in event for _, event in found)
    assert told


def test_a_line_that_a_crash_cut_short_spoils_none_after_it(tmp_path):
    kept = Journal(tmp_path)
    kept.append(b'"1"')
    kept.close()
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'2 "ha')
    kept = Journal(tmp_path)
    kept.append(b'"2"')
    kept.close()

    assert journal.kept(tmp_path) == [(1, b'"1"'), (2, b'"2"')]
