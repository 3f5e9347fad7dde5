"""A GPU's random generators are read and set as torch has them. The generators are stand-ins with torch's own format."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

SRC = Path(__file__).parents[4] / "src"
ASK = """
import json
import struct
import sys

sys.path.insert(0, sys.argv[1])
import torch

from hotloop.gpu_runtime.user_env.fingerprint import ambient, gpu_generators


class Generator:
    def __init__(self):
        self.state = (1 << 60, 0)  # as torch seeds it by itself

    def manual_seed(self, seed):
        self.state = (seed % (1 << 64), 0)

    def get_state(self):
        return torch.tensor(list(struct.pack("<Qq", *self.state)), dtype=torch.uint8)

    def set_state(self, state):
        self.state = struct.unpack("<Qq", bytes(state.tolist()))


found = []


def look(what):
    found.append([what, gpu_generators.read(torch), "the GPU" in ambient.seeded()])


look("untouched")
torch.manual_seed(7)
look("seeded with all")
torch.cuda.manual_seed_all(8)
torch.cuda.manual_seed(9)
look("seeded last by itself")
gpu_generators.write(torch, [(5, 12)])
look("set ahead of its first use")

torch.cuda.default_generators = (Generator(), Generator())
torch.cuda.is_initialized = lambda: True
look("in use")
for callback, _ in filter(None, torch.cuda._lazy_seed_tracker.get_calls()[-1:]):
    callback()
look("in use after what was set ahead")
gpu_generators.write(torch, [(5, 16), (6, 0)])
look("set")
print(json.dumps(found))
"""


@pytest.mark.models
def test_seeds_and_counts_are_read_and_set_before_and_after_a_gpu_is_first_used(user_python: Path) -> None:
    done = subprocess.run(
        [str(user_python), "-c", ASK, str(SRC)], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["untouched", [], False],
        ["seeded with all", [[7, 0]], True],
        ["seeded last by itself", [[9, 0]], True],
        ["set ahead of its first use", [[5, 12]], True],
        ["in use", [[1 << 60, 0], [1 << 60, 0]], False],
        ["in use after what was set ahead", [[5, 12], [5, 12]], True],
        ["set", [[5, 16], [6, 0]], True],
    ]
