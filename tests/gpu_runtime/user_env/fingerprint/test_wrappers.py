"""A decorator of the project's that only wraps has no effect on import; one that may do more has."""

from __future__ import annotations

import textwrap
import types
from pathlib import Path

import pytest
from tests.gpu_runtime.user_env.fingerprint.observe import Seen, observe_each, replacing, write

from hotloop.gpu_runtime.user_env.fingerprint.effects import statements
from hotloop.gpu_runtime.user_env.fingerprint.wrappers import only_wraps

WRAPS = {
    "functools.wraps": """
        def deco(f):
            mark = "timed"

            @functools.wraps(f)
            def wrapper(*args, **kwargs):
                began = time.perf_counter()
                try:
                    return f(*args, **kwargs)
                finally:
                    TOLD.append((mark, time.perf_counter() - began))

            return wrapper
        """,
    "wraps, imported": """
        def deco(f):
            "What it is for."
            name = f"{f.__module__}.{f.__qualname__}"
            @wraps(f)
            async def wrapper(x, *, level=LEVEL):
                return await f(x), name, level
            return wrapper
        """,
    "a lambda": "def deco(f): return lambda *args: f(*args) + 1",
    "nothing": "def deco(f): return f",
    "two kinds": """
        def deco(f):
            if inspect.iscoroutinefunction(f):
                @functools.wraps(f)
                async def wrapper(*args):
                    return await f(*args)
                return wrapper
            @functools.wraps(f)
            def plain(*args):
                return f(*args)
            return plain
        """,
    "a logger of its own": """
        def deco(f):
            log = logging.getLogger(f.__module__)
            print("decorating", f.__name__)
            def wrapper(*args):
                log.info("called")
                return f(*args)
            return wrapper
        """,
    "a partial": "def deco(f): return functools.partial(f, 1, level=LEVEL)",
    "optional arguments": """
        def deco(f=None, *, name=""):
            if f is None:
                return functools.partial(deco, name=name)
            @functools.wraps(f)
            def wrapper(*args):
                return name, f(*args)
            return wrapper
        """,
}
DOES_MORE = {
    "registers": "def deco(f):\n    TABLE[f.__name__] = f\n    return f",
    "registers in a list": "def deco(f):\n    TOLD.append(f)\n    return f",
    "returns what registers": "def deco(f): return TABLE.setdefault(f.__name__, f)",
    "keeps what registers": "def deco(f):\n    f = atexit.register(f)\n    return f",
    "calls it": "def deco(f):\n    value = f()\n    return lambda: value",
    "calls it among others": "def deco(f): return functools.partial(print, f())",
    "calls what it made": "def deco(f):\n    def g(): return f()\n    return functools.partial(print, g())",
    "decorates by it": "def deco(f):\n    @f\n    def g(): pass\n    return g",
    "decorates by it too": "def deco(f):\n    @functools.wraps(f)\n    @f\n    def g(): pass\n    return g",
    "calls it with a choice": "def deco(f): return f(1 if f else len)",
    "calls it with a choice of two": "def deco(f): return f(print if f else len)",
    "calls it for each": "def deco(f): return [f for _ in f]",
    "hands it on": "def deco(f): return helper(f)",
    "marks it": "def deco(f):\n    f.is_marked = True\n    return f",
    "sets a global": "def deco(f):\n    global LAST\n    LAST = f\n    return f",
    "imports": "def deco(f):\n    import json.tool\n    return f",
    "opens": "def deco(f):\n    with f:\n        return f",
    "makes a class": "def deco(f):\n    class A(f): pass\n    return A",
    "is shadowed": "def print(f): f()\ndef deco(f):\n    print(f)\n    return f",
    "asks a module for more": "def deco(f): return functools.reduce(f, [1, 2])",
    "raises": "def deco(f):\n    if not f.__doc__: raise ValueError\n    return f",
    "is a class": "class deco:\n    def __init__(self, f): TOLD.append(f)",
    "is a method": "class A:\n    def deco(self, f): return f\ndeco = A().deco",
}
HEAD = """
import atexit, functools, inspect, logging, time
from functools import wraps
LEVEL, TOLD, TABLE = 1, [], {}
def helper(f):
    TOLD.append(f)
    return f
"""


def deco(user, source):
    return user.load(f"{HEAD}{textwrap.dedent(source)}\n").deco


