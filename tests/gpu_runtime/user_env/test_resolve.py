"""How an app fits together: injection, order, routes; each mistake with its file and line."""

from __future__ import annotations

import pytest

from hotloop.gpu_runtime.user_env import hints, resolve
from hotloop.gpu_runtime.user_env.app import App

HEAD = "from __future__ import annotations\nimport hotloop\napp = hotloop.App('search')\n"


def plan_of(user, source):
    return resolve.check(user.load(HEAD + source).app)


def test_models_come_after_those_they_need_and_unused_ones_last(user):
    plan = plan_of(
        user,
        """
@app.model
def unused(): return 0
@app.model
def ranker(encoder, weights): return 1
@app.model
def encoder(tokenizer, dim=3): return 1
@app.model
def weights(): return 1
@app.model
def tokenizer(): return 1
@app.endpoint
def search(text: str, ranker): return []
""",
    )

    assert [spec.name for spec in plan.models] == ["tokenizer", "encoder", "weights", "ranker", "unused"]
    assert plan.needs["encoder"] == ("tokenizer",)
    assert plan.needs["ranker"] == ("encoder", "weights")


def test_parameters_are_injected_by_name_and_the_others_come_from_the_request(user):
    plan = plan_of(
        user,
        """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from somewhere import Encoder
@app.model
def encoder() -> Encoder: return 1
@app.endpoint
def embed(text: str, encoder: Encoder, *, n: int = 3) -> Encoder: return []
@app.probe
def looks_right(client, encoder): return 1
""",
    )

    (endpoint,) = plan.endpoints
    assert endpoint.injected == ("encoder",)
    assert [(p.name, p.hint, p.is_required) for p in endpoint.parameters] == [("text", str, True), ("n", int, False)]
    assert (plan.probes[0].injected, plan.probes[0].takes_client) == (("encoder",), True)


@pytest.mark.parametrize(
    ("parameters", "methods"),
    [
        ("", ("GET", "POST")),
        ("text: str, n: int = 1, x: float | None = None, ok: bool = True", ("GET", "POST")),
        ("mode: Literal['a', 'b']", ("GET", "POST")),
        ("text: list[str]", ("POST",)),
        ("text", ("POST",)),
        ("image: bytes", ("POST",)),
    ],
)
def test_scalars_alone_may_come_by_get(user, parameters, methods):
    plan = plan_of(user, f"from typing import Literal\n@app.endpoint\ndef f({parameters}): return 1\n")

    assert plan.endpoints[0].methods == methods


def test_shapes_are_what_people_read(user):
    plan = plan_of(
        user,
        """
from dataclasses import dataclass
@dataclass
class Item:
    name: str
    parts: list[Item]
@app.endpoint(batch=hotloop.Batch())
def embed(text: list[str]) -> list[list[float]]: return []
@app.endpoint(methods=["POST"])
def tokens(item: Item | None, n: int = 3):
    yield n
""",
    )

    assert resolve.shapes(plan) == [
        {
            "name": "embed",
            "path": "/embed",
            "methods": ["GET", "POST"],
            "parameters": [["text", "str"]],
            "returns": "list[list[float]]",
            "is_batched": True,
            "is_stream": False,
        },
        {
            "name": "tokens",
            "path": "/tokens",
            "methods": ["POST"],
            "parameters": [["item", "Item | None"], ["n", "int = 3"]],
            "returns": "",
            "is_batched": False,
            "is_stream": True,
        },
    ]


