"""A language model of the Llama shape with random weights, made on the GPU: what the loop is tried with there.

GPU_APP_LAYERS says how many layers of 0.4 GB it has, GPU_APP_DEVICE where it lies.
"""

import os

import torch
from head import Head, Steered
from transformers import LlamaConfig, LlamaForCausalLM

import hotloop

app = hotloop.App("gpu", packages=["torch", "transformers"])

PROMPT = [1, 20, 300, 4000]  # edit 1
TOKENS = 8
SEED = 7  # the loader reads it


@app.model
def llm():
    device = os.environ.get("GPU_APP_DEVICE", "cuda")
    layers = int(os.environ.get("GPU_APP_LAYERS", "32"))
    torch.manual_seed(SEED)
    wide = 4096 if device == "cuda" else 256
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=wide,
        intermediate_size=wide * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=2048,
    )
    with torch.device(device):
        return Head(LlamaForCausalLM(config).to(torch.bfloat16).eval())


@app.model
def steered(llm):
    return Steered(llm)


@app.endpoint(idempotent=True)
def generate(prompt: list[int], llm) -> list[int]:
    with torch.inference_mode():
        return llm.generate(prompt, TOKENS)


@app.endpoint
def first_steps(llm) -> list[int]:
    return llm.first_steps_ms


@app.endpoint
def is_shared(llm, steered) -> bool:
    return steered.is_over(llm)


@app.endpoint
def spoil(llm) -> bool:
    with torch.no_grad():
        next(llm.parameters()).mul_(-1)
        return bool(next(llm.parameters()).sum().isfinite())


@app.endpoint
def pid() -> int:
    return os.getpid()


@app.probe
def hello(client):
    return client.generate(prompt=PROMPT)
