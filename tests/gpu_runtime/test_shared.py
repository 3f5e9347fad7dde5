"""What models have in common, with each other and with the modules, is one object in each generation too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver

APP = """
import hotloop
app = hotloop.App("shared")
CACHE = {}

class Net:
    def __init__(self):
        self.calls = []
        self.parts = {"head": [1]}

class Wrap:
    def __init__(self, net, cache):
        self.net, self.calls, self.cache = net, net.calls, cache

@app.model
def net():
    return Net()

@app.model
def wrapped(net):
    return Wrap(net, CACHE)

@app.model
def again(wrapped):
    return {"wrapped": wrapped, "own": [0]}

@app.endpoint
def seen(net, wrapped, again) -> list:
    CACHE["a"] = net.parts["b"] = 2
    net.calls.append(3)
    are_same = [wrapped.net is net, wrapped.calls is net.calls, again["wrapped"] is wrapped, wrapped.cache is CACHE]
    return [are_same, again["wrapped"].net.parts, wrapped.calls, wrapped.cache]
"""
TORCH = """
import hotloop
import torch
app = hotloop.App("shared")

@app.model
def base():
    return torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 300))

@app.model
def head(base):
    return base[1]

@app.model
def tuned(base):
    return torch.nn.Sequential(base, torch.nn.Linear(300, 2))

@app.model
def part(base):
    return base[0].weight.detach()[:2]

@app.endpoint
def seen(base, head, tuned, part) -> list:
    base[0].weight.data.fill_(7)
    return [head is base[1], tuned[0] is base, tuned[0][0].weight is base[0].weight, part[0, 0].item()]
"""


def answers(tmp_path: Path, app: str, edited: str, **options: Any) -> tuple[list[Any], events.Ready, events.Ready]:
    with RuntimeDriver(tmp_path, {"app.py": app}, **options) as driver:
        first = driver.wait_reload(1)
        answer = [driver.call("seen").json]
        kept = driver.wait_reload(driver.save({"app.py": app + "# edited\n"}))
        answer.append(driver.call("seen").json)
        loaded = driver.wait_reload(driver.save({"app.py": edited}))
        answer.append(driver.call("seen").json)
    assert isinstance(first, events.Ready), first
    assert isinstance(kept, events.Ready), kept
    assert isinstance(loaded, events.Ready), loaded
    assert {model.action for model in kept.models} == {"kept"}
    return answer, first, loaded


def test_what_models_share_is_one_object_after_each_reload(tmp_path: Path):
    cold = [[True, True, True, True], {"head": [1], "b": 2}, [3], {"a": 2}]

    answer, _, loaded = answers(tmp_path, APP, APP.replace("[0]", "[1]"))

    assert answer == [cold] * 3
    assert {model.name: model.action for model in loaded.models} == {
        "net": "kept", "wrapped": "kept", "again": "loaded",
    }  # fmt: skip


@pytest.mark.models
@pytest.mark.timeout(120)
def test_weights_that_models_share_are_in_memory_once(tmp_path: Path, user_python: Path):
    edited = TORCH.replace("300, 2)", "300, 3)")

    answer, first, loaded = answers(tmp_path, TORCH, edited, python=str(user_python))

    assert answer == [[True, True, True, 7.0]] * 3
    assert [model.name for model in loaded.models if model.action == "loaded"] == ["tuned"]
    sizes = {model.name: model.size_bytes for model in first.models}
    assert sizes["base"] > 2 * 300 * 300 * 4
    assert max(size for name, size in sizes.items() if name != "base") < 300 * 300