MISTAKES = {
    "unknown model": (
        "@app.model\ndef encoder(): return 1\n@app.model\ndef ranker(encodr): return 1",
        "model 'ranker' at shop.py:7 takes 'encodr', which is no model of this app",
        "did you mean 'encoder'?",
        "shop.py:7",
    ),
    "unknown model, nothing like it": (
        "@app.model\ndef ranker(x): return 1",
        "model 'ranker' at shop.py:5 takes 'x', which is no model of this app",
        "write @app.model above def x(), or give 'x' a default",
        "shop.py:5",
    ),
    "cycle": (
        "@app.model\ndef a(b): return 1\n@app.model\ndef b(c): return 1\n@app.model\ndef c(a): return 1",
        "models need each other in a circle: a (shop.py:5) -> b (shop.py:7) -> c (shop.py:9) -> a",
        "take the shared part out into a model of its own",
        "shop.py:5",
    ),
    "a model that needs itself": (
        "@app.model\ndef a(a): return 1",
        "models need each other in a circle: a (shop.py:5) -> a",
        "take the shared part out into a model of its own",
        "shop.py:5",
    ),
    "async loader": (
        "@app.model\nasync def a(): return 1",
        "model 'a' at shop.py:5 is async: a loader is a plain function that returns the model",
        "write it with def and return",
        "shop.py:5",
    ),
    "generator loader": (
        "@app.model\ndef a(): yield 1",
        "model 'a' at shop.py:5 is a generator: a loader is a plain function that returns the model",
        "write it with def and return",
        "shop.py:5",
    ),
    "parameter named like a model, meant as data": (
        "@app.model\ndef prompt(): return 1\n@app.endpoint\ndef chat(prompt: str): return 1",
        "endpoint 'chat' at shop.py:7 takes 'prompt: str', but 'prompt' is the model at shop.py:5 and would be given to it",
        "rename the parameter, or annotate the loader: def prompt() -> str",
        "shop.py:7",
    ),
    "batched without a list": (
        "@app.endpoint(batch=hotloop.Batch())\ndef embed(text: str): return 1",
        "endpoint 'embed' at shop.py:5 is batched and takes 'text: str': expected a list with one entry a request",
        "write text: list[str]",
        "shop.py:5",
    ),
    "batched without an annotation": (
        "@app.endpoint(batch=hotloop.Batch())\ndef embed(text): return 1",
        "endpoint 'embed' at shop.py:5 is batched and takes 'text': expected a list with one entry a request",
        "write text: list[str]",
        "shop.py:5",
    ),
    "batched with nothing to batch": (
        "@app.endpoint(batch=hotloop.Batch())\ndef embed(): return 1",
        "endpoint 'embed' at shop.py:5 is batched and takes nothing from the request",
        "give it a list parameter, such as text: list[str], or drop batch=",
        "shop.py:5",
    ),
    "batched with a default": (
        "@app.endpoint(batch=hotloop.Batch())\ndef embed(text: list[str], k: list[int] = 3): return 1",
        "endpoint 'embed' at shop.py:5 is batched and gives 'k' a default: the list has one entry a request",
        "write k: list[int | None]; a request that leaves it out has None there",
        "shop.py:5",
    ),
    "duplicate route": (
        "@app.endpoint(path='/x')\ndef a(n: int): return 1\n@app.endpoint(path='/x', methods=['POST'])\ndef b(): return 1",
        "two endpoints answer POST /x: a at shop.py:5 and b at shop.py:7",
        "give one of them another path=",
        "shop.py:7",
    ),
    "a type that no request holds": (
        "import threading\n@app.endpoint\ndef f(lock: list[threading.Thread]): return 1",
        "endpoint 'f' at shop.py:6 takes 'lock: list[Thread]', and Thread can't be read from a request",
        hints.READABLE,
        "shop.py:6",
    ),
    "a misspelt model with a class for a type": (
        "import threading\n@app.model\ndef encoder(): return 1\n@app.endpoint\ndef f(encodr: threading.Thread): return 1",
        "endpoint 'f' at shop.py:8 takes 'encodr: Thread', and Thread can't be read from a request",
        "did you mean 'encoder'?",
        "shop.py:8",
    ),
    "a type that does not exist": (
        "@app.endpoint\ndef f(item: Itme): return 1",
        "endpoint 'f' at shop.py:5 takes 'item: Itme', which can't be evaluated: name 'Itme' is not defined",
        "import the type where the module runs, not only under TYPE_CHECKING",
        "shop.py:5",
    ),
    "an alias that can't be evaluated": (
        (
            "from tests.gpu_runtime.user_env.aliases import TypeAliasType\nItems = TypeAliasType('Items', lambda: list[Itme])\n"
            "@app.endpoint\ndef f(item: Items): return 1"
        ),
        (
            "endpoint 'f' at shop.py:7 takes 'item: Items', and Items can't be read from a request: "
            "it can't be evaluated: name 'Itme' is not defined"
        ),
        hints.READABLE,
        "shop.py:7",
    ),
    "a probe's unknown parameter": (
        "@app.probe\ndef f(cleint): return 1",
        "probe 'f' at shop.py:5 takes 'cleint': expected 'client' or a model",
        "did you mean 'client'?",
        "shop.py:5",
    ),
    "a model called client": (
        "@app.model\ndef client(): return 1\n@app.probe\ndef f(client): return 1",
        "probe 'f' at shop.py:7 takes 'client', which calls the endpoints, but the model at shop.py:5 has that name",
        "rename the model",
        "shop.py:5",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_file_and_line(user, error_of, name):
    source, *expected = MISTAKES[name]
    app = user.load(HEAD + source).app

    assert list(error_of(lambda: resolve.check(app))) == expected


def test_a_model_annotated_as_plain_data_may_be_injected_as_such(user):
    plan = plan_of(
        user, "@app.model\ndef prompt() -> str: return ''\n@app.endpoint\ndef chat(text: str, prompt: str): return 1\n"
    )

    assert plan.endpoints[0].injected == ("prompt",)


def test_one_app_is_found_under_any_name_and_any_number_of_names(user):
    module = user.load("import hotloop\nservice = hotloop.App('a')\nalias = service\n")

    assert resolve.find_app(module) is module.service


def test_the_app_that_was_named_is_found_among_several(user):
    module = user.load("import hotloop\na = hotloop.App('a')\nb = hotloop.App('b')\n")

    assert resolve.find_app(module, "b") is module.b


@pytest.mark.parametrize(
    ("source", "wanted", "message", "hint"),
    [
        ("x = 1", "", "shop.py:1 defines no app", 'write app = hotloop.App("search") in it'),
        (
            "a = hotloop.App('a')\nb = hotloop.App('b')",
            "",
            "2 apps in one module: a (shop.py:2), b (shop.py:3)",
            "name one of them: shop.py:a",
        ),
        ("web = hotloop.App('a')", "wev", "shop.py:1 has no app called 'wev', it has 'web'", "did you mean 'web'?"),
        ("x = 1", "app", "shop.py:1 has no app called 'app'", 'write app = hotloop.App("search")'),
    ],
)
def test_no_app_or_several_is_said_with_what_to_do(user, error_of, source, wanted, message, hint):
    module = user.load(f"import hotloop\n{source}\n")

    assert error_of(lambda: resolve.find_app(module, wanted))[:2] == (message, hint)


def test_an_empty_app_has_an_empty_plan():
    plan = resolve.check(App("nothing"))

    assert (plan.models, plan.endpoints, plan.probes) == ((), (), ())
