"""What every peer serves, in one place: the same model called by the same function, the same items."""

import json
import os

NUM_ITEMS = 200
MAX_BATCH = 32


def load_embed():
    """Load the model of the project's app, and give its function: texts to vectors, on one thread."""
    import torch

    torch.set_num_threads(1)
    import app

    models = {"encoder": app.encoder(), "tokenizer": app.tokenizer()}
    return lambda texts: app.embed(texts, **models)


def items():
    """Give the small items of the stream."""
    for number in range(NUM_ITEMS):
        yield {"i": number, "text": "token"}


def as_event(item):
    """Write an item as a server-sent event."""
    return f"data: {json.dumps(item, separators=(',', ':'))}\n\n"


def workload():
    """Which of ``embed``, ``echo`` and ``events`` this process serves."""
    return os.environ["WORKLOAD"]


def variant():
    """How: the words after the side's name, such as ``fast-batch``."""
    return os.environ["VARIANT"].split("-")


def port():
    """Give the port to listen on."""
    return int(os.environ["SERVING_PORT"])
