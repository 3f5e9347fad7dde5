"""Several users and apps on one runner: what each may see, and what onlookers are shown."""

import asyncio
import contextlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hotloop import events
from hotloop.errors import RunnerError
from hotloop.remote_runner import gpus, onlooker
from hotloop.remote_runner.holding import HeldError, Holder, Holding
from hotloop.remote_runner.journal import Journal
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.places import log_path, socket_path
from hotloop.remote_runner.way import NoAgentError
from tests.remote_runner.test_agent import PROJECT, Events, Files, connect, is_alive, run, saved, until

OTHER = "0123456789"
NOBODY = 65534


def way(state):
    return LocalWay(state, is_starting=False)


def test_two_apps_on_one_agent_have_their_own_files_events_and_runtime(tmp_path):
    async def main():
        async with connect(tmp_path) as one, connect(tmp_path) as two:
            infos = [await one.open(tmp_path, PROJECT), await two.open(tmp_path, OTHER)]
            seen = [Events(one), Events(two)]
            await one.sync(Files(app=b"one"))
            await two.sync(Files(app=b"two"))
            await asyncio.gather(one.start({"entry": "one"}), two.start({"entry": "two"}))
            await one.push(saved("secret.py", b"of one"))
            await until(lambda: len(seen[0].notices("revision")) == 2 and seen[1].notices("revision"))
            pids = [(await each.command("status"))["runtime_pid"] for each in (one, two)]
            followed = [event.text async for _, event in taking(onlooker.follow(way(tmp_path), OTHER), 2)]
            await one.end()
            assert is_alive(pids[1])
            await two.push(saved("app.py", b"two again"))
            await two.end()
            return infos, seen, pids, followed

    infos, (first, second), pids, followed = run(tmp_path, main())

    assert infos[0].workspace != infos[1].workspace
    assert pids[0] != pids[1]
    assert all("of one" not in str(event) and "secret" not in str(event) for _, event in second.seen)
    assert all("secret" not in text for text in followed)
    assert json.loads(first.notices("start")[0])["root"] == infos[0].workspace
    assert not (tmp_path / "sessions" / OTHER / "tree" / "secret.py").exists()


def test_an_agent_that_is_to_stay_serves_the_next_session_too(tmp_path):
    async def session():
        async with connect(tmp_path, "--stay-s", "600") as client:
            await client.open(tmp_path, PROJECT)
            await client.sync(Files(app=b"one"))
            await client.start({"entry": "one"})
            pids = [
                (await onlooker.ask(way(tmp_path), "status"))["pid"],
                (await client.command("status"))["runtime_pid"],
            ]
            await client.end()
            return pids

    async def main():
        (agent, runtime), (again, _) = await session(), await session()
        assert agent == again
        await until(lambda: not is_alive(runtime))
        await onlooker.ask(way(tmp_path), "shutdown")
        await until(lambda: not is_alive(agent))

    run(tmp_path, main())


def test_a_process_that_was_to_become_a_runtime_ends_with_its_session(tmp_path):
    def children(agent):
        return Path(f"/proc/{agent}/task/{agent}/children").read_text().split()

    async def main():
        async with connect(tmp_path, "--stay-s", "600") as client:
            await client.open(tmp_path, PROJECT)
            agent = (await onlooker.ask(way(tmp_path), "status"))["pid"]
            await until(lambda: len(children(agent)) == 1)
            await client.end()
            assert children(agent) == []
            await onlooker.ask(way(tmp_path), "shutdown")

    run(tmp_path, main())


async def taking(stream, count):
    async for item in stream:
        yield item
        count -= 1
        if not count:
            return


TRY_ALL = """
import os, socket, sys
found = []
for path in sys.argv[1:]:
    try:
        if path.endswith("agent.sock"):
            socket.socket(socket.AF_UNIX).connect(path)
        elif os.path.isdir(path):
            os.listdir(path)
        else:
            open(path).read()
    except PermissionError:
        continue
    found.append(path)
print(found)
"""


def test_another_user_of_the_machine_reaches_nothing(tmp_path):
    if os.getuid() != 0:
        pytest.skip("not root: another user can't be played")
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(0o755)  # as open as a home may be; what is below is hotloop's own to close
    state = tmp_path / "state"

    async def main():
        async with connect(state) as session:
            await session.open(tmp_path, PROJECT)
            await session.sync(Files(app=b"secret"))
            await session.start({})
            inside = state / "sessions" / PROJECT
            paths = [
                socket_path(state), log_path(state), state, state / "agent", inside, inside / "tree", inside / "tree" / "app.py",
                inside / "events.jsonl", inside / "runtime" / "runtime.log",
            ]  # fmt: skip
            assert all(path.exists() for path in paths)
            command = [
                "setpriv",
                f"--reuid={NOBODY}",
                f"--regid={NOBODY}",
                "--clear-groups",
                "/usr/bin/python3",
                "-c",
                TRY_ALL,
            ]
            done = await asyncio.to_thread(
                subprocess.run, [*command, *map(str, paths)], capture_output=True, text=True, cwd="/", check=True
            )
            modes = [stat.S_IMODE(path.stat().st_mode) for path in (state, socket_path(state), inside)]
            await session.end()
            return done.stdout.strip(), modes

    assert run(state, main()) == ("[]", [0o700, 0o600, 0o700])


