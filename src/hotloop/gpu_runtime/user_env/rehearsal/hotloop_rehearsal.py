# pyright: basic
"""A made-up app with a bit of everything, which a standby imports to warm up; see `rehearse`. It is never served."""

import dataclasses
import functools
from collections.abc import Iterator

from hotloop_rehearsal_part import Part, helper

import hotloop

app = hotloop.App("rehearsal")
TABLE = {"a": [1, 2.0, "x"]}


@dataclasses.dataclass
class Answer:
    """What an endpoint may return."""

    text: str
    score: float = 0.0


@app.model
def model():
    return {"part": Part(3)}


@app.model
def other(model):
    return [model]


@app.endpoint
def plain(text: str, number: int, model) -> str:
    return helper(text) * number


@app.endpoint(batch=hotloop.Batch(max_size=4))
def batched(text: list[str], other) -> list[Answer]:
    return [Answer(each) for each in text]


@app.endpoint
def streamed(text: str, count: int = 2) -> Iterator[str]:
    yield from [text] * count


@app.probe
def probe(client):
    return client.plain(text="x", number=1)


@functools.lru_cache
def cached(number):
    return number + 1
