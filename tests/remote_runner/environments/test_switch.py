"""A real agent and a real runtime: the environment changes under an app that serves, and nobody notices but by the answers."""

import asyncio
import json
import os
import signal
import time
import urllib.request

import pytest

from hotloop.remote_runner.client import connect
from hotloop.remote_runner.environments.store import Store
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.places import noted_python, runtime_folder, workspace_folder
from tests.remote_runner.environments.index import processes_naming
from tests.remote_runner.test_agent import Events, Files, agents_of, saved, until

PROJECT = "0123456789abcdef"
APP = """
import os

import alpha
import hotloop

app = hotloop.App("tiny", packages=[{packages}])


@app.model
def words():
    return {{"loaded_by": os.getpid()}}


@app.model
def table():
    return {{"made_with": alpha.__version__}}


@app.endpoint
def about(words, table) -> list[str]:
    return [alpha.__version__, str(words["loaded_by"]), "{mark}"]
"""

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("uv_settings")]


def app(*packages, mark=""):
    return APP.format(packages=", ".join(map(repr, packages)), mark=mark).encode()


class Served:
    """One app on a runner of its own, and what is told of it."""

    def __init__(self, session, state):
        self.session = session
        self.state = state
        self.events = Events(session)

    async def start(self, **files):
        self.files = Files(**files)
        await self.session.sync(self.files)
        managed = {"entry": "app.py", "python": ""}
        return await self.session.start(
            {"entry": "app.py", "managed": managed, "environment": dict(os.environ), "port": 0}
        )

    async def until(self, kind, count=1):
        await until(
            lambda: len(self.events.of(kind)) >= count,
            f"{count} {kind} (seen: {[e.kind for _, e in self.events.seen]})",
        )
        return self.events.of(kind)[count - 1]

    async def save(self, content, path="app.py"):
        return await self.session.push(saved(path, content))

    @property
    def address(self):
        return self.events.of("runtime_started")[-1].address

    async def ask(self):
        return await asyncio.to_thread(self.ask_now)

    def ask_now(self):
        request = urllib.request.Request(
            f"{self.address}/about", data=b"{}", headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)


def serve(state, main):
    async def within():
        async with connect(LocalWay(state)) as session:
            await session.open(state, PROJECT)
            served = Served(session, state)
            try:
                return await main(served)
            finally:
                await session.end()

    with agents_of(state):
        return asyncio.run(asyncio.wait_for(within(), 80))


def test_a_save_that_asks_for_another_environment_goes_over_to_it_without_a_lost_request(tmp_path):
    async def main(served):
        await served.start(app=app("alpha<2"))
        await served.until("ready")
        before = await served.ask()
        answers, is_over = [], False

        async def load():
            answers.append(mine := [])
            while not is_over:
                mine.append(await served.ask())

        clients = [asyncio.create_task(load()) for _ in range(3)]
        await served.save(app("alpha>=2"))
        await served.until("environment_ready", 2)
        ready = await served.until("ready", 2)
        after = await served.ask()
        is_over = True
        await asyncio.gather(*clients)
        status = await served.session.command("status")
        return (
            before,
            after,
            answers,
            ready,
            status,
            served.events.of("environment_ready")[1],
            served.events.of("process_died"),
        )

    before, after, answers, ready, status, changed, died = serve(tmp_path, main)

    assert (before[0], after[0]) == ("1.0", "2.0")
    assert before[1] == after[1], ready.models
    for of_one_client in answers:  # of two, the one that asked first may be answered last
        assert of_one_client
        assert [answer[0] for answer in of_one_client] == sorted(answer[0] for answer in of_one_client)
    assert (ready.start, ready.revision, [model.action for model in ready.models]) == (
        "zygote", 2, ["kept", "loaded"],
    )  # fmt: skip
    assert ready.models[1].why == "alpha 1.0 -> 2.0"
    assert changed.changes == ("alpha 1.0 → 2.0",)
    assert status["python"] == changed.python
    assert status["environment"] == changed.digest
    assert died == []


def test_edits_meanwhile_are_served_at_once_and_one_that_waits_comes_along(tmp_path, gate):
    async def main(served):
        await served.start(app=app("alpha<2"))
        await served.until("ready")
        await served.save(app("alpha>=2", "slow", mark="waits"))
        await until(gate.with_name("gate.reached").exists, "the build")
        during = await served.ask()
        await served.save(b"X = 1\n", "other.py")
        edited = await served.until("ready", 2)
        meanwhile = await served.ask()
        gate.touch()
        last = await served.until("ready", 3)
        return during, meanwhile, edited, last, await served.ask()

    during, meanwhile, edited, last, after = serve(tmp_path / "state", main)

    assert (during[0], during[2]) == ("1.0", "")
    assert edited.revision == 3
    assert (meanwhile[0], meanwhile[2]) == ("1.0", "waits")
    assert (last.revision, last.start) == (3, "zygote")
    assert (after[0], after[2]) == ("2.0", "waits")


