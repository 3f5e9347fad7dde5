"""A kept model is what a fresh load would make: edits of one project, each against a cold start."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.gpu_runtime.user_env.fingerprint.observe import Seen, observe, observe_each, replacing, write

PROJECT = {
    "app.py": '''
import json, os
import conf, helpers
from net import Net
OPTIONS = {"bias": 3}
def load(scale=1.0):
    """Load."""
    w = helpers.read_weights("weights.json")
    n = Net(conf.HIDDEN)
    n.bias = w["b"] * helpers.scale(2) * scale + OPTIONS["bias"]
    n.gain = float(os.environ.get("GAIN", "1"))
    n.post = lambda y: y + 1
    return n
def handler(m):
    return m.post(m.hook(m.forward(2)))
''',
    "conf.py": "HIDDEN = 8\nUNUSED = 1\nACT_SCALE = 2.0\nWEIGHTS = 'weights.json'\n",
    "helpers.py": '''
import json, functools, os
def logged(tag):
    def deco(f):
        @functools.wraps(f)
        def wrapper(*a, **k):
            return f(*a, **k) + tag
        return wrapper
    return deco
def read_weights(p):
    with open(p) as f:
        return json.load(f)
@logged(1)
def scale(x, k=2):
    """doc"""
    return x * k
def never_called(x):
    return x
def table(n):
    return [i * 3 for i in range(n)]
TABLE = table(3)
''',
    "net.py": """
import conf
from helpers import TABLE
def act(x):
    return x * conf.ACT_SCALE
def gain():
    return sum(TABLE)
class Base:
    MULT = 1.0
    def __init__(self, n):
        self.w = self.init_value(n)
        self.hook = act
    def init_value(self, n):
        return [1.0 * self.MULT] * n
class Net(Base):
    KIND = "net"
    def __init__(self, n):
        super().__init__(n)
        self.g = gain()
    def forward(self, x):
        return act(x * self.w[0]) * self.g
    def extra(self):
        return 0
