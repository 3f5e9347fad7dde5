"""Networks that fail: nothing that a client sent or an agent said is lost or done twice, and the user is told."""

import asyncio
import contextlib
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import hotloop
from hotloop import __version__
from hotloop.changes import Changeset, Put, content_digest
from hotloop.errors import DeniedError, RunnerError
from hotloop.events import Notice, to_json
from hotloop.remote_runner import agent as agent_module
from hotloop.remote_runner import journal, session_stream
from hotloop.remote_runner.client import connect as connect_by
from hotloop.remote_runner.local import LocalWay, accepts
from hotloop.remote_runner.places import agent_folder, make_private, socket_path, workspace_folder
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.sessions import MAX_RETOLD
from hotloop.remote_runner.stream import SessionTakenError, Stream
from hotloop.remote_runner.who import who_am_i
from tests.remote_runner.line import Line
from tests.remote_runner.test_agent import (
    FAKE_RUNTIME,
    PROJECT,
    Events,
    Files,
    run,
    saved,
    until,
    workspace_files,
)

AGENT_ARGUMENTS = ("--runtime-command", json.dumps(FAKE_RUNTIME))


@asynccontextmanager
async def session_by(state, **options):
    """A session with a runtime, through a line."""
    line = Line(state, agent_arguments=AGENT_ARGUMENTS, **options)
    async with connect_by(line) as session:
        await session.open(state, PROJECT)
        seen = Events(session)
        await session.sync(Files(app=b"0"))
        await session.start({"entry": "app.py"})
        yield session, line, seen


def told_revisions(seen):
    return [json.loads(text)["number"] for text in seen.notices("revision")]


def test_saves_in_a_dark_network_are_applied_once_each_when_it_is_back(tmp_path):
    async def main():
        async with session_by(tmp_path, delay_s=0.005) as (session, line, seen):
            revisions = []
            for number, dark_s in enumerate((0.5, 3.0), 1):
                line.darken()
                pushes = [
                    asyncio.create_task(session.push(saved(f"f{edit}.py", b"%d %d" % (number, edit))))
                    for edit in range(3)
                ]
                await asyncio.sleep(dark_s)
                line.mend()
                revisions += [(await push).revision for push in pushes]
            await until(lambda: len(told_revisions(seen)) >= 7)
            numbers = [number for number, _ in seen.seen if number]
            outages = [event.kind for _, event in seen.seen if event.kind in {"offline", "online"}]
            await session.end()
            return revisions, told_revisions(seen), numbers, outages

    revisions, told, numbers, outages = run(tmp_path, main())

    assert revisions == list(range(2, 8))
    assert told == list(range(1, 8))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert outages == ["offline", "online"] * 2
    assert workspace_files(tmp_path) == {"app.py": b"0", **{f"f{edit}.py": b"2 %d" % edit for edit in range(3)}}


def test_a_connection_that_carries_nothing_any_more_is_replaced_while_it_is_still_open(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, line, seen):
            for number in range(2):
                line.freeze()
                await session.push(saved("app.py", b"%d" % number))
                line.thaw()  # what was on its way in the old connection comes after all
            await until(lambda: len(told_revisions(seen)) >= 3)
            num_dials = line.num_dials
            await session.end()
            return told_revisions(seen), num_dials

    assert run(tmp_path, main()) == ([1, 2, 3], 3)


def test_an_old_connection_that_answers_before_a_new_one_is_kept(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, line, seen):
            stream = session._connection._stream
            line.freeze()
            dial, dialed = line.dial, asyncio.Event()

            async def hang(lane=0):
                dialed.set()
                await asyncio.Event().wait()

            line.dial = hang
            push = asyncio.create_task(session.push(saved("app.py", b"1")))
            await dialed.wait()
            line.thaw()
            await push
            await until(lambda: seen.of("online"))
            line.dial = dial
            is_same = session._connection._stream is stream
            await session.end()
            return is_same, len(seen.of("offline"))

    assert run(tmp_path, main()) == (True, 1)


