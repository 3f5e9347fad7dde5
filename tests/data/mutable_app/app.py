import functools
import json
import os

import hotloop
from config import LIMITS, SCALE, Mode
from decorate import doubled, tagged
from parts import build, shapes
from parts.pipeline import Pipeline, make_steps

app = hotloop.App("mutable")
REGISTRY = {}
OFFSET = 3


def register(name):
    def wrap(function):
        REGISTRY[name] = function
        return function

    return wrap


@register("plus")
def plus(x, amount=2):
    return x + amount


@register("times")
def times(x, amount=4):
    return x * amount


@functools.lru_cache(maxsize=8)
def cached(x):
    return x * SCALE + OFFSET


@app.model
def table():
    with open("data/weights.json") as file:
        weights = json.load(file)
    return {"weights": weights, "scaled": [w * SCALE for w in weights["values"]], "mode": Mode.FAST.value}


@app.model
def net(table):
    made = shapes.Square(build.size(3), weight=table["scaled"][0])
    made.note = build.describe("net", 5)
    return made


@app.model
def words():
    found = []
    for name in sorted(os.listdir("data")):
        if name.endswith(".txt"):
            with open(os.path.join("data", name)) as file:
                found.append(file.read().strip())
    return build.Vocabulary(found, sep="-")


@app.model
def pipeline(net):
    return Pipeline(make_steps(2, 7), seed=build.SEED, start=net.side)


@app.model
def rows(table):
    import json
    import random
    import string
    from collections import OrderedDict

    from late import names, tables

    made = tables.make(4)
    found = OrderedDict((row.key, row.scaled()) for row in made)
    random.seed(tables.total(made))
    return {"found": json.dumps(found), "drawn": random.randrange(100), "last": string.capwords(names.key(9))}


@app.endpoint
def late(x: int, rows) -> dict:
    import mimetypes

    return {"rows": rows, "kind": mimetypes.guess_type("a.late")[0], "x": x}


@app.endpoint
def numbers(x: int, table, net) -> dict:
    total = sum(table["scaled"]) + x
    return {
        "total": total,
        "area": net.area(),
        "label": net.label(),
        "note": net.note,
        "mode": table["mode"],
        "cached": cached(x),
        "limit": LIMITS.get("high", 10) - LIMITS.get("low", 1),
    }


@app.endpoint
def text(x: int, words, pipeline) -> dict:
    return {
        "joined": words.joined(),
        "first": words.first(upper=True),
        "run": pipeline.run(x + 1),
        "names": sorted(REGISTRY),
        "registry": [REGISTRY[name](x) for name in sorted(REGISTRY)],
    }


@app.endpoint
@tagged("t", 1)
def decorated(x: int) -> dict:
    value = doubled(plus)(x, 6)
    match Mode(value % 2):
        case Mode.FAST:
            return {"mode": "fast", "value": value + OFFSET}
        case Mode.SLOW:
            return {"mode": "slow", "value": value - OFFSET}
