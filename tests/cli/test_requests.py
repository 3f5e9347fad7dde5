"""What a running session can be asked, over its control socket: a real agent and runtime do it."""

from __future__ import annotations

import pytest
from tests.cli.served import Loop

from hotloop.devloop import control
from hotloop.errors import RunnerError

APP = """
import hotloop

app = hotloop.App("tiny")
PREFIX = "hello"


@app.model
def words():
    return {"end": "!"}


@app.endpoint
def greet(name: str, words) -> str:
    return f"{PREFIX} {name}{words['end']}"


@app.probe
def ada(client):
    return client.greet(name="Ada")


@app.probe
def bo(client):
    return client.greet(name="Bo")
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def served(project):
    opened = []

    def open_(*options):
        opened.append(Loop(project, *options))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def refused(loop, name, **fields):
    with pytest.raises(RunnerError) as caught:
        loop.ask(name, **fields)
    return caught.value.message, caught.value.hint


def test_requests_that_are_wrong_are_refused_with_what_would_be_right(served):
    loop = served()
    loop.until("standby_ready")

    message, hint = refused(loop, "relaod")
    assert message == "this dev serve knows no request 'relaod'"
    assert "it knows status, reload, restart, " in hint
    assert refused(loop, "unpin") == ("the request 'unpin' needs 'pin'", "unpin takes pin")
    assert refused(loop, "unpin", pin=3)[0] == "'pin' of the request 'unpin' is 3, a string was expected"
    assert refused(loop, "stop", now=True) == ("the request 'stop' takes no 'now'", "stop takes no fields")
    assert refused(loop, "probe", probe="eve") == ("no probe is called 'eve'", "there are ada, bo")
    with pytest.raises(RunnerError, match="a request is a JSON object with a name"):
        control.ask(loop.socket, ["status"])
    assert loop.ask("status")["pid"] == loop.process.pid


def test_probes_run_now_all_or_one(served):
    loop = served()
    at = loop.until("probes_finished")[1]

    loop.ask("probe", probe="bo")
    at = loop.until("probes_finished", at, count=1)[1]
    first = [event["report"]["name"] for event in loop.told[:at] if event["kind"] == "probe_reported"]
    loop.ask("probe")
    at = loop.until("probes_finished", at, count=2)[1]

    assert first == ["ada", "bo", "bo"]
    assert [event["report"]["name"] for event in loop.told[:at] if event["kind"] == "probe_reported"] == [
        *first, "ada", "bo",
    ]  # fmt: skip


def test_a_session_is_stopped_when_asked(served):
    loop = served()
    loop.until("iteration_finished")

    loop.ask("stop", reason="stopped in another terminal")

    assert loop.close() == 0
    assert loop.told[-1]["kind"] == "session_ended"
    assert loop.told[-1]["reason"] == "stopped in another terminal"


def save(loop, text):
    (loop.project / "app.py").write_text(text)


def test_a_restart_begins_from_nothing_while_the_old_generation_serves(served):
    loop = served()
    at = loop.until("standby_ready", loop.until("iteration_finished")[1])[1]

    loop.ask("restart")
    started, at = loop.until("iteration_started", at)
    ready, at = loop.until("ready", at)
    finished, at = loop.until("iteration_finished", at)
    loop.ask("reload")
    again, at = loop.until("iteration_finished", at)

    assert started["asked"] == "restart"
    assert (ready["generation"], ready["start"], ready["models"][0]["action"]) == (2, "zygote", "loaded")
    assert (finished["iteration"]["cause"], finished["iteration"]["outcome"]) == ("cold", "ok")
    assert (again["iteration"]["cause"], again["iteration"]["number"]) == ("model", 2)
    assert loop.post(name="Eve") == "hello Eve!"


def test_saves_while_paused_are_kept_back_and_go_as_one(served):
    loop = served()
    at = loop.until("standby_ready", loop.until("iteration_finished")[1])[1]

    assert loop.ask("pause") == {"queued": 0}
    save(loop, APP.replace("hello", "hey"))
    at = loop.until("sync_paused", at, queued=1)[1]
    save(loop, APP.replace("hello", "bye"))
    at = loop.until("sync_paused", at, queued=2)[1]
    before = (loop.ask("status")["is_paused"], loop.post(name="Eve"))
    loop.ask("resume")
    finished, at = loop.until("iteration_finished", at)

    assert before == (True, "hello Eve!")
    assert (finished["iteration"]["number"], finished["iteration"]["outcome"]) == (1, "ok")
    assert finished["iteration"]["feedback_s"] < 20
    assert loop.post(name="Eve") == "bye Eve!"


def test_what_was_kept_back_when_the_session_ended_is_found_by_the_next(served):
    loop = served()
    loop.until("iteration_finished")
    loop.ask("pause")
    save(loop, APP.replace("hello", "hey"))
    loop.until("sync_paused", queued=1)
    loop.ask("stop")
    loop.close()

    again = served()
    again.until("iteration_finished")

    assert again.post(name="Eve") == "hey Eve!"


def test_edits_are_taken_back_on_the_runner_alone_and_the_next_session_has_them_again(served):
    loop = served()
    at = loop.until("standby_ready", loop.until("iteration_finished")[1])[1]
    for greeting in ("hey", "bye"):
        save(loop, APP.replace("hello", greeting))
        at = loop.until("iteration_finished", at)[1]

    told = [loop.ask("undo")]
    undone, at = loop.until("edit_undone", at)
    at = loop.until("iteration_finished", at)[1]
    served_then = [loop.post(name="Eve")]
    told.append(loop.ask("undo"))
    at = loop.until("iteration_finished", at)[1]
    served_then.append(loop.post(name="Eve"))
    refusal = refused(loop, "undo")
    (loop.project / "app.py").touch()  # saved as it is
    finished, at = loop.until("iteration_finished", at)
    served_then.append(loop.post(name="Eve"))
    loop.ask("undo")
    loop.until("iteration_finished", at)
    loop.ask("stop")
    loop.close()
    again = served()
    again.until("iteration_finished")

    assert told == [{"undone": 2, "paths": ["app.py"]}, {"undone": 1, "paths": ["app.py"]}]
    assert (undone["number"], undone["undone"], undone["paths"]) == (3, 2, ["app.py"])
    assert served_then == ["hey Eve!", "hello Eve!", "bye Eve!"]
    assert refusal[0] == "there is no edit to take back"
    assert finished["iteration"]["outcome"] == "ok"
    assert (again.post(name="Eve"), "bye" in (loop.project / "app.py").read_text()) == ("bye Eve!", True)