def test_an_agent_that_hangs_for_a_while_does_each_thing_once(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, _, seen):
            pid = int((tmp_path / "agent/pid").read_text())
            os.kill(pid, signal.SIGSTOP)
            pushes = [asyncio.create_task(session.push(saved(f"f{number}.py", b"1"))) for number in range(3)]
            pushes.append(asyncio.create_task(session.command("reload", model="a")))
            await until(lambda: seen.of("offline"))
            os.kill(pid, signal.SIGCONT)
            await asyncio.gather(*pushes)
            await until(lambda: seen.of("online") and len(told_revisions(seen)) >= 4 and seen.notices("reload"))
            await session.push(saved("app.py", b"1"))
            await until(lambda: len(told_revisions(seen)) >= 5)
            await session.end()
            return told_revisions(seen), len(seen.notices("reload"))

    assert run(tmp_path, main()) == ([1, 2, 3, 4, 5], 1)


def test_a_dial_that_hangs_is_overtaken_by_another(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, line, _):
            dial, num_dials = line.dial, 0

            async def hang_once(lane=0):
                nonlocal num_dials
                num_dials += 1
                if num_dials == 1:
                    await asyncio.Event().wait()
                if num_dials == 2:
                    msg = "no route to gpu1"
                    raise RunnerError(msg)
                return await dial(lane)

            line.dial = hang_once
            line.cut()
            await session.push(saved("app.py", b"1"))
            await session.end()
            return num_dials

    assert run(tmp_path, main()) == 3
    assert workspace_files(tmp_path) == {"app.py": b"1"}


def test_commands_are_done_once_wherever_the_line_breaks(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, line, seen):
            for number in range(40):
                line.cut_after_bytes = random.Random(number).randrange(1, 400)
                await session.command("reload", model=f"{number}")
            await until(lambda: len(seen.notices("reload")) >= 40)
            await session.end()
            return [json.loads(text)["model"] for text in seen.notices("reload")], line.num_dials

    models, num_dials = run(tmp_path, main())

    assert models == [f"{number}" for number in range(40)]
    assert num_dials > 10


def test_a_changeset_that_is_delivered_twice_is_applied_once(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, _, seen):
            await session.push(saved("app.py", b"1"))
            content = b"0"
            put = Put("app.py", content_digest(content), 1)
            again = Changeset(session._outgoing._sequence, (put,), {put.digest: content}, 0.0)
            await session._connection.send(codec.encode_changeset(again))
            await session.ping()
            status = await session.command("status")
            await until(lambda: len(told_revisions(seen)) >= 2)
            await session.end()
            return status["revision"], told_revisions(seen)

    assert run(tmp_path, main()) == (2, [1, 2])
    assert workspace_files(tmp_path) == {"app.py": b"1"}


def test_a_runner_that_denies_this_client_ends_the_session_and_another_failure_is_told_and_tried_again(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, line, seen):
            failures = [
                RunnerError("no route to gpu1"),
                RunnerError("no route to gpu1"),
                DeniedError("the host key changed"),
            ]

            async def fail(lane=0):
                raise failures.pop(0)

            line.dial = fail
            line.cut()
            with pytest.raises(DeniedError, match="host key"):
                await session.push(saved("app.py", b"1"))
            return [event.reason for event in seen.of("offline")]

    assert run(tmp_path, main()) == ["", "no route to gpu1"]


def test_a_session_that_is_closed_leaves_no_task_of_its_own(tmp_path):
    async def main():
        async with session_by(tmp_path, num_lanes=2):
            pass
        left = {task.get_coro().cr_code for task in asyncio.all_tasks()}
        return [
            code.co_qualname for code in left if Path(session_stream.__file__).parent in Path(code.co_filename).parents
        ]

    assert run(tmp_path, main()) == []