@pytest.mark.parametrize("name", WRAPS)
def test_a_decorator_that_gives_a_wrapper_back_only_wraps(user, name):
    assert only_wraps(deco(user, WRAPS[name]), user.project, is_called=False)


@pytest.mark.parametrize("name", DOES_MORE)
def test_a_decorator_that_may_do_more_is_no_wrapper(user, name):
    assert not only_wraps(deco(user, DOES_MORE[name]), user.project, is_called=False)


@pytest.mark.parametrize(
    "source",
    [
        "def deco(name): return helper",
        "def deco(name): return functools.partial(helper)",
        "def deco(name): return atexit.register",
        "def deco(name, hook=helper): return hook",
        "def make(hook):\n    def deco(name): return hook\n    return deco\ndeco = make(helper)",
    ],
)
def test_one_with_arguments_may_give_another_back(user, source):
    assert not only_wraps(deco(user, source), user.project, is_called=True)


@pytest.mark.parametrize(
    ("inner", "is_wrapper"), [("return f", True), ("return lambda: f()", True), ("TABLE[name] = f; return f", False)]
)
def test_of_one_with_arguments_what_it_gives_back_counts_too(user, inner, is_wrapper):
    made = deco(user, f"def deco(name):\n    def inner(f):\n        {inner}\n    return inner")

    assert only_wraps(made, user.project, is_called=True) == is_wrapper
    assert only_wraps(made, user.project, is_called=False)


def test_a_librarys_decorator_is_not_looked_into(user):
    assert not only_wraps(wrapper_of_a_library, user.project, is_called=False)


def wrapper_of_a_library(f):
    return f


PROJECT = {
    "deco.py": """
import functools, time
BEGAN = time.time()
def timed(f):
    mark = "timed"
    @functools.wraps(f)
    def wrapper(*a):
        print(time.time() - BEGAN)
        return [mark, f(*a)]
    return wrapper
def named(name):
    def inner(f):
        return lambda *a: [name, f(*a)]
    return inner
""",
    "app.py": """
import functools
import deco
from deco import named, timed
LEVEL = 1
@timed
def one(): return 1
@named(LEVEL)
def two(): return 2
@deco.timed
def three(): return 3
@functools.lru_cache
@deco.named("four")
def four(): return 4
@timed
class Five: pass
def load(): return [CALLED]
""",
}


def test_what_a_decorator_is_given_and_gives_back_counts(user):
    user.write("def deco(hook):\n    return hook\n", "deco.py")
    source = "import deco\nSEEN = []\n@deco.deco({})\ndef f(): pass\n"
    for hook, count in (("lambda f: SEEN.append(f)", 1), ("1", 0)):
        module = types.SimpleNamespace(**vars(user.load("import deco\n")))
        code = compile(source.format(hook), "shop.py", "exec")
        assert len(list(statements(code, vars(module), user.project))) == count


EDITS = [
    ("app.py", "LEVEL = 1", "LEVEL = 2"),
    ("app.py", "return 1", "return 9"),
    ("app.py", "return 4", "return 9"),
    ("deco.py", '"timed"', '"TIMED"'),
    ("deco.py", "[mark, f(*a)]", "[f(*a), mark]"),
    ("deco.py", "[name, f(*a)]", "[f(*a), name]"),
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_what_is_wrapped_or_wraps_loads_no_model_that_does_not_call_it(tmp_path: Path, edit):
    write(tmp_path, {**PROJECT, "app.py": PROJECT["app.py"].replace("CALLED", "0")})

    before, after = observe_each(tmp_path, lambda _: None, replacing(*edit))

    assert before == after == Seen("", is_same=True)


@pytest.mark.parametrize(
    ("called", "edit"),
    [
        ("two()", EDITS[0]),
        ("one()[1]", EDITS[1]),
        ("four()", EDITS[2]),
        ("one()", EDITS[3]),
        ("one()", EDITS[4]),
        ("three()", EDITS[4]),
        ("two()", EDITS[5]),
        ("four()", EDITS[5]),
    ],
)
def test_a_model_whose_loader_calls_it_is_loaded(tmp_path: Path, called, edit):
    source = PROJECT["deco.py"].replace("print(time.time() - BEGAN)", "pass")
    write(tmp_path, {"deco.py": source, "app.py": PROJECT["app.py"].replace("CALLED", called)})

    before, after = observe_each(tmp_path, lambda _: None, replacing(*edit))

    assert before == Seen("", is_same=True)
    assert after.difference