""",
    "weights.json": '{"b": 5}',
}

Case = tuple[str, str, str, str]
KEPT: list[Case] = [
    ("nothing", "app.py", "\n", "\n"),
    ("a comment", "net.py", "class Net(Base):", "# hi\n\n\nclass Net(Base):"),
    ("a docstring of what ran", "helpers.py", '"""doc"""', '"""other doc"""'),
    ("a docstring of what ran goes", "helpers.py", '    """doc"""\n', ""),
    ("the loader's docstring", "app.py", '"""Load."""', '"""Load it."""'),
    (
        "a method that did not run",
        "net.py",
        "return act(x * self.w[0]) * self.g",
        "return act(x * self.w[0]) * self.g + 1",
    ),
    ("the handler", "app.py", "m.forward(2)", "m.forward(3)"),
    ("a stored function's body", "net.py", "return x * conf.ACT_SCALE", "return x * conf.ACT_SCALE + 1"),
    ("another method", "net.py", "return 0", "return 1"),
    ("an unused constant", "conf.py", "UNUSED = 1", "UNUSED = 2"),
    ("a constant of what did not run", "conf.py", "ACT_SCALE = 2.0", "ACT_SCALE = 3.0"),
    ("a function that is never called", "helpers.py", "return x\n", "return x + 1\n"),
    ("a new function", "net.py", "def act(x):", "def act2(x):\n    return x\ndef act(x):"),
    ("an unused constant goes", "conf.py", "UNUSED = 1\n", ""),
    ("a function that is never called goes", "helpers.py", "def never_called(x):\n    return x\n", ""),
    ("a new import", "app.py", "import json, os", "import json, os, math"),
    (
        "a new endpoint",
        "app.py",
        "def handler(m):",
        "import hotloop\napp = hotloop.App('a')\n@app.endpoint\ndef more(x: int) -> int:\n    return x\ndef handler(m):",
    ),
    ("a touched file", "weights.json", '{"b": 5}', '{"b": 5}'),
]
LOADED: list[Case] = [
    ("__init__", "net.py", "self.g = gain()", "self.g = gain() + 1"),
    ("an inherited method that ran", "net.py", "[1.0 * self.MULT] * n", "[2.0 * self.MULT] * n"),
    ("a class constant", "net.py", "MULT = 1.0", "MULT = 4.0"),
    ("an override", "net.py", "    def forward", "    def init_value(self, n):\n        return [0.0] * n\n    def forward"),
    ("a base class", "net.py", "class Net(Base):", "class Mid(Base):\n    MULT = 9.0\nclass Net(Mid):"),
    ("a default argument", "helpers.py", "k=2", "k=5"),
    ("the loader's default argument", "app.py", "scale=1.0", "scale=2.0"),
    ("a decorator's argument", "helpers.py", "@logged(1)", "@logged(2)"),
    ("a decorator's wrapper", "helpers.py", "return f(*a, **k) + tag", "return f(*a, **k) + tag + 1"),
    ("a decorator more", "helpers.py", "@logged(1)", "def dbl(f):\n    return lambda *a: f(*a) * 2\n@dbl\n@logged(1)"),
    ("a decorator less", "helpers.py", "@logged(1)\n", ""),
    ("a constant", "conf.py", "HIDDEN = 8", "HIDDEN = 16"),
    ("what an import computes", "helpers.py", "i * 3", "i * 4"),
    ("an option in a dict", "app.py", '{"bias": 3}', '{"bias": 4}'),
    ("a shadowed open()", "helpers.py", "import json,", "import io\ndef open(p): return io.StringIO('{\"b\": 77}')\nimport json,"),
    ("a shadowed float()", "app.py", "OPTIONS", "float = lambda s: 42.0\nOPTIONS"),
    ("another call", "app.py", 'w["b"] *', 'helpers.never_called(1) + w["b"] *'),
    ("a file", "weights.json", "5", "6"),
    ("a class changed by a statement", "net.py", "class Net(Base):", "Base.MULT = 6.0\nclass Net(Base):"),
    ("a function replaced by a statement", "app.py", "OPTIONS", 'helpers.read_weights = lambda p: {"b": 1000}\nOPTIONS'),
    ("the import's source", "app.py", "import conf, helpers", "import helpers\nclass conf: HIDDEN = 3"),
    ("a helper that moved", "helpers.py", "@logged(1)\ndef scale(x, k=2):", "def scale(x, k=3):\n    return x * k\ndef old(x, k=2):"),
]  # fmt: skip


def ids(case: Case) -> str:
    return case[0].replace(" ", "-")


@pytest.mark.parametrize("case", KEPT, ids=ids)
def test_model_is_kept_after_an_edit_of(case: Case, tmp_path: Path) -> None:
    write(tmp_path, PROJECT)

    seen = observe(tmp_path, replacing(*case[1:]))

    assert (seen.cannot_stay, seen.difference, seen.is_same) == ("", "", True)


@pytest.mark.parametrize("case", LOADED, ids=ids)
def test_model_is_loaded_after_an_edit_of(case: Case, tmp_path: Path) -> None:
    write(tmp_path, PROJECT)

    seen = observe(tmp_path, replacing(*case[1:]))

    assert seen.cannot_stay == ""
    assert seen.difference


def test_environment_variable_that_was_read_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, PROJECT)

    seen = observe(tmp_path, lambda _: monkeypatch.setenv("GAIN", "3"))

    assert seen.difference == "environment variable GAIN changed"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("net.py", "self.g = gain()", "self.g = gain() + 1", "net.py:17 Net.__init__() changed"),
        ("conf.py", "HIDDEN = 8", "HIDDEN = 16", "conf.py: HIDDEN changed (8 -> 16)"),
        ("weights.json", "5", "6", "weights.json changed"),
        ("net.py", "MULT = 1.0", "MULT = 4.0", "net.py: class Base changed"),
    ],
)
def test_difference_is_said_the_way_a_user_reads_it(file: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, PROJECT)

    seen = observe(tmp_path, replacing(file, old, new))

    assert seen.difference == said


def _nothing(_: Path) -> None:
    return


# Each is a project of its own: files, the edit (file, old, new), and what a model may be after it.
HARD: dict[str, tuple[dict[str, str], tuple[str, str, str]]] = {
    "an enum's value": (
        {"app.py": "import enum\nclass Size(enum.Enum):\n    SMALL = 1\ndef load():\n    return [Size.SMALL.value]\n"},
        ("app.py", "SMALL = 1", "SMALL = 2"),
    ),
    "a dataclass's default": (
        {"app.py": "from dataclasses import dataclass, asdict\n@dataclass\nclass C:\n    n: int = 1\ndef load():\n    return asdict(C())\n"},
        ("app.py", "n: int = 1", "n: int = 2"),
    ),
    "a closure's variable": (
        {"app.py": "def make(k):\n    def f():\n        return k\n    return f\nF = make(1)\ndef load():\n    return [F()]\n"},
        ("app.py", "make(1)", "make(2)"),
    ),
    "a partial's argument": (
        {"app.py": "import functools\ndef f(a):\n    return a\nF = functools.partial(f, 1)\ndef load():\n    return [F()]\n"},
        ("app.py", "(f, 1)", "(f, 2)"),
    ),
    "a cached function's body": (
        {"app.py": "import functools\n@functools.lru_cache\ndef f():\n    return 1\nf()\ndef load():\n    return [f()]\n"},
        ("app.py", "return 1", "return 2"),
    ),
    "a new implementation for a type": (
        {"app.py": "import functools\n@functools.singledispatch\ndef f(a):\n    return 1\ndef load():\n    return [f(3)]\n"},
        ("app.py", "def load", "@f.register\ndef _(a: int):\n    return 2\ndef load"),
    ),
    "a class decorator": (
        {"app.py": "def deco(c):\n    c.K = 1\n    return c\n@deco\nclass C: pass\ndef load():\n    return [C.K]\n"},
        ("app.py", "c.K = 1", "c.K = 2"),
    ),
    "a metaclass's attribute": (
        {"app.py": "class M(type):\n    K = 1\nclass C(metaclass=M): pass\ndef load():\n    return [C.K]\n"},
        ("app.py", "K = 1", "K = 2"),
    ),
    "what __init_subclass__ sets": (
        {"app.py": "class B:\n    def __init_subclass__(cls):\n        cls.K = 1\nclass C(B): pass\ndef load():\n    return [C.K]\n"},
        ("app.py", "cls.K = 1", "cls.K = 2"),
    ),
    "a registry filled at import": (
        {"app.py": "R = {}\ndef reg(f):\n    R[f.__name__] = f\n    return f\n@reg\ndef a():\n    return 1\ndef load():\n    return [f() for f in R.values()]\n"},
        ("app.py", "def load", "@reg\ndef b():\n    return 2\ndef load"),
    ),
    "a descriptor": (
        {"app.py": "class D:\n    def __init__(self, v): self.v = v\n    def __get__(self, o, t=None): return self.v\nclass C:\n    x = D(1)\ndef load():\n    return [C().x]\n"},
        ("app.py", "D(1)", "D(2)"),
    ),
    "a module's __getattr__": (
        {"app.py": "import conf\ndef load():\n    return [conf.K]\n", "conf.py": "def __getattr__(name):\n    return 1\n"},
        ("conf.py", "def", "K = 2\ndef"),
    ),
    "a star import": (
        {"app.py": "from conf import *\ndef load():\n    return [K]\n", "conf.py": "K = 1\n"},
        ("conf.py", "K = 1", "K = 2"),
    ),
    "a function-level import": (
        {"app.py": "def load():\n    from conf import K\n    return [K]\n", "conf.py": "K = 1\n"},
        ("conf.py", "K = 1", "K = 2"),
    ),
    "a function-level import of what is imported already": (
        {"app.py": "import conf\ndef load():\n    from conf import K\n    return [K]\n", "conf.py": "K = 1\n"},
        ("conf.py", "K = 1", "K = 2"),
    ),
    "a lazily imported module's function": (
        {"app.py": "def load():\n    import lazy\n    return [lazy.build()]\n", "lazy.py": "import conf\ndef build():\n    return conf.K\n", "conf.py": "K = 1\n"},
        ("conf.py", "K = 1", "K = 2"),
    ),
    "a conditional import": (
        {"app.py": "try:\n    import extra\nexcept ImportError:\n    extra = None\ndef load():\n    return [extra is None]\n", "other.py": ""},
        ("app.py", "import extra", "import other as extra"),
    ),
    "a match pattern": (
        {"app.py": "def load():\n    match 3:\n        case 3: return [1]\n        case _: return [2]\n"},
        ("app.py", "case 3", "case 4"),
    ),
    "a mutable default": (
        {"app.py": "def f(a=[1]):\n    return a\ndef load():\n    return list(f())\n"},
        ("app.py", "a=[1]", "a=[2]"),
    ),
    "a nested package's relative import": (
        {"app.py": "from pkg.sub.mod import build\ndef load():\n    return [build()]\n", "pkg/__init__.py": "", "pkg/sub/__init__.py": "",
         "pkg/sub/mod.py": "def build():\n    from ..conf import K\n    return K\n", "pkg/conf.py": "K = 1\n"},
        ("pkg/conf.py", "K = 1", "K = 2"),
    ),
    "a module imported by a computed name": (
        {"app.py": "import importlib\ndef load():\n    return [importlib.import_module('co' + 'nf').K]\n", "conf.py": "K = 1\n"},
        ("conf.py", "K = 1", "K = 2"),
    ),
    "an attribute by a computed name": (
        {"app.py": "import conf\nname = 'K'\ndef load():\n    return [getattr(conf, name.upper())]\n", "conf.py": "K = 1\n"},
        ("conf.py", "K = 1", "K = 2"),
    ),
    "a name in globals()": (
        {"app.py": "K = 1\ndef load():\n    return [globals()['K']]\n"}, ("app.py", "K = 1", "K = 2"),
    ),
    "a name in eval()": ({"app.py": "K = 1\ndef load():\n    return [eval('K')]\n"}, ("app.py", "K = 1", "K = 2")),
    "a file read through pathlib": (
        {"app.py": "from pathlib import Path\ndef load():\n    return [Path('d.txt').read_text()]\n", "d.txt": "1"},
        ("d.txt", "1", "2"),
    ),
    "a file found by glob": (
        {"app.py": "import glob\ndef load():\n    return sorted(glob.glob('data/*.txt'))\n", "data/a.txt": "1", "b.txt": ""},
        ("b.txt", "", ""),
    ),
    "a variable read by getenv": (
        {"app.py": "import os\nos.environ['X1'] = '1'\ndef load():\n    return [os.getenv('X1')]\n"}, ("app.py", "= '1'", "= '2'"),
    ),
    "which of two definitions holds": (
        {"app.py": "FLAG = True\nif FLAG:\n    def f(): return 1\nelse:\n    def f(): return 2\ndef load():\n    return [f()]\n"},
        ("app.py", "FLAG = True", "FLAG = False"),
    ),
    "a lambda before a stored one": (
        {"app.py": "T = [lambda: 1]\ndef load():\n    return T\ndef handler(m):\n    return m[0]()\n"},
        ("app.py", "T =", "Q = [lambda: 5]\nT ="),
    ),
    "a loader of the same name elsewhere": (
        {"app.py": "def load():\n    return [1]\n"}, ("app.py", "return [1]\n", "return [1]\ndef load():\n    return [2]\n"),
    ),
    "an installed function replaced by a statement": (
        {"app.py": "import json\ndef load():\n    return [json.loads('1')]\n"},
        ("app.py", "def load", "json.loads = lambda s: 5\ndef load"),
    ),
    "the recorded text of a docstring": (
        {"app.py": 'def f():\n    """one"""\ndef load():\n    return [f.__doc__]\n'}, ("app.py", "one", "two"),
    ),
    "a property": (
        {"app.py": "class C:\n    @property\n    def p(self): return 1\ndef load():\n    return [C().p]\n"},
        ("app.py", "return 1", "return 2"),
    ),
    "the working directory set at import": (
        {"app.py": "import os\ndef load():\n    return [os.path.basename(os.getcwd())]\n", "sub/x.txt": ""},
        ("app.py", "def load", "os.chdir('sub')\ndef load"),
    ),
    "a file that did not exist": (
        {"app.py": "import os\ndef load():\n    return [os.path.exists('n.txt')]\n", "b.txt": ""}, ("b.txt", "", ""),
    ),
    "an instance's class": (
        {"app.py": "class A:\n    def v(self): return 1\nclass B(A):\n    def v(self): return 2\nX = A()\ndef load():\n    return [X.v()]\n"},
        ("app.py", "X = A()", "X = B()"),
    ),
    "a bound method at module level": (
        {"app.py": "class A:\n    def __init__(self, k): self.k = k\n    def v(self): return self.k\nv = A(1).v\ndef load():\n    return [v()]\n"},
        ("app.py", "A(1)", "A(2)"),
    ),
    "a generator made at import": (
        {"app.py": "def f():\n    yield 1\ndef load():\n    return list(f())\n"}, ("app.py", "yield 1", "yield 2"),
    ),
    "a slice of sys.path": (
        {"app.py": "import sys\nsys.path.insert(0, 'lib')\ndef load():\n    import part\n    return [part.K]\n", "lib/part.py": "K = 1\n", "lib2/part.py": "K = 2\n"},
        ("app.py", "'lib'", "'lib2'"),
    ),
    "a comprehension's function": (
        {"app.py": "def f(i):\n    return i\ndef load():\n    return [f(i) for i in range(2)]\n"}, ("app.py", "return i\n", "return i + 1\n"),
    ),
    "a keyword default": (
        {"app.py": "def f(*, k=1):\n    return k\ndef load():\n    return [f()]\n"}, ("app.py", "k=1", "k=2"),
    ),
    "a class attribute through an instance in a list": (
        {"app.py": "class A:\n    K = 1\nX = [A()]\ndef load():\n    return [x.K for x in X]\n"}, ("app.py", "K = 1", "K = 2"),
    ),
    "exec of a file of the project": (
        {"app.py": "def load():\n    d = {}\n    exec(open('conf.py').read(), d)\n    return [d['K']]\n", "conf.py": "K = 1\n"},
        ("conf.py", "K = 1", "K = 2"),
    ),
    "a NamedTuple's default": (
        {"app.py": "from typing import NamedTuple\nclass C(NamedTuple):\n    n: int = 1\ndef load():\n    return list(C())\n"},
        ("app.py", "n: int = 1", "n: int = 2"),
    ),
    "a patch deep inside a package": (
        {"app.py": "import json\ndef load():\n    return [json.loads('1')]\n"},
        ("app.py", "def load", "from json import decoder\ndef patch():\n    decoder.JSONDecoder.decode = lambda s, t: 5\npatch()\ndef load"),
    ),
    "the body of a patch deep inside a package": (
        {"app.py": "import json\nfrom patches import patch\npatch()\ndef load():\n    return [json.loads('1')]\n",
         "patches.py": "from json import decoder\nK = 5\ndef patch():\n    decoder.JSONDecoder.decode = lambda s, t: 5\n"},
        ("patches.py", "t: 5", "t: 6"),
    ),
    "what is registered with a package": (
        {"app.py": "import codecs, builtins\nclass A:\n    v = 1\nclass B:\n    v = 2\nbuiltins.__dict__.setdefault('REG', {})['m'] = A\ndef load():\n    import builtins\n    return [getattr(builtins, 'REG')['m'].v]\n"},
        ("app.py", "['m'] = A", "['m'] = B"),
    ),
    "a dictionary filled by statements": (
        {"app.py": "def a(): return 1\nT = {}\nT['a'] = a\ndef load():\n    return [each() for each in T.values()]\n"},
        ("app.py", "T['a'] = a", "T['a'] = lambda: 2"),
    ),
    "a list filled by a loop": (
        {"app.py": "T = []\nfor i in range(3): T.append(i)\ndef load():\n    return [sum(T)]\n"}, ("app.py", "range(3)", "range(4)"),
    ),
    "a dictionary that is filled and handed to a library": (
        {"app.py": "import functools, json\nT = {}\nT['k'] = 1\njson.T = T\ndef load():\n    import json\n    return [getattr(json, 'T')['k']]\n"},
        ("app.py", "['k'] = 1", "['k'] = 2"),
    ),
    "the place of what fills a dictionary": (
        {"app.py": "import json\nT = {}\nT['k'] = 1\ndef setup():\n    json.T = dict(T)\nsetup()\ndef load():\n    import json\n    return [len(getattr(json, 'T'))]\n"},
        ("app.py", "T['k'] = 1\ndef setup():\n    json.T = dict(T)\nsetup()", "def setup():\n    json.T = dict(T)\nsetup()\nT['k'] = 1"),
    ),
    "a thread's name": (
        {"app.py": "import threading\nt = threading.Thread(name='a')\ndef load():\n    return [t.name]\n"}, ("app.py", "='a'", "='b'"),
    ),
    "a thread that runs on": (
        {"app.py": "import threading\nstop = threading.Event()\nt = threading.Thread(target=stop.wait, daemon=True)\nt.start()\nN = 1\ndef load():\n    return [N]\n"},
        ("app.py", "N = 1", "N = 2"),
    ),
    "what a thread that was started sets": (
        {"app.py": "import threading\nR = []\ndef work():\n    R.append(1)\nt = threading.Thread(target=work)\nt.start()\ndef load():\n    t.join()\n    return list(R)\n"},
        ("app.py", "R.append(1)", "R.append(2)"),
    ),
    "an object that hides its state": (
        {"app.py": "import itertools, threading\nclass H:\n    __slots__ = ('k', 'l')\n    def __init__(self, k): self.k = k; self.l = threading.local()\nX = H(1)\ndef load():\n    return [X.k]\n"},
        ("app.py", "H(1)", "H(2)"),
    ),
}  # fmt: skip
EXTRA: dict[str, Callable[[Path], None]] = {
    "a file found by glob": lambda root: (root / "data" / "b.txt").write_text("2") and None,
    "a file that did not exist": lambda root: (root / "n.txt").write_text("2") and None,
}


@pytest.mark.parametrize("name", HARD, ids=lambda name: name.replace(" ", "-"))
def test_model_is_kept_until_something_changes_through(name: str, tmp_path: Path) -> None:
    files, edit = HARD[name]
    write(tmp_path, files)

    before, after = observe_each(tmp_path, _nothing, EXTRA.get(name) or replacing(*edit))

    assert before == Seen("", is_same=True)
    assert after.difference or after.is_same


RUNS_ON_IMPORT = {
    "conf.py": "SEED = 1\n",
    "app.py": """