def test_a_write_that_fails_after_its_caller_is_gone_is_no_error_that_nobody_saw(tmp_path):
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        server = await asyncio.start_unix_server(lambda _, writer: writers.append(writer), tmp_path / "silent")
        writers = []
        stream = Stream(f"unix:{tmp_path / 'silent'}")
        write = asyncio.create_task(stream.write(pb.Up(ping=pb.Ping(number=1))))
        await until(lambda: writers)
        write.cancel()
        await asyncio.wait({write})
        (writing,) = stream._writing
        server.close()
        writers[0].transport.abort()
        await asyncio.wait({writing})
        del writing
        await stream.close()

    run(tmp_path, main())
    gc.collect()
    assert complaints == []


# --- who holds it


def test_a_second_client_is_told_who_holds_the_session(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, _, _), connect_by(LocalWay(tmp_path)) as other:
            with pytest.raises(SessionTakenError) as refused:
                await other.open(tmp_path, PROJECT)
            await session.push(saved("app.py", b"1"))
            await session.end()
            return refused.value

    error = run(tmp_path, main())

    assert error.holder_pid == os.getpid()
    assert f"It is held by {error.holder} (pid {os.getpid()}) since " in error.message
    assert "--take" in error.hint


@pytest.mark.parametrize("is_reaped", [True, False])
def test_a_client_that_died_on_this_machine_holds_nothing_though_the_agent_has_not_noticed(tmp_path, is_reaped):
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | (0 if is_reaped else os.WNOWAIT))
    hello = pb.Hello(
        protocol=codec.PROTOCOL, version=__version__, project_id=PROJECT, client_id="dead", who=who_am_i(), pid=dead.pid
    )

    async def main():
        stream = Stream(await LocalWay(tmp_path, agent_arguments=AGENT_ARGUMENTS).dial())
        await stream.greet(hello)  # and it stays open
        async with connect_by(LocalWay(tmp_path)) as session:
            await session.open(tmp_path, PROJECT)
            await session.end()
        await stream.close()

    run(tmp_path, main())
    dead.wait()


def test_an_agent_of_other_source_with_sessions_is_kept_and_the_refusal_says_how_to_end_them(tmp_path):
    shutil.copytree(hotloop.__path__[0], tmp_path / "older/hotloop", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "older/hotloop/clock.py").open("a") as file:
        file.write("# before an edit\n")
    make_private(agent_folder(tmp_path))
    command = [sys.executable, "-P", "-m", "hotloop.remote_runner.agent", "--state", str(tmp_path)]
    hello = pb.Hello(protocol=codec.PROTOCOL, version=__version__, project_id=PROJECT, client_id="any source")

    async def main():
        await until(lambda: accepts(socket_path(tmp_path)), "the agent's start")
        stream = Stream(await LocalWay(tmp_path).dial())
        await stream.greet(hello)
        async with connect_by(LocalWay(tmp_path)) as session:
            with pytest.raises(SessionTakenError, match=f"{__version__} too, but of other source") as refused:
                await session.open(tmp_path, "0123456789abcdef")
        await stream.close()
        return refused.value.hint

    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(tmp_path / "older")}):
        assert "hotloop runner upgrade" in run(tmp_path, main())


def test_a_client_that_comes_back_after_another_had_the_session_is_refused(tmp_path):
    async def main():
        async with session_by(tmp_path) as (session, line, _):
            line.darken()
            async with connect_by(LocalWay(tmp_path)) as other:
                await other.open(tmp_path, PROJECT, take=True)
                await other.push(saved("app.py", b"other"))
            line.mend()
            line.cut()
            with pytest.raises(SessionTakenError, match="took over"):
                await session.push(saved("app.py", b"late"))
        async with connect_by(LocalWay(tmp_path)) as last:
            await last.open(tmp_path, PROJECT)
            await last.end()

    run(tmp_path, main())
    assert workspace_files(tmp_path) == {"app.py": b"other"}


