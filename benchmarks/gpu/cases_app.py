"""Ways in which an app uses a GPU, each an endpoint that answers with numbers; `cases.py` compares them with a fresh process's.

GPU_APP_DEVICE says where it runs.
"""

import functools
import os

import layers
import torch

import hotloop
from hotloop import Batch

app = hotloop.App("cases", packages=["torch"])
DEVICE = os.environ.get("GPU_APP_DEVICE", "cuda")
SCALE = 1.0  # edited


@app.model
def net():
    torch.manual_seed(7)  # of the GPU's generator as well: `draw` depends on it
    with torch.device(DEVICE):
        return layers.Net().eval()


@app.model
def tied(net):
    """Shares one weight with another model, and has a tensor that is no parameter."""
    return {"embedding": net.first.weight, "table": torch.arange(8, device=DEVICE) * 2}


@app.model
def int8():
    torch.manual_seed(8)
    return layers.Int8Linear(torch.nn.Linear(64, 64)).to(DEVICE)


@app.endpoint
def draw() -> list[float]:
    return torch.randn(3, device=DEVICE).tolist()


def _input(seed):
    values = torch.arange(64, dtype=torch.float32, device=DEVICE)
    return torch.sin(values * (1 + seed)).reshape(1, 64)


@app.endpoint
def eager(net) -> list[float]:
    with torch.inference_mode():
        return (net(_input(1)) * SCALE).flatten()[:4].tolist()


@functools.cache
def _compiled():
    return torch.compile(layers.gelu_then_norm)


@app.endpoint
def compiled(net) -> list[float]:
    with torch.no_grad():
        return (_compiled()(net.first(_input(2))) * SCALE).flatten()[:4].tolist()


_graphs = {}


@app.endpoint
def graphed(net) -> list[float]:
    """A CUDA graph, captured by the first call of each generation and replayed by the others."""
    if DEVICE != "cuda":
        return eager(net)
    with torch.inference_mode():
        if not _graphs:
            static = _input(1).clone()
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    net(static)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = net(static) * SCALE
            _graphs[0] = graph, static, out
        graph, static, out = _graphs[0]
        static.copy_(_input(1))
        graph.replay()
        return out.flatten()[:4].tolist()


@app.endpoint
def quantised(int8) -> list[float]:
    with torch.inference_mode():
        return (int8(_input(3)) * SCALE).flatten()[:4].tolist()


@app.endpoint
def shared(net, tied) -> list[int]:
    is_one = tied["embedding"] is net.first.weight
    return [int(is_one), int(tied["table"].sum() * SCALE)]


@app.endpoint(batch=Batch(max_size=8))
def batched(number: list[int], net) -> list[float]:
    with torch.inference_mode():
        rows = net(torch.cat([_input(each) for each in number])) * SCALE
        return rows.sum(-1).tolist()


@app.endpoint
def streamed(count: int, net):
    with torch.inference_mode():
        for number in range(count):
            yield f"{float(net(_input(number)).sum() * SCALE):.3f}"


@app.endpoint
async def in_the_loop(net) -> list[float]:
    with torch.inference_mode():
        return (net(_input(4)) * SCALE).flatten()[:4].tolist()


@app.endpoint
def too_large() -> int:
    """More memory than any GPU has."""
    return torch.empty(1 << 50, dtype=torch.uint8, device=DEVICE).numel()


@app.endpoint
def pid() -> int:
    return os.getpid()


@app.probe
def sees_it(client):
    return client.eager()