import atexit
import conf
def report(name):
    return conf.SEED
atexit.register(report, "report")
def load():
    return [1]
""",
}


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (("conf.py", "SEED = 1", "SEED = 2"), "conf.py: SEED changed, which a statement that runs on import leads to"),
        (("app.py", '"report"', '"other"'), "app.py: a statement that runs on import changed"),
        (("app.py", "return conf.SEED", "return 3"), "app.py: a statement that runs on import changed"),
    ],
)
def test_what_a_statement_that_runs_on_import_leads_to_is_named(edit: tuple[str, str, str], why: str, tmp_path: Path):
    write(tmp_path, RUNS_ON_IMPORT)

    assert observe(tmp_path, replacing(*edit)).difference == why


PYDANTIC = {"app.py": """
import pydantic
class Inner(pydantic.BaseModel):
    k: int = pydantic.Field(1, ge=0)
    @pydantic.field_validator("k", mode="after")
    @classmethod
    def more(cls, value):
        return value + 1
    def shown(self):
        return 1
class Settings(pydantic.BaseModel):
    model_config = {"validate_default": True}
    inner: Inner = Inner(k=3)
    other: list[Inner] = []
MANY = pydantic.TypeAdapter(list[Inner])
def load():
    return [Settings(), MANY.validate_python([{"k": 2}])]
