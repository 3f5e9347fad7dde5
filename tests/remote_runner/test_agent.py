"""A real agent, a real socket, real files; only the runtime is a stand-in that speaks the frames."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hotloop
from hotloop import __version__
from hotloop.changes import Changeset, Delete, Put, content_digest
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.errors import RunnerError
from hotloop.remote_runner import client, local, onlooker
from hotloop.remote_runner.client import AgentSession
from hotloop.remote_runner.client import connect as connect_by
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.places import ALREADY_RUNS_EXIT_CODE, log_path, socket_path
from hotloop.remote_runner.stream import SessionTakenError
from hotloop.remote_runner.told import RefusedError
from tests.remote_runner.line import Line

FAKE_RUNTIME = (sys.executable, str(Path(__file__).with_name("fake_runtime.py")), "{fd}")
PROJECT = "abcdef0123"
DEADLINE_S = 15.0


class Files:
    """A client's tree in memory."""

    def __init__(self, **contents: bytes):
        self.contents = {name.replace("__", "/") + ".py": content for name, content in contents.items()}
        self.reads: list[str] = []

    def entries(self):
        return [Put(path, content_digest(content), len(content)) for path, content in self.contents.items()]

    def read(self, put):
        self.reads.append(put.path)
        return self.contents[put.path]

    def read_block(self, put, offset, num_bytes):
        return self.contents[put.path][offset : offset + num_bytes]

    def look_again(self):
        """`contents` is always as it is now."""


def saved(path, content):
    digest = content_digest(content)
    return Changeset(0, (Put(path, digest, len(content)),), {digest: content}, 0.0)


def connect(state, *arguments, runtime=FAKE_RUNTIME):
    return connect_by(LocalWay(state, agent_arguments=("--runtime-command", json.dumps(runtime), *arguments)))


@contextlib.contextmanager
def agents_of(state):
    """Whatever a test leaves running ends with it."""
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((state / "agent/pid").read_text()), signal.SIGKILL)


def run(state, main):
    with agents_of(state):
        return asyncio.run(asyncio.wait_for(main, 40))


async def until(is_true, what="it"):
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        await asyncio.sleep(0.01)


async def left(state):
    """Wait until the agent sees that its client left: one of the same process would be refused before."""
    deadline_s = time.monotonic() + DEADLINE_S
    while any(session["is_held"] for session in (await onlooker.ask(LocalWay(state), "status"))["sessions"]):
        assert time.monotonic() < deadline_s, "the agent did not see that its client left"
        await asyncio.sleep(0.01)


class Events:
    """Gathers a session's events."""

    def __init__(self, session):
        self.seen = []
        self.task = asyncio.create_task(self._gather(session))

    async def _gather(self, session):
        with contextlib.suppress(RunnerError):  # the session's end
            async for number, event in session.events():
                self.seen.append((number, event))

    def notices(self, key):
        return [event.text for _, event in self.seen if event.kind == "notice" and event.key == key]

    def of(self, kind):
        return [event for _, event in self.seen if event.kind == kind]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def workspace_files(state):
    root = state / "sessions" / PROJECT / "tree"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_first_sync_sends_all_a_second_client_nothing(tmp_path):
    files = Files(app=b"a", pkg__mod=b"b", pkg__same=b"b")

    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            first = await session.sync(files)
        again = Files()
        again.contents = files.contents
        await left(tmp_path)
        async with connect(tmp_path) as session:
            info = await session.open(tmp_path, PROJECT)
            second = await session.sync(again)
            await session.end()
        return first.revision, info.revision, second.revision, again.reads

    assert run(tmp_path, main()) == (1, 1, 1, [])
    assert workspace_files(tmp_path) == files.contents


