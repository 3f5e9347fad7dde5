"""Local variables of failures as text: what is said of a value, what is hidden, and that nothing is held or called."""

from __future__ import annotations

import collections
import enum
import gc
import importlib
import itertools
import subprocess
import sys
import types
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hotloop.gpu_runtime.failures import MAX_KEPT, Failures
from hotloop.gpu_runtime.user_env import problem, variables
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.describing import HIDDEN_NAME, HIDDEN_VALUE, MAX_CHARACTERS, describe
from hotloop.gpu_runtime.user_env.redaction import Secrecy, of_name

SRC = str(Path(variables.__file__).parents[3])


class Color(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


loop: list[Any] = []
loop.append(loop)
deep: dict[str, Any] = {}
deep["self"] = [deep]
THIS = __name__


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (-7, "-7"),
        (1.5, "1.5"),
        (1j, "1j"),
        (1 << 10_000, "int of 10,001 bits"),
        (Color.RED, f"{THIS}.Color.RED"),
        ("a\nb\x1b[31m", r"'a\nb\x1b[31m'"),
        ("é" * 500, f"'{'é' * 176}'… (500 characters)"),
        (b"\x00a", r"b'\x00a'"),
        (bytes(500), f"{bytes(40)!r}… (500 bytes)"),
        ([1, "a"], "list of 2: [1, 'a']"),
        ((), "tuple of 0"),
        (Point(1, 2), f"{THIS}.Point of 2: (1, 2)"),
        ({"days": 3, "of": {"a": 1}}, "dict of 2: {'days': 3, 'of': {'a': 1}}"),
        (loop, "list of 1: [[[list of 1]]]"),
        (deep, "dict of 1: {'self': [{'self': list of 1}]}"),
        (KeyError("days"), "KeyError('days')"),
        (len, "builtin_function_or_method"),
        (describe, "function describe"),
        (int, "class int"),
        (sys, "module sys"),
        (range(3), "range(0, 3)"),
        (object(), "object"),
    ],
)
def test_a_value_is_described_by_what_it_is(value, text):
    assert describe(value) == text


def test_large_containers_say_how_large_they_are_and_show_their_beginning():
    assert describe(list(range(1000))).startswith("list of 1,000: [0, 1, 2, ")
    assert describe([[0.5] * 384] * 32).startswith("list of 32: [list of 384: [0.5, ")
    nested = [{str(n): ["x" * 300] * 300 for n in range(300)}] * 300
    assert len(describe(nested)) <= MAX_CHARACTERS
    assert describe(collections.deque(itertools.repeat(1, 10**6))).endswith("more]")


ARRAYS = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy, torch
from hotloop.gpu_runtime.user_env.describing import describe

class Mine(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_, **__):
        raise SystemExit("asked")

class Own(numpy.ndarray):
    shape = property(lambda _: sys.exit("asked"))
    __repr__ = __str__ = lambda _: sys.exit("asked")

for value in (
    torch.zeros(2, 3), torch.nn.Parameter(torch.zeros(4)), torch.zeros(2, device="meta"), torch.zeros(2).as_subclass(Mine),
    [torch.zeros(2, 3, dtype=torch.int8)], torch.nn.Linear(2, 3), torch.float32,
    numpy.zeros((2, 3)), numpy.zeros(2).view(Own), numpy.float32(0.5), {"ids": numpy.zeros(3, int)},
):
    print(describe(value))