def test_a_client_that_says_nothing_any_more_loses_the_session_to_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr(session_stream, "SILENT_S", 1.0)
    make_private(agent_folder(tmp_path))

    async def main():
        path = socket_path(tmp_path)
        agent = agent_module.Agent(tmp_path, command=FAKE_RUNTIME, idle_timeout_s=60)
        serving = asyncio.create_task(agent.run(path))
        await until(lambda: accepts(path))
        async with session_by(tmp_path) as (_, line, _):
            line.darken()
            async with connect_by(LocalWay(tmp_path)) as other:
                with pytest.raises(SessionTakenError):
                    await other.open(tmp_path, PROJECT)
                await until(lambda: not agent.find(PROJECT).is_held)
                await other.open(tmp_path, PROJECT)
                await other.end()
        await serving

    run(tmp_path, main())


# --- kill -9

CLIENT = """
import asyncio, sys
from pathlib import Path
from tests.remote_runner.test_agent import Files, connect, saved

async def main(state):
    async with connect(state) as session:
        await session.open(state, sys.argv[2])
        await session.sync(Files(app=b"0"))
        await session.start({"entry": "app.py"})
        for number in range(1, 10_000):
            await session.push(saved(f"f{number % 5}.py", b"%d" % number))
            print(number, flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


def killed_client(state, num_edits):
    """Have a client edit in a process of its own and kill it; gives the last edit whose acknowledgement it told."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(state), PROJECT],
        stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
    )  # fmt: skip
    with process:
        told = [int(process.stdout.readline()) for _ in range(num_edits)]
        process.kill()
        return max([*told, *map(int, process.stdout.read().split())])


@pytest.mark.parametrize("num_edits", [1, 33])
def test_a_client_killed_amid_its_edits_leaves_what_was_acknowledged_and_the_next_goes_on(tmp_path, num_edits):
    async def main():
        acknowledged = await asyncio.to_thread(killed_client, tmp_path, num_edits)
        async with connect_by(LocalWay(tmp_path)) as session:
            info = await session.open(tmp_path, PROJECT)
            files = workspace_files(tmp_path)
            seen = Events(session)
            applied = await session.push(saved("app.py", b"next"))
            await until(lambda: told_revisions(seen)[-1:] == [applied.revision])
            await session.end()
            return acknowledged, info, files, applied.revision

    acknowledged, info, files, revision = run(tmp_path, main())

    assert info.is_running
    assert revision == info.revision + 1
    last = max(int(content) for name, content in files.items() if name != "app.py")
    assert last in {acknowledged, acknowledged + 1}
    kept = range(max(1, last - 4), last + 1)
    assert files == {"app.py": b"0", **{f"f{number % 5}.py": b"%d" % number for number in kept}}


def test_events_of_an_agent_that_is_killed_again_and_again_come_once_each(tmp_path):
    async def main():
        async with session_by(tmp_path, delay_s=0.001) as (session, line, seen):
            for number in range(12):
                if number % 4 == 1:
                    os.kill(int((tmp_path / "agent/pid").read_text()), signal.SIGKILL)
                if number % 4 == 3:
                    line.cut_after_bytes = 20 * number
                await session.push(saved("app.py", b"%d" % number))
            await until(lambda: told_revisions(seen)[-1:] == [13])
            numbers = [number for number, _ in seen.seen if number]
            await session.end()
            return numbers

    numbers = run(tmp_path, main())
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert workspace_files(tmp_path) == {"app.py": b"11"}