def test_the_runtime_is_told_each_revision_and_the_whole_tree_first(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.sync(Files(app=b"1", lib=b"1"))
            assert not (await session.start({"entry": "app.py"})).was_running
            assert (await session.start({"entry": "app.py"})).was_running
            applied = await session.push(saved("app.py", b"2"))
            await session.push(Changeset(0, (Delete("lib.py"),), {}, 0.0))
            await session.command("reload", model="encoder")
            await until(lambda: len(events.notices("revision")) == 3 and events.notices("reload"))
            config = json.loads(events.notices("start")[0])
            await session.end()
            return applied, [json.loads(text) for text in events.notices("revision")], config

    applied, revisions, config = run(tmp_path, main())

    one, two = content_digest(b"1"), content_digest(b"2")
    assert [(r["number"], r["full"], r["changed"]) for r in revisions] == [
        (1, True, {"app.py": one, "lib.py": one}),
        (2, False, {"app.py": two}),
        (3, False, {"lib.py": None}),
    ]
    assert revisions[1]["applied_at_s"] == applied.applied_at_s
    assert config["root"] == str(tmp_path / "sessions" / PROJECT / "tree")


def test_the_runtime_is_shown_modules_before_they_are_applied(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.sync(Files(app=b"1"))
            await session.start({"entry": "app.py"})
            await session.push(saved("app.py", b"x = 2"))
            await session.push(saved("notes.txt", b"x = 3"))
            await until(lambda: len(events.notices("revision")) == 3)
            await session.end()
            return [json.loads(text) for kind in ("incoming", "revision") for text in events.notices(kind)]

    shown, _, second, _ = run(tmp_path, main())

    assert (shown["files"], shown["payload"]) == ([{"path": "app.py", "size": 5}], "x = 2")
    assert shown["got_at_s"] < second["got_at_s"]


def test_end_of_the_last_session_leaves_no_process_and_no_socket(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            await session.start({"behaviour": "fork"})
            events = Events(session)
            await until(lambda: events.notices("forked"))
            pids = [int(events.notices("forked")[0]), (await session.command("status"))["runtime_pid"]]
            await session.end()
        agent = int((tmp_path / "agent/pid").read_text())
        await until(lambda: not any(map(is_alive, [*pids, agent])), "the end of all processes")

    run(tmp_path, main())
    assert not socket_path(tmp_path).exists()
    # gRPC itself logs a traceback for a call that the stop cancelled in its first step; none may go through our code.
    assert f'File "{Path(hotloop.__file__).parent}' not in log_path(tmp_path).read_text()


def test_a_refused_changeset_names_the_path_and_the_next_one_is_applied(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            await session.sync(Files(app=b"1"))
            with pytest.raises(RefusedError, match="outside") as refused:
                await session.push(saved("../outside", b"x"))
            applied = await session.push(saved("app.py", b"2"))
            await session.end()
            return refused.value.path, applied.revision

    assert run(tmp_path, main()) == ("../outside", 2)


@pytest.mark.parametrize("size", [256 << 10, (256 << 10) + 1, 9 << 20])
def test_large_files_arrive_whole(tmp_path, size):
    content = os.urandom(size)

    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            await session.sync(Files())
            await session.push(saved("weights.bin", content))
            big = Files(big=content[::-1])
            big.contents["weights.bin"] = content
            await session.sync(big)
            await session.end()

    run(tmp_path, main())
    assert workspace_files(tmp_path) == {"weights.bin": content, "big.py": content[::-1]}


def test_a_large_file_is_read_when_it_is_sent_and_one_that_changed_by_then_arrives_as_it_is(tmp_path):
    root, state = tmp_path / "p", tmp_path / "s"
    root.mkdir()
    steady, early, late = (os.urandom(9 << 20) for _ in range(3))

    async def main():
        async with connect(state) as session:
            await session.open(root, PROJECT)
            index = Index(root, Ignore(root))
            await session.sync(index)
            root.joinpath("steady.bin").write_bytes(steady)
            root.joinpath("small.py").write_bytes(b"1")
            await session.push(index.snapshot(["steady.bin", "small.py"]).changeset)
            root.joinpath("model.bin").write_bytes(early)
            snapshot = index.snapshot(["model.bin"])
            root.joinpath("model.bin").write_bytes(late)
            await session.push(snapshot.changeset)
            is_known = index.snapshot(["model.bin"]) is None
            await session.end()
            return is_known

    assert run(state, main())
    assert workspace_files(state) == {"steady.bin": steady, "small.py": b"1", "model.bin": late}


def test_a_killed_agent_comes_back_and_no_save_is_lost_or_done_twice(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.sync(Files(app=b"0"))
            await session.start({"entry": "app.py"})
            revisions = []
            for number in range(1, 41):
                if number % 10 == 0:
                    os.kill(int((tmp_path / "agent/pid").read_text()), signal.SIGKILL)
                revisions.append((await session.push(saved(f"f{number % 7}.py", b"%d" % number))).revision)
            await until(lambda: json.loads((events.notices("revision") or ['{"number":0}'])[-1])["number"] == 41)
            status = await session.command("status")
            held = events.of("offline")
            await session.end()
            return revisions, status["revision"], len(held)

    revisions, revision, num_cuts = run(tmp_path, main())

    assert revisions == list(range(2, 42))
    assert revision == 41
    assert num_cuts >= 4
    expected = {f"f{n % 7}.py": b"%d" % n for n in range(1, 41)}
    assert workspace_files(tmp_path) == {"app.py": b"0", **expected}


def test_cut_streams_lose_no_save_and_no_event(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.sync(Files(app=b"0"))
            await session.start({"entry": "app.py"})

            async def cut():
                for _ in range(10):
                    await asyncio.sleep(0.013)
                    if session._connection._stream is not None:
                        session._connection._stream._call.cancel()

            cutting = asyncio.create_task(cut())
            for number in range(60):
                await session.push(saved("app.py", b"%d" % number))
            await cutting
            await until(lambda: len(events.notices("revision")) >= 61)
            numbers = [number for number, _ in events.seen if number]
            told = [json.loads(text)["number"] for text in events.notices("revision")]
            await session.end()
            return numbers, told

    numbers, told = run(tmp_path, main())

    assert numbers == sorted(set(numbers))
    assert told == list(range(1, 62))


def test_a_newer_client_takes_over_and_the_older_one_is_told(tmp_path):
    async def main():
        async with connect(tmp_path) as old, connect(tmp_path) as new:
            await old.open(tmp_path, PROJECT)
            await old.sync(Files(app=b"old"))
            await new.open(tmp_path, PROJECT, take=True)
            with pytest.raises(SessionTakenError):
                await old.push(saved("app.py", b"from the old one"))
            with pytest.raises(SessionTakenError):
                async for _ in old.events():
                    pass
            await new.push(saved("app.py", b"from the new one"))
            await new.end()

    run(tmp_path, main())
    assert workspace_files(tmp_path) == {"app.py": b"from the new one"}


class Written(Index):
    """A project that others write to: some files once all at once, some before each look at them."""

    def entries(self):
        found = super().entries()
        for path in [*self.once, *self.always]:
            self._write(path)
        self.once = []
        return found

    def read(self, put):
        if put.path in self.always:
            self._write(put.path)
        return super().read(put)

    def _write(self, path):
        self.number = getattr(self, "number", 0) + 1
        (self.root / path).write_text(f"written {self.number}")


def test_a_project_that_is_written_to_all_the_time_can_be_copied(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    names = [f"f{number:02}.py" for number in range(20)]
    for name in names:
        (project / name).write_text(name)

    async def main():
        index = Written(project, Ignore(project))
        index.refresh()
        index.once, index.always = names[:16], names[16:18]
        async with connect(tmp_path / "state") as session:
            await session.open(project, PROJECT)
            await session.sync(index)
            known = {entry.path: entry.digest for entry in Index.entries(index)}
            await session.end()
        return known

    known = run(tmp_path / "state", main())

    copied = workspace_files(tmp_path / "state")
    assert {path: content_digest(content) for path, content in copied.items()} == known
    assert {path: copied[path] for path in names[:16]} == {path: (project / path).read_bytes() for path in names[:16]}


def test_a_client_that_comes_back_gets_the_events_that_it_missed(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            await session.start({"entry": "app.py"})
            events = Events(session)
            await session.push(saved("app.py", b"1"))
            await until(lambda: events.notices("revision"))
            last = events.seen[-1][0]
            await session.command("reload", model=None)
        await left(tmp_path)
        async with connect(tmp_path) as session:
            info = await session.open(tmp_path, PROJECT, after_event=last)
            events = Events(session)
            await until(lambda: events.notices("reload"))
            await session.end()
            return info.is_running, last, events.seen[0][0]

    is_running, last, first = run(tmp_path, main())

    assert is_running
    assert first == last + 1


def test_a_client_that_takes_no_events_for_long_is_told_how_many_were_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MAX_WAITING_EVENTS", 3)

    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            await session.start({"entry": "app.py"})
            for number in range(20):
                await session.push(saved("app.py", b"%d" % number))
            await until(lambda: session._num_dropped > 10)
            seen = Events(session)
            await session.push(saved("app.py", b"last"))
            await until(lambda: seen.notices("revision") and json.loads(seen.notices("revision")[-1])["number"] == 21)
            await session.end()
            return seen.seen

    seen = run(tmp_path, main())

    (dropped, *more) = [event.count for _, event in seen if event.kind == "events_dropped"]
    numbers = [number for number, _ in seen if number]
    assert seen[0][1].kind == "events_dropped"
    assert numbers[0] == dropped + 1
    assert len(numbers) + dropped + sum(more) == numbers[-1]


def test_samples_that_nobody_was_there_for_are_not_kept_and_status_has_the_newest(tmp_path):
    async def newest():
        (session,) = (await onlooker.ask(LocalWay(tmp_path), "status"))["sessions"]
        return session["sample"]["memory_bytes"], session["is_held"]

    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.start({"behaviour": "count"})
            await until(lambda: events.of("runtime_sampled"))
        last = events.seen[-1][0]
        began_at, left_at, is_held = 0, 0, True
        while is_held or left_at < began_at + 20:
            await asyncio.sleep(0.02)
            left_at, is_held = await newest()
            began_at = left_at if is_held else began_at or left_at  # the agent sees a little later that its client left
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT, after_event=last)
            events = Events(session)
            await until(lambda: any(sample.memory_bytes > left_at for sample in events.of("runtime_sampled")))
            await session.end()
        return [sample.memory_bytes for sample in events.of("runtime_sampled")], began_at, left_at

    told, began_at, left_at = run(tmp_path, main())

    assert not [number for number in told if began_at < number < left_at]


def test_a_killed_runtime_is_started_again_with_its_models_and_its_orphans_end(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.sync(Files(app=b"1"))
            await session.start({"behaviour": "keep"})
            pid = (await session.command("status"))["runtime_pid"]
            await until(lambda: events.notices("revision"))
            os.kill(pid, signal.SIGKILL)
            await until(lambda: len(events.notices("revision")) == 2)
            died = events.of("process_died")[0]
            given_back = events.notices("given back")
            await session.end()
            return died.role, died.cause, given_back

    assert run(tmp_path, main()) == ("runtime", "SIGKILL", ["encoder graph weights"])


def test_orphans_of_a_killed_runtime_are_killed(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.start({"behaviour": "fork"})
            await until(lambda: events.notices("forked"))
            orphan = int(events.notices("forked")[0])
            os.kill((await session.command("status"))["runtime_pid"], signal.SIGKILL)
            await until(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan's end")
            await session.end()

    run(tmp_path, main())


def test_a_runtime_that_crashes_three_times_is_left_alone(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.start({"behaviour": "exit"})
            await until(lambda: events.of("runtime_stopped"))
            with pytest.raises(RunnerError, match="none runs"):
                await session.command("probe")
            await session.end()
            return [event.cause for event in events.of("process_died")], events.of("runtime_stopped")[0].problem

    causes, problem = run(tmp_path, main())

    assert causes == ["exit 7"] * 3
    assert "3 times" in problem.message


def test_a_session_left_too_long_ends_and_so_does_the_agent(tmp_path):
    async def main():
        async with connect(tmp_path, "--idle-timeout-s", "0.2") as session:
            await session.open(tmp_path, PROJECT)
            await session.start({})
            pid = (await session.command("status"))["runtime_pid"]
        await until(lambda: not socket_path(tmp_path).exists(), "the agent's end")
        assert not is_alive(pid)

    run(tmp_path, main())


def test_two_clients_that_start_at_once_share_one_agent_and_a_stale_socket_is_no_hindrance(tmp_path):
    path = socket_path(tmp_path)
    path.parent.mkdir(mode=0o700)
    path.touch()

    async def main():
        async with connect(tmp_path) as one, connect(tmp_path) as other:
            await asyncio.gather(one.open(tmp_path, PROJECT), other.open(tmp_path, "12345678"))
            assert (await one.command("status"))["is_held"]
            await asyncio.gather(one.end(), other.end())

    run(tmp_path, main())


def test_a_second_agent_refuses_to_run(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            command = [sys.executable, "-m", "hotloop.remote_runner.agent", "--state", str(tmp_path)]
            second = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=20, check=False)
            await session.end()
            return second.returncode

    assert run(tmp_path, main()) == ALREADY_RUNS_EXIT_CODE


def test_an_agent_of_another_version_is_replaced_if_it_has_no_sessions_else_it_is_said(tmp_path, monkeypatch):
    async def open_one(session, project):
        await session.open(tmp_path, project)

    async def main():
        await local.reach_agent(tmp_path)
        first = int((tmp_path / "agent/pid").read_text())
        monkeypatch.setattr("hotloop.remote_runner.client.__version__", "9.9.9")

        class Way(LocalWay):
            async def dial(self, lane=0):
                adapt()
                return await super().dial(lane)

        def adapt():
            # The agent that is started next is of this test's real version: it must not be asked with the other one.
            if (tmp_path / "agent/pid").read_text() != str(first) or not is_alive(first):
                monkeypatch.setattr("hotloop.remote_runner.client.__version__", __version__)
                session._connection.hello.version = __version__

        session = AgentSession(Way(tmp_path))
        await session.open(tmp_path, PROJECT)
        second = int((tmp_path / "agent/pid").read_text())
        monkeypatch.setattr("hotloop.remote_runner.client.__version__", "9.9.9")
        async with connect(tmp_path) as other:
            with pytest.raises(SessionTakenError, match=r"9\.9\.9"):
                await other.open(tmp_path, "12345678")
        await session.end()
        return first, second

    first, second = run(tmp_path, main())

    assert first != second


def test_a_file_that_the_app_wrote_is_told(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            info = await session.open(tmp_path, PROJECT)
            events = Events(session)
            await session.sync(Files(data=b"1"))
            (Path(info.workspace) / "data.py").write_bytes(b"the app's")
            await session.push(saved("data.py", b"2"))
            await until(lambda: events.of("notice"))
            await session.end()
            return events.of("notice")[0].text

    assert "data.py was written on the runner" in run(tmp_path, main())


def test_an_unknown_command_and_a_wrong_project_id_are_refused(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            with pytest.raises(RunnerError, match="hexadecimal"):
                await session.open(tmp_path, "../../etc")
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            with pytest.raises(RunnerError, match="dance"):
                await session.command("dance")
            await session.end()

    run(tmp_path, main())


def test_the_agent_imports_neither_torch_nor_what_only_the_client_needs():
    code = "import sys, hotloop.remote_runner.agent as a; print([m for m in ('torch','numpy','typer','watchfiles','rich') if m in sys.modules])"

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"


def test_who_asks_for_something_may_be_cancelled_at_any_moment_and_the_stream_goes_on(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            stream = session._connection._stream
            for num_steps in range(40):
                asked = asyncio.create_task(session.command("status"))
                for _ in range(num_steps % 8):
                    await asyncio.sleep(0)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            await session.ping()
            is_same = session._connection._stream is stream
            await session.end()
            return is_same

    assert run(tmp_path, main())


def test_a_line_that_breaks_at_any_byte_loses_no_save(tmp_path):
    async def main():
        line = Line(tmp_path, delay_s=0.001, agent_arguments=("--runtime-command", json.dumps(FAKE_RUNTIME)))
        async with connect_by(line) as session:
            await session.open(tmp_path, PROJECT)
            await session.sync(Files(app=b"a = 0\n"))
            for number in range(1, 30):
                line.cut_after_bytes = 8 * number
                await session.push(saved("app.py", b"a = %d\n" % number))
            content = workspace_files(tmp_path)["app.py"]
            await session.end()
            return content, line.num_dials

    content, num_dials = run(tmp_path, main())

    assert content == b"a = 29\n"
    assert num_dials > 5