"""


def test_arrays_and_tensors_are_their_shapes(user_python):
    done = subprocess.run([user_python, "-c", ARRAYS, SRC], capture_output=True, text=True, timeout=50, check=False)

    assert done.stdout.splitlines() == [
        "Tensor [2, 3] float32 cpu",
        "Parameter [4] float32 cpu",
        "Tensor [2] float32 meta",
        "__main__.Mine [2] float32 cpu",
        "list of 1: [Tensor [2, 3] int8 cpu]",
        "torch.nn.modules.linear.Linear",
        "torch.float32",
        "array [2, 3] float64",
        "__main__.Own [2] float64",
        "np.float32(0.5)",
        "dict of 1: {'ids': array [3] int64}",
    ], done.stderr


def test_nothing_of_the_users_runs():
    """The classes are made here: a module that has them disturbs whoever looks through modules."""

    def asked(*_: Any) -> Any:
        sys.exit("asked")

    class Trap(type):
        __getattribute__ = __hash__ = __eq__ = __instancecheck__ = asked  # type: ignore[assignment]

    class Thing(metaclass=Trap):
        __getattribute__ = __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = asked

    class Dict(dict):
        items = keys = values = __iter__ = __len__ = __repr__ = __getitem__ = asked

    class Text(str):
        __repr__ = __str__ = __len__ = __getitem__ = __format__ = asked
        __slots__ = ()

    class Module(types.ModuleType):
        __dict__ = __name__ = property(asked)  # type: ignore[assignment]

    class Error(Exception):
        __str__ = __repr__ = asked
        args = property(asked)  # type: ignore[assignment]

    def named(name: str) -> str:
        return f"{THIS}.test_nothing_of_the_users_runs.{name}"

    assert describe(Thing()) == named("Thing")
    assert describe(Thing) == f"class {named('Thing')}"
    assert describe([Thing()]) == f"list of 1: [{named('Thing')}]"
    assert describe(Dict(a=1)) == f"{named('Dict')} of 1: {{'a': 1}}"
    assert describe(Text("abc")) == "'abc'"
    assert describe(Module("m")) == "module m"
    assert describe(Error("x")) == f"{named('Error')}('x')"


def test_nothing_of_the_module_of_a_class_runs(user):
    shop = user.load(
        """
        def __getattr__(name): raise SystemExit(name)
        class Shop:
            class Shelf: pass
        def local():
            class Till: pass
            return Till()
        """
    )

    assert describe(shop.Shop()) == "shop.Shop"
    assert describe(shop.Shop.Shelf()) == "shop.Shop.Shelf"
    assert describe(shop.local()) == "shop.local.Till"


def test_a_dict_that_changes_meanwhile_is_named_at_least(monkeypatch):
    def changes(*_):
        raise RuntimeError

    monkeypatch.setattr("hotloop.gpu_runtime.user_env.describing._held", changes)
    assert describe({"a": 1}) == "dict"


# --- what is hidden -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["password", "db_passwd", "DB_PASSWORD", "apiKey", "api_key", "HF_TOKEN", "client_secret", "credentials", "auth",
     "authorization", "access_tokens", "sessionToken", "jwt", "private_key"],
)  # fmt: skip
def test_names_of_secrets_hide_texts(name):
    assert describe("Xyzzy123", of_name(name)) == HIDDEN_NAME
    assert describe({name: "Xyzzy123", "n": 1}) == f"dict of 2: {{'{name}': <hidden>, 'n': 1}}"
    assert "Xyzzy" not in describe({"x": [{name: ["Xyzzy123"]}]})
    assert "Xyzzy" not in describe({name: {"Xyzzy1": b"Xyzzy123"}})


@pytest.mark.parametrize(
    "name", ["tokens", "tokenizer", "num_tokens", "author", "monkey", "keyboard", "passes", "keys"]
)
def test_names_that_only_sound_so_hide_nothing(name):
    assert of_name(name) is Secrecy.NONE


def test_tokens_and_keys_of_models_are_shown():
    assert describe(4711, of_name("token_id")) == "4711"
    assert describe("delivery days", of_name("key")) == "'delivery days'"
    assert describe("s3cr3t", of_name("key")) == HIDDEN_NAME
    assert describe(1234, of_name("password")) == HIDDEN_NAME


@pytest.mark.parametrize(
    "value",
    ["sk-proj-abcdefghijklmnop", "hf_" + "abcdefgh" * 4, "ghp_" + "a1" * 18, "AKIAIOSFODNN7EXAMPLE",
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x", "postgres://ada:lovelace@db/shop", "Bearer abcdef123456",
     "-----BEGIN RSA PRIVATE KEY-----\nMII", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "9f86d081884c7d659a2feaa0c55ad015",
     "see password=hunter22 there", "x" * 100 + " sk-proj-abcdefghijklmnop"],
)  # fmt: skip
def test_values_that_look_like_keys_are_hidden_whatever_their_name(value):
    assert describe(value) == HIDDEN_VALUE
    assert describe([value]) == "list of 1: [<hidden>]"
    assert describe({value: None}) == "dict of 1: {<hidden>: None}"
    assert describe(value.encode()) == HIDDEN_VALUE


@pytest.mark.parametrize(
    "value",
    ["sentence-transformers/all-MiniLM-L6-v2", "The quick brown fox jumps over the lazy dog.", "2026-11-26T09:33:38",
     "/home/ada/models/llama-3-8b-instruct-q4_k_m.gguf", "550e8400-e29b-41d4-a716-446655440000", "https://example.com:80/a@b"],
)  # fmt: skip
def test_what_people_write_is_shown(value):
    assert describe(value) == repr(value)


# --- frames -------------------------------------------------------------------------------------------------------


class Kept:
    """A `Variables` whose runtime is a list."""

    def __init__(self, user) -> None:
        self.told: list[dict[str, Any]] = []
        self.variables = variables.Variables(user.project, lambda header: self.told.append(header["failure"]))
        self.user = user

    def fail(self, source: str, *arguments: Any) -> dict[str, Any]:
        self.user.write(source)
        sys.modules.pop("shop", None)
        try:
            importlib.import_module("shop").f(*arguments)
        except Exception as error:  # noqa: BLE001
            return self.variables.keep(error, problem.from_exception(error, self.user.project), "start")
        pytest.fail("nothing was raised")


def names(frame: dict[str, Any]) -> list[str]:
    return [each["name"] for each in frame["variables"]]


def test_frames_are_the_users_innermost_first_and_the_lines_names_lead(user):
    kept = Kept(user)
    told = kept.fail(
        """
        import json
        LIMIT = 3
        def f():
            before, policy = 1, {"delivery": 2}
            return g(policy)
        def g(policy):
            unused = "x"
            return sorted([1], key=lambda _: policy["days"])
        """
    )

    (failure,) = kept.told
    assert told["failure"] == failure["id"]
    assert (failure["of"], failure["type"], failure["where"]) == ("start", "KeyError", "shop.py:8")
    assert [(frame["function"], frame["line"]) for frame in failure["frames"]] == [
        ("g.<locals>.<lambda>", 8), ("g", 8), ("f", 5),
    ]  # fmt: skip
    assert [names(frame) for frame in failure["frames"]] == [
        ["_", "policy"],
        ["policy", "unused"],
        ["policy", "before"],
    ]
    assert failure["frames"][0]["source"] == 'return sorted([1], key=lambda _: policy["days"])'
    assert failure["frames"][2]["variables"][0]["value"] == "dict of 1: {'delivery': 2}"


def test_a_module_shows_its_data_and_not_what_every_module_has(user):
    kept = Kept(user)
    kept.fail("import json\nLIMIT = 3\nclass A: pass\ndef f(): pass\nraise ValueError(LIMIT)\n")

    assert names(kept.told[0]["frames"][0]) == ["LIMIT"]


def test_a_failure_without_a_line_of_the_users_has_nothing_to_ask_for(user):
    kept = Kept(user)

    assert "failure" not in kept.variables.keep(ValueError("x"), {"type": "ValueError", "frames": []}, "call")
    assert kept.fail("def f(:\n").get("failure", "") == ""
    assert kept.told == []


def test_what_is_kept_is_bounded(user):
    kept = Kept(user)
    body = "\n".join(f"    name_{n} = 'x' * 5000" for n in range(100))
    kept.fail(f"def f(n=0):\n{body}\n    return f(n + 1)\n")

    (failure,) = kept.told
    frames = failure["frames"]
    assert len(frames) == variables.MAX_FRAMES
    assert failure["num_more"] > 500
    assert {len(frame["variables"]) for frame in frames} == {variables.MAX_NAMES}
    assert frames[0]["num_more"] == 101 - variables.MAX_NAMES
    assert max(len(each["value"]) for frame in frames for each in frame["variables"]) <= MAX_CHARACTERS


def test_secrets_are_hidden_and_say_so(user):
    kept = Kept(user)
    kept.fail("def f():\n    api_key, note = 'abc', 'sk-abcdefghijklmnop1234'\n    raise ValueError\n")

    assert [(each["value"], each["is_hidden"]) for each in kept.told[0]["frames"][0]["variables"]] == [
        (HIDDEN_NAME, True), (HIDDEN_VALUE, True),
    ]  # fmt: skip


def test_nothing_is_held(user):
    kept = Kept(user)

    class Model:
        pass

    model = Model()
    gone = weakref.ref(model)
    gc.disable()  # not even until the next collection
    try:
        kept.fail("def f(model):\n    other = [model]\n    raise ValueError\n", model)
        del model
        assert gone() is None
    finally:
        gc.enable()
    assert names(kept.told[0]["frames"][0]) == ["model", "other"]


def test_calls_that_fail_by_the_thousand_are_described_now_and_then(user, monkeypatch):
    kept, now_s = Kept(user), itertools.count(0, variables.CALL_PAUSE_S / 100)
    monkeypatch.setattr(
        "hotloop.gpu_runtime.user_env.variables.time", types.SimpleNamespace(monotonic=lambda: next(now_s))
    )
    shop = user.load("def f(days): raise ValueError\n")
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        shop.f(3)
    described = problem.from_exception(raised.value, user.project)
    for _ in range(1000):
        kept.variables.keep_call(raised.value, described)

    assert 9 <= len(kept.told) <= 11


def test_the_problem_of_a_probe_is_that_of_the_call_that_failed_under_it(user):
    kept = Kept(user)
    shop = user.load("def f(days): return [][days]\ndef probe(error): raise error\n")
    with pytest.raises(IndexError) as raised:
        shop.f(3)
    kept.variables.keep_call(raised.value, problem.from_exception(raised.value, user.project))
    for where in ("shop.py:1", "shop.py:7"):
        with pytest.raises(ClientError) as refused:
            shop.probe(ClientError(500, "IndexError", "list index out of range", where=where))
        described = problem.from_exception(refused.value, user.project)
        told = kept.variables.keep(refused.value, described, "probe", "ada")
        assert told["failure"] == kept.told[-1]["id"]
        ends = {"shop.py:1": ("IndexError", ["probe", "f"]), "shop.py:7": ("ClientError", ["probe"])}
        assert (told["type"], [frame["function"] for frame in told["frames"]]) == ends[where]

    assert [(each["of"], names(each["frames"][0])) for each in kept.told] == [
        ("call", ["days"]), ("probe", ["error"]),
    ]  # fmt: skip


def test_a_class_body_with_a_namespace_of_its_own_is_left_alone(user):
    kept = Kept(user)
    kept.fail(
        """
        class Names(dict):
            def items(self): raise SystemExit
        class Meta(type):
            def __prepare__(*_): return Names()
        def f():
            days = 3
            class A(metaclass=Meta):
                x = 1
                raise ValueError
        """
    )

    body, function = kept.told[0]["frames"]
    assert names(body) == []
    assert names(function) == ["days"]


# --- the runtime's side -------------------------------------------------------------------------------------------


def test_the_newest_failures_are_kept_and_older_ones_are_gone():
    clock = itertools.count()
    failures = Failures(lambda: next(clock))
    for n in range(MAX_KEPT + 2):
        failures.put({"id": str(n), "frames": [{"file": "app.py"}]})

    newest = failures.answer()
    assert newest["failure"]["id"] == str(MAX_KEPT + 1)
    assert newest["failure"]["frames"]
    assert [each["id"] for each in newest["kept"]] == [str(n) for n in range(MAX_KEPT + 1, 1, -1)]
    assert not any("frames" in each for each in newest["kept"])
    assert failures.answer("0")["failure"] is None
    assert failures.answer("2")["failure"]["id"] == "2"
    assert types.SimpleNamespace(**Failures().answer()) == types.SimpleNamespace(failure=None, kept=[])
