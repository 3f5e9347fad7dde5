"""Operations noted in one process run in another, with made-up tensors; on the CPU, which stands in for the GPU here."""

import json
import subprocess
from pathlib import Path

import pytest

SRC = Path(__file__).parents[3] / "src"
SCRIPT = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import torch
from hotloop.gpu_runtime.user_env import operations
from hotloop.gpu_runtime.user_env.app import App

app = App("x")
network = torch.nn.Sequential(
    torch.nn.Embedding(50, 16), torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.nn.Dropout(0.5)
).eval()

def score(ids: list[int]) -> list[float]:
    with torch.inference_mode():
        hidden = network(torch.tensor([ids]))[:, None]
        return torch.nn.functional.scaled_dot_product_attention(hidden, hidden, hidden).sum(-1)[0, 0].tolist()

@app.endpoint
def plain(ids: list[int]) -> list[float]:
    return score(ids)

@app.endpoint
def pieces(ids: list[int]):
    for id in ids:
        yield score([id])

@app.endpoint
def draw() -> float:
    return float(torch.multinomial(torch.ones(3), 1) + 1)  # of zeros, which a standby would take, it is an error

@app.endpoint
async def alone(ids: list[int]) -> list[float]:
    return score(ids)

told = []
def tell(header, payload):
    told.append((header["endpoint"], payload))

torch.compiler.disable(score)  # as transformers does when it is imported: the compiler is there, nothing is compiled
learner = operations.learner(tell, device_type="cpu")
learned = {name: learner.learn(spec).function for name, spec in app.endpoints.items()}
result = {
    "equal": learned["plain"]([1, 2, 3]) == plain([1, 2, 3]) == learned["plain"]([1, 2, 3]),
    "streams": list(learned["pieces"]([4, 5])) == list(pieces([4, 5])) == list(learned["pieces"]([4, 5])),
    "draw": learned["draw"]() > 0,
    "async": learned["alone"] is alone,
    "told": [name for name, _ in told],
}
before = torch.get_rng_state().tolist()
result["ran"] = {name: operations.run_ahead(data) for name, data in told}
result["asked"] = operations.run_ahead(told[0][1], lambda: True)
result["random"] = torch.get_rng_state().tolist() == before
result["noted"] = {name: len(operations.pickle.loads(data)) for name, data in told}
result["attends"] = any("attention" in each.name for each in operations.pickle.loads(told[0][1]))
result["cpu only"] = operations.learner(print) is None
result["known"] = operations.learner(print, {"plain"}, "cpu").learn(app.endpoints["plain"]) is app.endpoints["plain"]
torch.compile(score, backend="eager")
result["compiled"] = operations.learner(print, device_type="cpu") is None
print(json.dumps(result))
"""


@pytest.mark.models
def test_first_calls_are_noted_and_run_ahead_and_answers_and_random_numbers_stay(user_python):
    done = subprocess.run([user_python, "-c", SCRIPT, SRC], capture_output=True, text=True, timeout=50, check=False)

    assert not done.returncode, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["equal"]
    assert result["streams"]
    assert result["draw"]
    assert result["async"]
    assert result["told"] == ["plain", "pieces", "draw"]
    assert result["noted"]["plain"] > 5
    assert result["ran"] == result["noted"]
    assert result["asked"] == 0
    assert result["random"]
    assert result["attends"]
    assert result["cpu only"]
    assert result["known"]
    assert result["compiled"]
