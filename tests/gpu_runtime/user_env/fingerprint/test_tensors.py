"""Tensors that the project's modules hold are told apart by their memory, at once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

SRC = Path(__file__).parents[4] / "src"
ASK = """
import json
import sys

sys.path.insert(0, sys.argv[1])
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from hotloop.gpu_runtime.user_env.fingerprint.values import Canon, digest


def refuse(*_):
    raise AssertionError("byte by byte")


torch.UntypedStorage.__getitem__ = refuse  # a call for each byte: a million numbers took 49 s
base = torch.arange(6.0)
two = [[base[:2], base[2:]], [base[:2], torch.arange(2.0, 6.0)]]
with FakeTensorMode():
    fake = torch.ones(2)
found = [digest(torch.ones(3)), digest(torch.ones(3)), digest(torch.zeros(3)), *map(digest, two), digest(fake)]
generator = torch.Generator().manual_seed(1)
quick = [Canon(None, is_quick=True).digest(generator) for _ in range(2)]
torch.rand(1, generator=generator)
quick.append(Canon(None, is_quick=True).digest(generator))
print(json.dumps([len(set(found)), found[0] == found[1], quick[0] == quick[1] != quick[2]]))
"""


@pytest.mark.models
def test_digest_of_a_tensor_is_of_its_memory_taken_whole(user_python: Path) -> None:
    done = subprocess.run(
        [str(user_python), "-c", ASK, str(SRC)], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [5, True, True]