"""}  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "is_kept"),
    [
        ("import pydantic\n", "import pydantic\nADDED = 1\n", True),
        ("return 1", "return 2", True),
        ("return value + 1", "return value + 2", False),
        ('mode="after"', 'mode="before"', False),
        ("ge=0", "ge=1", False),
        ("k=3", "k=4", False),
        ("list[Inner])", "tuple[Inner])", False),
    ],
)
def test_pydantic_models_count_by_their_fields_and_validators(
    old: str, new: str, is_kept: bool, tmp_path: Path
) -> None:
    write(tmp_path, PYDANTIC)

    seen = observe(tmp_path, replacing("app.py", old, new))

    assert (not seen.difference, seen.is_same) == (is_kept, is_kept)


HIDDEN = {"app.py": """
def post(x, k=1):
    return x + k
post = {"f": post}
def load():
    return post["f"]
def handler(m):
    return m(1)
"""}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "is_kept"), [("x + k", "x - k", True), ("k=1", "k=2", False)])
def test_function_without_a_name_of_its_own_follows_edits_of_its_body(
    old: str, new: str, is_kept: bool, tmp_path: Path
) -> None:
    write(tmp_path, HIDDEN)

    seen = observe(tmp_path, replacing("app.py", old, new))

    assert (not seen.difference, seen.is_same) == (is_kept, is_kept)


def test_loader_that_changes_a_global_can_not_stay(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "REGISTRY = {}\ndef load():\n    REGISTRY['m'] = 1\n    return [1]\n"})

    seen = observe(tmp_path, _nothing)

    assert seen.cannot_stay == "its loader also changed app.REGISTRY; return it from the loader instead"


def test_loader_that_patches_an_installed_module_can_not_stay(tmp_path: Path) -> None:
    write(
        tmp_path, {"app.py": "import json\ndef mine(s): return 1\ndef load():\n    json.loads = mine\n    return [1]\n"}
    )

    seen = observe(tmp_path, _nothing)

    assert "json.loads" in seen.cannot_stay


def test_loader_that_leaves_a_function_in_an_object_of_a_package_can_not_stay(tmp_path: Path) -> None:
    source = "import logging\ndef mine(record): pass\ndef load():\n    setattr(logging.lastResort, 'emit', mine)\n    return [1]\n"
    write(tmp_path, {"app.py": source})

    seen = observe(tmp_path, _nothing)

    assert "logging._defaultLastResort" in seen.cannot_stay


def test_secret_of_the_environment_is_not_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.gpu_runtime.user_env.fingerprint.observe import _load, forked

    monkeypatch.setenv("TOKEN_OF_MINE", "s3cret-value")
    write(tmp_path, {"app.py": "import os\ndef load():\n    return [len(os.environ['TOKEN_OF_MINE'])]\n"})

    record, _, _ = forked(_load, tmp_path)

    assert "TOKEN_OF_MINE" in record["environment"]
    assert "s3cret" not in repr(record)
    assert os.environ["TOKEN_OF_MINE"] == "s3cret-value"


def test_asking_for_a_packages_version_reads_no_folder_of_the_project(tmp_path: Path):
    # Libraries do so when a loader imports them; importlib.metadata then lists all of sys.path.
    files = {"app.py": "import importlib.metadata\ndef load():\n    return [importlib.metadata.version('pytest')]\n"}
    write(tmp_path, files)

    longer = replacing("app.py", "import importlib.metadata\n", "import importlib.metadata\nADDED = 'a constant'\n")

    assert observe(tmp_path, longer) == Seen("", is_same=True)
