"""What is said to do next when a real torch program fails as people's programs do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

SRC = str(Path(__file__).parents[3] / "src")

CASES = """
import pickle
import threading

import numpy
import hotloop
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.fc = nn.Linear(4, 5, **options)
        self.table = nn.Embedding(10, 4)
        self.stack = nn.Sequential(nn.ReLU(), nn.Linear(4, 5))

    def forward(self, x):
        return self.fc(
            x
        )


class Tricky:
    @property
    def shape(self):
        raise SystemExit("the user's code ran")


def matrix():
    net, x = Net(), torch.ones(2, 3)
    net(x)

def broadcast():
    a, b = torch.ones(2, 3), torch.ones(2, 4)
    a + b

def reshape():
    batch = {"x": 1}
    flat = torch.ones(5)
    flat.view(2, 3)

def joined():
    parts, tricky = [torch.ones(2, 3), torch.ones(3, 4)], Tricky()
    torch.cat(parts if tricky else None)

def arrays():
    left, right = numpy.ones((2, 3)), numpy.ones(4)
    left + right

def index():
    net, ids = Net(), torch.tensor([12])
    net.table(ids)

def half():
    net, x = Net(), torch.ones(2, 4, dtype=torch.float16)
    net.stack(x)

def half_within():
    net, x = Net(), torch.ones(2, 4)
    net.fc(x.half())

def asked():
    raise hotloop.ClientError(500, "RuntimeError", "no", hint="take another", where="app.py:3")

def ids_are_floats():
    net, ids = Net(), torch.ones(2)
    net.table(ids)

def devices():
    net, x = Net(device="meta"), torch.ones(2, 4)
    net.fc(x)

def memory():
    cache = torch.ones(1000, 500)
    torch.empty(10 ** 13)

def state():
    Net().load_state_dict({"fc.weight": torch.ones(5, 3)})

def wrapped():
    nn.Linear(4, 5).load_state_dict({"module.weight": torch.ones(5, 4)})

def weights():
    torch.load("models/weights.pt")

def elsewhere():
    open("/nowhere/weights.gguf")

def lambdas():
    pickle.dumps(lambda: 1)

def locks():
    pickle.dumps({"lock": threading.Lock()})

def gpu():
    raise AssertionError("Torch not compiled with CUDA enabled")

def nothing():
    raise ValueError("42 is no answer")
"""

RUN = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from hotloop.gpu_runtime.user_env import problem
from hotloop.gpu_runtime.user_env.source import Project

project = Project(sys.argv[1])
project.install()
import cases

def hint(name):
    try:
        getattr(cases, name)()
    except Exception as error:
        return problem.from_exception(error, project, (), [("model llm", 14_200_000_000), ("model head", 900)])["hint"]
    return "nothing was raised"

names = [name for name, value in vars(cases).items() if getattr(value, "__module__", "") == "cases" and not isinstance(value, type)]
print(json.dumps({name: hint(name) for name in names} | {"python": sys.executable}))
"""

WANTED = {
    "matrix": "shapes: self.fc.weight [5, 4] float32 cpu, x [2, 3] float32 cpu",
    "broadcast": "shapes: a [2, 3] float32 cpu, b [2, 4] float32 cpu",
    "reshape": "shapes: flat [5] float32 cpu",
    "joined": "shapes: parts[0] [2, 3] float32 cpu, parts[1] [3, 4] float32 cpu",
    "arrays": "shapes: left [2, 3] float64, right [4] float64",
    "index": "an id is not below the number of rows of the embedding: "
    "net.table.weight [10, 4] float32 cpu, ids [1] int64 cpu",
    "half": "convert one of them, such as x.to(torch.float32); types: "
    "net.stack.1.weight [5, 4] float32 cpu, x [2, 4] float16 cpu",
    "half_within": "convert one with .to(dtype); types: net.fc.weight [5, 4] float32 cpu, x [2, 4] float32 cpu",
    "asked": "take another",
    "ids_are_floats": "ids are whole numbers: ids.long(); types: net.table.weight [10, 4] float32 cpu, ids [2] float32 cpu",
    "devices": "move one of them, such as x.to('meta'); devices: net.fc.weight [5, 4] float32 meta, x [2, 4] float32 cpu",
    "memory": "largest in memory: model llm 14 GB, cache [1000, 500] float32 2.0 MB, model head 900 B; "
    "take a smaller batch (Batch(max_size=...)), torch.inference_mode(), or a smaller type for the weights",
    "state": "the weights are of another architecture than this class: build it as it was when they were saved",
    "wrapped": "these were saved from a wrapped model: take 'module.' off their names before load_state_dict",
    "weights": "models/weights.pt is not in the workspace, where the app runs: dev sync --why models/weights.pt says "
    "whether it is synced",
    "elsewhere": "a path is looked up where the app runs; what lies in the project is there by its relative path",
    "lambdas": "what is pickled is found by its name: define it at the top of a module, with def or class",
    "locks": "such a thing can't leave its process: make it where it is used, and keep it out of what is passed on or returned",
    "gpu": "the Python that runs the app ({python}) sees no GPU: choose a runner that has one, or device='cpu'",
    "nothing": "",
}


@pytest.mark.models
def test_each_failure_says_what_to_do_next_with_the_shapes_types_or_holders_that_matter(user_python, tmp_path):
    (tmp_path / "cases.py").write_text(CASES)

    done = subprocess.run(
        [user_python, "-c", RUN, str(tmp_path), SRC], capture_output=True, text=True, timeout=50, check=False
    )

    assert not done.returncode, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    python = told.pop("python")
    assert told == {name: hint.format(python=python) for name, hint in WANTED.items()}