def test_an_onlooker_gets_the_last_reload_and_all_after_it_and_holds_nothing(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            await session.sync(Files(app=b"0"))
            await session.start({})
            seen = Events(session)
            for number in range(3):
                await session.push(saved("app.py", b"%d" % number))
            await until(lambda: len(seen.notices("revision")) == 4)
            last = seen.seen[-1][0]
            stream = onlooker.follow(way(tmp_path), PROJECT, after_event=last - 1)
            shown = [number async for number, _ in taking(stream, 1)]
            followed = []
            following = asyncio.create_task(gather(onlooker.follow(way(tmp_path), PROJECT), followed))
            await until(lambda: followed)
            await session.push(saved("app.py", b"last"))
            await session.end()
            await following
            return last, shown, followed, seen

    last, shown, followed, seen = run(tmp_path, main())

    numbers = [number for number, _ in followed]
    assert shown == [last]
    assert numbers == list(range(1, len(numbers) + 1))
    assert followed[: len(seen.seen)] == [item for item in seen.seen if item[0]]
    assert followed[-1][1].kind == "runtime_stopped"


async def gather(stream, found):
    with contextlib.suppress(NoAgentError):
        async for item in stream:
            found.append(item)


def test_an_agent_tells_its_sessions_ends_one_and_shuts_down(tmp_path):
    async def main():
        with pytest.raises(NoAgentError):
            await onlooker.ask(way(tmp_path), "status")
        async with connect(tmp_path) as one, connect(tmp_path) as two:
            await one.open(tmp_path / "one", PROJECT)
            await two.open(tmp_path / "two", OTHER)
            seen = Events(one)
            await one.start({})
            told = await onlooker.ask(way(tmp_path), "status")
            with pytest.raises(RunnerError, match="No such session"):
                await onlooker.ask(way(tmp_path), "end", project_id="ffffffffff")
            with pytest.raises(RunnerError, match="can't be asked 'dance'"):
                await onlooker.ask(way(tmp_path), "dance")
            await onlooker.ask(way(tmp_path), "end", project_id=PROJECT, who="ada@home")
            await until(lambda: seen.notices("ended"))
            left = await onlooker.ask(way(tmp_path), "status")
            await one.close()
            await two.close()
            await onlooker.ask(way(tmp_path), "shutdown")
            await until(lambda: not socket_path(tmp_path).exists())
            return told["sessions"], left["sessions"], seen.notices("ended")

    told, left, ended = run(tmp_path, main())

    assert [session["project"] for session in told] == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert all(session["is_held"] and session["holder_pid"] == os.getpid() for session in told)
    assert [session["project_id"] for session in left] == [OTHER]
    assert ended == ["the session was ended by ada@home"]


# --- pieces


def take(holding, name, *, epoch=1, is_held=False, resumes=False, is_taking=False):
    return holding.take(
        Holder(name, f"{name}@host", 7, epoch, 0.0), is_held=is_held, resumes=resumes, is_taking=is_taking
    )


def test_who_may_have_a_session_next(tmp_path):
    holding = Holding(tmp_path)
    assert not take(holding, "a", epoch=5)
    assert take(holding, "a", epoch=6, is_held=True, resumes=True)  # its own dead stream is no hindrance
    with pytest.raises(HeldError, match="newer connection"):
        take(holding, "a", epoch=6, resumes=True)
    with pytest.raises(HeldError, match="Another client holds") as refused:
        take(holding, "b", is_held=True)
    assert (refused.value.holder.who, refused.value.is_held) == ("a@host", True)
    assert not take(holding, "b", is_held=True, is_taking=True)
    with pytest.raises(HeldError, match="took over"):
        take(holding, "a", epoch=7, resumes=True)

    after_a_crash = Holding(tmp_path)
    with pytest.raises(HeldError, match="took over"):
        take(after_a_crash, "a", epoch=8, resumes=True)
    assert take(after_a_crash, "b", epoch=2, resumes=True)
    assert not take(after_a_crash, "c")


def test_a_journal_that_lost_events_goes_on_from_what_a_client_has(tmp_path):
    journal = Journal(tmp_path)
    for number in range(3):
        journal.append(b"%d" % number)
    journal.go_on_from(2)
    journal.go_on_from(10)
    number = journal.append(b"11")

    assert number == 11
    assert journal.since(10) == [(11, b"11")]
    assert journal.since(1) == [(2, b"1"), (3, b"2"), (11, b"11")]


def test_events_that_a_journal_has_forgotten_are_counted(tmp_path):
    from hotloop.remote_runner.following import since

    journal = Journal(tmp_path, max_bytes=100, max_in_memory=2)
    for number in range(50):
        journal.append(b'"%d"' % number)

    (number, dropped), *rest = since(journal, 10)
    assert events.from_json(json.loads(dropped)).count == number - 10
    assert [each for each, _ in rest] == list(range(number + 1, 51))
    assert since(journal, 49) == [(50, b'"49"')]


def test_gpu_memory_is_that_of_a_process_and_all_below_it(tmp_path, monkeypatch):
    """The program that tells it is a stand-in: this machine has no GPU."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        program = tmp_path / "nvidia-smi"
        program.write_text(
            f"#!/bin/sh\necho '{child.pid}, 512'\necho '{child.pid}, 8'\necho '1, [N/A]'\necho '99999999, 5'\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        by_process = gpus.memory_by_process()
        below = gpus.memory_below(os.getpid(), by_process)
    finally:
        child.kill()
        child.wait()

    assert by_process == {child.pid: 520 << 20, 99999999: 5 << 20}
    assert (below, gpus.memory_below(None, by_process)) == (520 << 20, 0)
