"""Declaring an app: decorators take notes, and mistakes name their place."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys

import pytest

import hotloop
from hotloop.gpu_runtime.user_env.app import App, AppError, Batch, EndpointSpec

HEAD = "import hotloop\napp = hotloop.App('search')\n"


def test_decorated_functions_stay_the_same_objects():
    app = App("search")

    def encoder():
        return len

    def weights():
        return 1

    def embed(text, encoder):
        return [encoder(entry) for entry in text]

    def probe(client):
        return client

    assert app.model(encoder) is encoder
    assert app.model(hosted=True)(weights) is weights
    assert app.endpoint(embed) is embed
    assert app.probe(probe) is probe
    assert embed(["ab"], encoder=len) == [2]


def test_specs_hold_what_was_declared(user):
    module = user.load(
        HEAD
        + """
@app.model(hosted=True)
def encoder(weights, n=3):
    return 1

@app.endpoint(path="/v1/embed", methods=["post", "put"], batch=hotloop.Batch(max_size=8), idempotent=True)
def embed(text: list[str], encoder):
    return text

@app.endpoint(
    concurrency=2,
)
async def tokens(text: str):
    yield text

@app.probe
async def similar(client):
    return 1
"""
    )

    app = module.app
    model, probe = app.models["encoder"], app.probes["similar"]
    assert (model.parameters, model.hosted, model.loader) == (("weights", "n"), True, module.encoder)
    assert (user.shown(model.file), model.line) == ("shop.py", 5)
    file = str(user.folder / "shop.py")
    assert app.endpoints["embed"] == EndpointSpec(
        "embed",
        module.embed,
        inspect.signature(module.embed),
        "/v1/embed",
        ("POST", "PUT"),
        Batch(8),
        "sync",
        False,
        True,
        64,
        file,
        9,
    )
    assert app.endpoints["tokens"] == EndpointSpec(
        "tokens",
        module.tokens,
        inspect.signature(module.tokens),
        "/tokens",
        (),
        None,
        "async",
        True,
        False,
        2,
        file,
        15,
    )
    assert (probe.parameters, probe.kind, probe.line) == (("client",), "async", 19)
    assert (user.shown(app.file), app.line) == ("shop.py", 2)


@pytest.mark.parametrize(
    ("source", "kind", "is_stream"),
    [
        ("def f(): return 1", "sync", False),
        ("def f(): yield 1", "sync", True),
        ("async def f(): return 1", "async", False),
        ("async def f(): yield 1", "async", True),
        ("async def g(): return 1\n@functools.wraps(g)\ndef f(): return g()", "async", False),
        ("def g(): yield 1\n@functools.wraps(g)\ndef f(): return g()", "sync", True),
    ],
)
def test_kind_of_a_function_is_seen_through_decorators(user, source, kind, is_stream):
    module = user.load(f"import functools\n{HEAD}{source}\napp.endpoint(f)\n")

    (spec,) = module.app.endpoints.values()
    assert (spec.kind, spec.is_stream) == (kind, is_stream)


MISTAKES = [
    (
        "def a(): pass\napp.model(a)\ndef a(): pass\napp.model(a)",
        "two models are called 'a': shop.py:3 and shop.py:5",
        "shop.py:5",
    ),
    (
        "@app.endpoint\ndef a(): pass\n\n@app.endpoint\ndef a(): pass",
        "two endpoints are called 'a': shop.py:4 and shop.py:7",
        "shop.py:7",
    ),
    (
        "@app.probe\ndef a(): pass\n@app.probe\ndef a(): pass",
        "two probes are called 'a': shop.py:4 and shop.py:6",
        "shop.py:6",
    ),
    ("app.model(3)", "@app.model was given 3: expected a function", "shop.py:3"),
    ("@app.endpoint\nclass A: pass", "@app.endpoint was given the class A: expected a function", "shop.py:3"),
    ("app.probe(len)", "@app.probe was given <built-in function len>: expected a function", "shop.py:3"),
    ("app.model(lambda: 1)", "@app.model was given a lambda at shop.py:3: it has no name", "shop.py:3"),
    (
        "@app.endpoint\ndef a(x, /): pass",
        "endpoint 'a' at shop.py:4 takes 'x' as positional only: parameters are given by name",
        "shop.py:4",
    ),
    (
        "@app.endpoint\ndef a(*xs): pass",
        "endpoint 'a' at shop.py:4 takes *xs: parameters are given by name",
        "shop.py:4",
    ),
    ("@app.model\ndef a(**xs): pass", "model 'a' at shop.py:4 takes **xs: parameters are given by name", "shop.py:4"),
    (
        "@app.endpoint(path='x')\ndef a(): pass",
        "endpoint 'a' at shop.py:4 has path='x': expected a fixed path that begins with '/'",
        "shop.py:4",
    ),
    (
        "@app.endpoint(path='/{id}')\ndef a(): pass",
        "endpoint 'a' at shop.py:4 has path='/{id}': expected a fixed path that begins with '/'",
        "shop.py:4",
    ),
    (
        "@app.endpoint(methods=['FETCH'])\ndef a(): pass",
        "endpoint 'a' at shop.py:4 has methods=['FETCH']: expected some of DELETE, GET, PATCH, POST, PUT",
        "shop.py:4",
    ),
    (
        "@app.endpoint(methods=[])\ndef a(): pass",
        "endpoint 'a' at shop.py:4 has methods=[]: expected some of DELETE, GET, PATCH, POST, PUT",
        "shop.py:4",
    ),
    (
        "@app.endpoint(batch=3)\ndef a(): pass",
        "endpoint 'a' at shop.py:4 has batch=3: expected a hotloop.Batch",
        "shop.py:4",
    ),
    (
        "@app.endpoint(concurrency=0)\ndef a(): pass",
        "endpoint 'a' at shop.py:4 has concurrency=0: expected a whole number, 1 or more",
        "shop.py:4",
    ),
    (
        "@app.probe\ndef a(): yield 1",
        "probe 'a' is a generator: expected a function that returns its result",
        "shop.py:4",
    ),
    ("\nhotloop.Batch(max_size=0)", "Batch(max_size=0): expected a whole number, 1 or more", "shop.py:4"),
    ("hotloop.Batch(max_size=True)", "Batch(max_size=True): expected a whole number, 1 or more", "shop.py:3"),
    ("hotloop.Batch(max_wait_ms=-1)", "Batch(max_wait_ms=-1): expected milliseconds, 0 to 60000", "shop.py:3"),
    *(
        (
            f"hotloop.Batch(key={key})",
            f'Batch(key={key}): expected a function of one request, such as len, or "auto", or a number above 0',
            "shop.py:3",
        )
        for key in ("0", "-1", "'len'", "True")
    ),
    ("hotloop.Batch(key=1, max_cost=0)", "Batch(max_cost=0): expected a number above 0", "shop.py:3"),
    ("hotloop.Batch(max_cost=9)", "Batch(max_cost=9): expected a key beside it, for it counts sizes", "shop.py:3"),
    ("hotloop.Batch(target_ms=0)", "Batch(target_ms=0): expected milliseconds, above 0 to 60000", "shop.py:3"),
    ("hotloop.Batch(target_ms=60001)", "Batch(target_ms=60001): expected milliseconds, above 0 to 60000", "shop.py:3"),
    (
        "hotloop.Batch(max_wait_ms=1, target_ms=5)",
        "Batch(target_ms=5): expected no max_wait_ms beside it",
        "shop.py:3",
    ),
    (
        "\nhotloop.Batch(on_error='retry')",
        'Batch(on_error=\'retry\'): expected "fail" or "bisect" or "single"',
        "shop.py:4",
    ),
    ("hotloop.App('')", "App(''): expected the app's name", "shop.py:3"),
    (
        "hotloop.App('a', packages='torch')",
        "App('a', packages='torch'): expected a list of requirements",
        "shop.py:3",
    ),
    ("hotloop.App('a', replicas=0)", "App('a', replicas=0): expected a whole number from 1 to 64", "shop.py:3"),
    ("hotloop.App('a', replicas=65)", "App('a', replicas=65): expected a whole number from 1 to 64", "shop.py:3"),
    ("hotloop.App('a', replicas=True)", "App('a', replicas=True): expected a whole number from 1 to 64", "shop.py:3"),
]


@pytest.mark.parametrize(("source", "message", "place"), MISTAKES, ids=[message for _, message, _ in MISTAKES])
def test_a_mistake_is_refused_where_it_stands(user, error_of, source, message, place):
    found, _, where = error_of(lambda: user.load(HEAD + source))

    assert (found, where) == (message, place)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (Batch(), {"max_size": 32, "max_wait_ms": 0, "key": None, "max_cost": None, "target_ms": None}),
        (
            Batch(8, 60_000, key=len, max_cost=0.5),
            {"max_size": 8, "max_wait_ms": 60_000, "key": "asked", "max_cost": 0.5, "target_ms": None},
        ),
        (
            Batch(key="auto", target_ms=60_000),
            {"max_size": 32, "max_wait_ms": 0, "key": "bytes", "max_cost": None, "target_ms": 60_000},
        ),
        (
            Batch(key=3, on_error="single"),
            {"max_size": 32, "max_wait_ms": 0, "key": 3, "max_cost": None, "target_ms": None},
        ),
    ],
)
def test_a_batch_says_what_the_front_has_to_know(batch, said):
    assert batch.to_header() == said


@pytest.mark.parametrize("size", [1, 2, 10_000])
def test_batch_sizes_from_one_on_are_taken(size):
    assert Batch(max_size=size).max_size == size


@pytest.mark.parametrize(("wait_ms", "is_taken"), [(0, True), (59_999, True), (60_000, True), (60_001, False)])
def test_a_batch_waits_a_minute_at_most(wait_ms, is_taken):
    if is_taken:
        assert Batch(max_wait_ms=wait_ms).max_wait_ms == wait_ms
    else:
        with pytest.raises(AppError):
            Batch(max_wait_ms=wait_ms)


@pytest.mark.parametrize("replicas", [1, 2, 63, 64])
def test_an_app_may_want_up_to_64_workers(replicas):
    assert App("search", replicas=replicas).replicas == replicas


def test_an_app_wants_one_worker_unless_it_says_more():
    assert App("search").replicas == 1


def test_specs_and_batches_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Batch().max_size = 2  # pyright: ignore[reportAttributeAccessIssue]


def test_the_public_names_are_these():
    assert hotloop.App is App
    assert hotloop.Batch is Batch


def test_importing_the_api_imports_no_asyncio_and_nothing_third_party():
    code = """
import sys, site, json
before = set(sys.modules)
import hotloop.gpu_runtime.user_env.app
new = [sys.modules[n] for n in set(sys.modules) - before]
print(json.dumps([m.__name__ for m in new if "-packages" in (getattr(m, "__file__", "") or "")]))
print("asyncio" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["[]", "False"]
