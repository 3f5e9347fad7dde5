"""Local variables of a failure, asked of a real `dev serve`: a save that fails, a call that fails, what is gone."""

from __future__ import annotations

import asyncio
import json
import urllib.error

import pytest
from tests.cli.served import Loop

from hotloop.cli import keys
from hotloop.cli.on import way_to_onlook
from hotloop.devloop import control, inspecting
from hotloop.remote_runner import onlooker
from hotloop.variables import KeptFailure, Locals, Variable, VariableFrame

APP = """
import hotloop

app = hotloop.App("tiny")


@app.model
def words():
    return {"end": "!"}


@app.endpoint
def greet(name: str, words) -> str:
    rows, password = [[0.5] * 384] * 32, "swordfish"
    return name + words[name]


@app.probe
def ada(client):
    seen = ["a", "b", "c"]
    assert seen == ["a"]
"""
BROKEN = APP.replace(
    'return {"end": "!"}', 'layers, api_key = list(range(1000)), "swordfish"\n    return {"end": layers[2000]}'
).replace('    assert seen == ["a"]\n', "")

pytestmark = pytest.mark.timeout(120)


def test_local_variables_of_a_start_a_probe_and_a_call_that_failed(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    loop = Loop(tmp_path)
    try:
        reported, at = loop.until("probe_reported")
        at = loop.until("standby_ready", loop.until("iteration_finished", at)[1])[1]
        probe = loop.ask("locals", failure=reported["report"]["problem"]["failure"])["failure"]
        with pytest.raises(urllib.error.HTTPError):
            loop.post(name="Eve")
        call = loop.ask("locals")["failure"]
        agent = way_to_onlook(tmp_path, None)
        seen = asyncio.run(onlooker.ask(agent, "locals", project_id=control.project_id(tmp_path), failure=call["id"]))
        (tmp_path / "app.py").write_text(BROKEN)
        failed, at = loop.until("reload_failed", at)
        start = loop.ask("locals", failure=failed["problem"]["failure"])
        gone = loop.ask("locals", failure="0123456789ab")
    finally:
        loop.close()

    assert (probe["of"], probe["name"], values(probe)["seen"]) == ("probe", "ada", "list of 3: ['a', 'b', 'c']")
    assert (call["of"], call["type"]) == ("call", "KeyError")
    assert seen["failure"]["frames"] == call["frames"]  # of who only looks on, from the agent
    assert values(call)["rows"].startswith("list of 32: [list of 384: [0.5, ")
    assert values(call)["password"] == "hidden: its name looks like a secret's"
    assert (start["failure"]["of"], start["failure"]["where"].split(":")[0]) == ("start", "app.py")
    assert values(start["failure"])["layers"].startswith("list of 1,000: [0, 1, ")
    assert values(start["failure"])["api_key"] == "hidden: its name looks like a secret's"
    assert [each["type"] for each in start["kept"]] == ["IndexError", "KeyError", "AssertionError"]
    assert gone["failure"] is None
    assert "swordfish" not in json.dumps([probe, call, start])
    # Nothing of it is told unasked, or written anywhere.
    for text in ("list of 1,000", "list of 384"):
        assert text not in json.dumps(loop.told)
        for folder in (tmp_path / ".hotloop", control.state_folder()):
            assert not [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


HOSTED = """
import hotloop

app = hotloop.App("tiny")


@app.model(hosted=True)
def words():
    sizes = [384] * 12
    raise ValueError("no weights")


@app.endpoint
def greet(name: str, words) -> str:
    return name
"""


def test_local_variables_of_a_hosted_model_outlive_the_process_that_loaded_it(tmp_path):
    (tmp_path / "app.py").write_text(HOSTED)
    loop = Loop(tmp_path)
    try:
        failed = loop.until("reload_failed")[0]
        failure = loop.ask("locals", failure=failed["problem"]["failure"])["failure"]
    finally:
        loop.close()

    assert (failure["of"], failure["name"], failure["type"]) == ("model", "words", "ValueError")
    assert values(failure)["sizes"].startswith("list of 12: [384, ")


def values(failure):
    return {each["name"]: each["value"] for each in failure["frames"][0]["variables"]}


def test_plain_lines_give_those_of_the_newest_failure_for_a_key():
    assert keys.KEYS["i"] == "locals"
    frame = VariableFrame("app.py", 7, "f", "x = y", (Variable("y", "list of 0"),), num_more=1)
    lines = inspecting.lines_of(Locals(KeptFailure("a", "call", "KeyError", "app.py:7", age_s=3, frames=(frame,))))
    assert lines == [
        "KeyError: a call failed 3.00 s ago", "  app.py:7 in f", "    x = y", "      y = list of 0", "      1 more name",
    ]  # fmt: skip
    assert inspecting.lines_of(Locals()) == ["No failure has local variables that are kept."]