READER = """
import asyncio, sys
from pathlib import Path
from tests.remote_runner.test_agent import Files, connect, saved

async def read(session, until):
    async for number, _ in session.events():
        if number:
            print(number, flush=True)
        if number >= until:
            return

async def main(state):
    async with connect(state) as session:
        await session.open(state, sys.argv[2])
        await session.sync(Files(app=b"0"))
        await session.start({"entry": "app.py"})
        for number in range(20):
            await session.push(saved("app.py", b"%d" % number))
        await read(session, until=8)
        await session.ping()
        await read(session, until=12)
        print("read", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_events_that_nobody_took_in_when_agent_and_client_were_killed_are_told_to_the_next_client(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", READER, str(tmp_path), PROJECT]
    environ = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, env=environ, text=True) as client:
        taken = [int(line) for line in iter(client.stdout.readline, "read\n")]
        asyncio.run(until(lambda: journal.kept(workspace_folder(tmp_path, PROJECT), after=20)))
        os.kill(client.pid, signal.SIGSTOP)  # it is not to find another agent
        os.kill(int((tmp_path / "agent/pid").read_text()), signal.SIGKILL)
        client.kill()

    async def next_client():
        async with connect_by(LocalWay(tmp_path, agent_arguments=AGENT_ARGUMENTS)) as session:
            info = await session.open(tmp_path, PROJECT)
            seen = Events(session)
            await until(lambda: seen.seen and seen.seen[-1][0] >= info.last_event)
            await session.end()
            return [number for number, _ in seen.seen if number], info.last_event

    async def one_after_the_end():
        async with connect_by(LocalWay(tmp_path, agent_arguments=AGENT_ARGUMENTS)) as session:
            info = await session.open(tmp_path, PROJECT)
            await session.end()
            return info.seen_event, info.last_event

    told, last = run(tmp_path, next_client())
    seen_event, newest = run(tmp_path, one_after_the_end())

    assert taken == list(range(1, 13))
    assert last > 20
    assert told in [list(range(first, last + 1)) for first in range(8, 14)]  # a ping of its own may have said more
    assert seen_event == newest


def test_of_much_that_nobody_read_the_next_client_is_told_the_newest_and_how_many_there_were_before(tmp_path):
    folder = workspace_folder(tmp_path, PROJECT)
    folder.mkdir(parents=True)
    killed = journal.Journal(folder)
    notice = json.dumps(to_json(Notice(0.0, "n", "of an agent that was killed"))).encode()
    for _ in range(MAX_RETOLD + 100):
        killed.append(notice)
    killed.close()

    async def main():
        async with connect_by(LocalWay(tmp_path, agent_arguments=AGENT_ARGUMENTS)) as session:
            info = await session.open(tmp_path, PROJECT)
            seen = Events(session)
            await until(lambda: seen.seen and seen.seen[-1][0] >= info.last_event)
            await session.end()
            return seen

    seen = run(tmp_path, main())

    (dropped,) = seen.of("events_dropped")
    assert (dropped.count, len(seen.notices("n"))) == (100, MAX_RETOLD)
    assert [number for number, _ in seen.seen] == list(range(101, MAX_RETOLD + 102))


# --- clocks


def test_times_of_a_runner_with_another_clock_are_given_on_this_ones(tmp_path):
    """The agent and its runtime run in a time namespace: their monotonic clock is 5,000 s ahead."""
    if os.getuid() != 0:
        pytest.skip("not root: a time namespace can't be made")
    make_private(agent_folder(tmp_path))
    command = ["unshare", "--time", "--monotonic", "5000", "--fork", "--kill-child"]
    command += [sys.executable, "-P", "-m", "hotloop.remote_runner.agent", "--state", str(tmp_path), *AGENT_ARGUMENTS]

    async def main():
        await until(lambda: accepts(socket_path(tmp_path)), "the agent's start")
        async with session_by(tmp_path, delay_s=0.01) as (session, _, seen):
            before_s = time.monotonic()
            applied = await session.push(saved("app.py", b"1"))
            after_s = time.monotonic()
            await until(lambda: len(told_revisions(seen)) >= 2)
            (_, event) = next(
                item for item in reversed(seen.seen) if item[1].kind == "notice" and item[1].key == "revision"
            )
            error_s = session.clock_error_s
            await until(lambda: any(event.kind == "link_measured" for _, event in seen.seen), "a measure of the link")
            link = next(event for _, event in seen.seen if event.kind == "link_measured")
            await session.end()
            return before_s, applied.applied_at_s, event.at_s, after_s, error_s, link

    process = subprocess.Popen(command)
    try:
        before_s, applied_s, event_s, after_s, error_s, link = run(tmp_path, main())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(10)

    assert error_s < 0.1
    assert before_s - error_s <= applied_s <= after_s + error_s
    assert applied_s <= event_s <= after_s + 5
    assert link.round_trip_s >= 0.02
    assert abs(link.offset_s - 5000) <= link.error_s