def test_what_can_not_be_made_changes_nothing_and_the_next_save_that_helps_is_taken(tmp_path):
    async def main(served):
        await served.start(app=app("alpha<2"))
        first = await served.until("environment_ready")
        await served.until("ready")
        await served.save(app("nowhere>=3", mark="bad"))
        failed = await served.until("environment_failed")
        old = await served.ask()
        await served.save(app("alpha<2").replace(b"import alpha", b"import gamma"))
        lacking = await served.until("reload_failed")
        await served.save(app("alpha<2"))
        await served.until("ready", 2)
        await served.save(b"X = 1\n", "other.py")  # does not ask for anything: goes on as usual
        await served.until("ready", 3)
        await served.save(app("alpha>=2", mark="good"))
        await served.until("ready", 4)
        return first, failed, lacking, old, await served.ask(), len(served.events.of("environment_failed"))

    first, failed, lacking, old, new, num_failed = serve(tmp_path, main)

    assert failed.problem.type == "NotResolvable"
    assert (failed.problem.where.file, failed.problem.where.line) == ("app.py", 7)
    assert (failed.serving, failed.revision) == (first.digest, 2)
    assert lacking.problem.hint.startswith("add gamma to what the app asks for: its lock, requirements.txt")
    assert (old[0], old[2]) == ("1.0", "")
    assert (new[0], new[2]) == ("2.0", "good")
    assert num_failed == 1


def test_going_back_needs_no_uv(tmp_path):
    async def main(served):
        await served.start(app=app("alpha<2"))
        await served.until("ready")
        for count, wanted in enumerate(("alpha>=2", "alpha<2"), 2):
            await served.save(app(wanted))
            await served.until("ready", count)
        return served.events.of("environment_ready"), await served.ask()

    (first, _, back), answer = serve(tmp_path, main)

    assert (back.digest, back.was_cached) == (first.digest, True)
    assert answer[0] == "1.0"


def test_a_save_that_goes_back_ends_the_build_and_is_served_at_once(tmp_path, gate):
    state = tmp_path / "state"

    async def main(served):
        await served.start(app=app("alpha<2"))
        await served.until("ready")
        await served.save(app("alpha<2", "slow", mark="slow"))
        await until(gate.with_name("gate.reached").exists, "the build")
        await served.save(app("alpha<2", mark="back"))
        await served.until("ready", 2)
        await until(lambda: not processes_naming(state / "environments/locks"), "the end of uv")
        return await served.ask(), served.events.of("environment_failed"), served.events.of("environment_ready")

    answer, failed, made = serve(state, main)

    assert (answer[0], answer[2]) == ("1.0", "back")
    assert failed == []
    assert len(made) == 1


def test_a_runtime_that_dies_afterwards_comes_back_in_the_new_environment(tmp_path):
    async def main(served):
        await served.start(app=app("alpha<2"))
        await served.until("ready")
        await served.save(app("alpha>=2"))
        await served.until("ready", 2)
        noted = noted_python(runtime_folder(workspace_folder(served.state, PROJECT)))
        os.kill((await served.session.command("status"))["runtime_pid"], signal.SIGKILL)
        await served.until("ready", 3)
        return noted, await served.ask(), served.events.of("environment_ready")[1].python

    noted, answer, python = serve(tmp_path, main)

    assert str(noted) == python
    assert answer[0] == "2.0"


def test_a_requirements_file_is_followed_and_says_what_it_overrules(tmp_path):
    async def main(served):
        files = Files(app=app("alpha<2"))
        files.contents["requirements.txt"] = b"alpha>=2\n"
        await served.session.sync(files)
        made = await served.session.command("environment", entry="app.py")
        ready = await served.until("environment_ready")
        await served.save(b"alpha<2\n", "requirements.txt")
        return made, ready, await served.until("environment_ready", 2)

    made, first, second = serve(tmp_path, main)

    assert (made["python"], made["digest"]) == (first.python, first.digest)
    assert (first.source, first.overruled) == ("requirements.txt", "packages=[...] of app.py")
    assert second.changes == ("alpha 2.0 → 1.0",)


def test_a_first_environment_that_fails_is_made_by_the_save_that_corrects_it(tmp_path):
    async def main(served):
        with pytest.raises(Exception, match="nowhere"):
            await served.start(app=app("nowhere"))
        failed = await served.until("environment_failed")
        await served.save(app("alpha>=2"))
        ready = await served.until("environment_ready")
        return failed, ready

    failed, ready = serve(tmp_path, main)

    assert failed.serving == ""
    assert ready.revision == 2


def test_an_agent_that_is_killed_amid_a_build_leaves_nothing_half_and_the_next_one_makes_it(tmp_path, gate):
    state = tmp_path / "state"

    async def main(served):
        starting = asyncio.create_task(served.start(app=app("alpha<2", "slow")))
        await until(gate.with_name("gate.reached").exists, "the build")
        killed = int((state / "agent/pid").read_text())
        os.kill(killed, signal.SIGKILL)
        await until(
            lambda: any(e.phase == "wait" for e in served.events.of("environment_progress")), "waiting for the orphan"
        )
        in_between = Store(state).all()
        gate.touch()
        await starting
        ready = await served.until("ready")
        return killed, int((state / "agent/pid").read_text()), in_between, ready, await served.ask()

    killed, alive, in_between, ready, answer = serve(state, main)

    assert killed != alive
    assert in_between == []
    assert ready.generation == 1
    assert answer[0] == "1.0"


def test_a_session_that_ends_amid_a_build_leaves_no_process(tmp_path, gate):
    state = tmp_path / "state"

    async def main(served):
        starting = asyncio.create_task(served.start(app=app("slow")))
        await until(gate.with_name("gate.reached").exists, "the build")
        await served.session.end()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

    async def within():
        async with connect(LocalWay(state)) as session:
            await session.open(state, PROJECT)
            await main(Served(session, state))

    with agents_of(state):
        asyncio.run(asyncio.wait_for(within(), 60))
        deadline_s = time.monotonic() + 10
        while (left := processes_naming(state / "environments")) and time.monotonic() < deadline_s:
            time.sleep(0.02)

    assert left == []
