"""Edits after which a model once was kept though a fresh load gives another: each is loaded again now."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.gpu_runtime.user_env.fingerprint.observe import Seen, observe, observe_each, replacing, write

Change = tuple[str, str, str] | Callable[[Path], None]

LIB = "import json.encoder\ndef get():\n    return json.encoder.INFINITY\n"  # the project's, or deep in a package
LOAD_LIB = "\ndef load():\n    import lib\n    return [lib.get()]\n"
LOAD_RANDOM = "\ndef load():\n    return [random.random()]\n"
SET = "import json.encoder\n"


def _database(value: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "data").mkdir(exist_ok=True)
        with sqlite3.connect(root / "data" / "c.db") as database:
            database.executescript(f"drop table if exists t; create table t(k); insert into t values({value})")
        database.close()

    return make


def _link(target: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / "latest").unlink(missing_ok=True)
        (root / "latest").symlink_to(target)

    return make


def _written(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: write(root, {name: text})


def _aged(root: Path) -> None:
    os.utime(root / "ck/a.txt", (1e9, 1e9))
    os.utime(root / "ck/b.txt", (2e9, 2e9))


SHARED_MEMORY = Path(f"/dev/shm/hotloop-test-{os.getpid()}")
USE = "def build(conf): return conf.K\n"


@pytest.fixture(autouse=True, scope="module")
def _no_file_is_left_in_memory() -> Iterator[None]:
    yield
    SHARED_MEMORY.unlink(missing_ok=True)


def _in_memory(text: str) -> Callable[[Path], None]:
    def make(_: Path) -> None:
        SHARED_MEMORY.write_text(text)

    return make


RUNS = {"runs/run-1/w.txt": "1", "runs/run-2/w.txt": "2"}
CHECKPOINTS = {"ck/a.txt": "1", "ck/b.txt": "2"}
# Each is a project: files, what is made beside them, and the edit.
STALE: dict[str, tuple[dict[str, str], Callable[[Path], None] | None, Change]] = {
    # --- what happens on import ---------------------------------------------------------------------------------------
    "a constant that a patch names": (
        {"app.py": f"{SET}K = 3\njson.encoder.INFINITY = K{LOAD_LIB}", "lib.py": LIB}, None, ("app.py", "K = 3", "K = 4"),
    ),
    "a constant that is the seed": (
        {"app.py": f"import random\nSEED = 1\nrandom.seed(SEED){LOAD_RANDOM}"}, None, ("app.py", "SEED = 1", "SEED = 2"),
    ),
    "a seed in another module": (
        {"app.py": f"import random, conf\nrandom.seed(conf.SEED){LOAD_RANDOM}", "conf.py": "SEED = 1\n"}, None, ("conf.py", "1", "2"),
    ),
    "a seed that a function takes from a dict": (
        {"app.py": f"import random\nfrom util import seed_all, CFG\nrng = seed_all(CFG){LOAD_RANDOM}",
         "util.py": "import random\nCFG = {'seed': 1}\ndef seed_all(c):\n    random.seed(c['seed'])\n"},
        None, ("util.py", "'seed': 1", "'seed': 2"),
    ),
    "a draw on import": (
        {"app.py": f"import random\nrandom.seed(1)\n{LOAD_RANDOM}"}, None, ("app.py", "seed(1)\n", "seed(1)\nX = random.random()\n"),
    ),
    "a patch whose result is assigned": (
        {"app.py": f"from patches import patch\ndone = patch(){LOAD_LIB}", "lib.py": LIB,
         "patches.py": f"{SET}def patch():\n    json.encoder.INFINITY = 3\n"},
        None, ("patches.py", "= 3", "= 4"),
    ),
    "a method that patches": (
        {"app.py": f"from patches import P\nP.install(){LOAD_LIB}", "lib.py": LIB,
         "patches.py": f"{SET}class Patch:\n    def __init__(self, k): self.k = k\n    def install(self): json.encoder.INFINITY = self.k\nP = Patch(3)\n"},
        None, ("patches.py", "self.k\nP", "self.k + 1\nP"),
    ),
    "what a patching object holds": (
        {"app.py": f"from patches import P\nP.install(){LOAD_LIB}", "lib.py": LIB,
         "patches.py": f"{SET}class Patch:\n    def __init__(self, k): self.k = k\n    def install(self): json.encoder.INFINITY = self.k\nP = Patch(3)\n"},
        None, ("patches.py", "Patch(3)", "Patch(4)"),
    ),
    "a patch in a class's body": (
        {"app.py": f"import patches{LOAD_LIB}", "lib.py": LIB, "patches.py": f"{SET}class Setup:\n    json.encoder.INFINITY = 3\n"},
        None, ("patches.py", "= 3", "= 4"),
    ),
    "what a loop goes over": (
        {"app.py": f"{SET}for k in (1, 3):\n    json.encoder.INFINITY = k + 1{LOAD_LIB}", "lib.py": LIB}, None, ("app.py", "(1, 3)", "(1, 5)"),
    ),
    "the flag before a patch": (
        {"app.py": f"{SET}FLAG = True\nif FLAG:\n    json.encoder.INFINITY = 3{LOAD_LIB}", "lib.py": LIB}, None, ("app.py", "= True", "= False"),
    ),
    "the order of two patches": (
        {"app.py": f"import p1, p2{LOAD_LIB}", "p1.py": f"{SET}json.encoder.INFINITY = 1\n", "p2.py": f"{SET}json.encoder.INFINITY = 2\n", "lib.py": LIB},
        None, ("app.py", "p1, p2", "p2, p1"),
    ),
    "a module that may be imported on import": (
        {"app.py": f"{SET}try:\n    import quick\n    json.encoder.INFINITY = 1\nexcept ImportError:\n    json.encoder.INFINITY = 2{LOAD_LIB}", "lib.py": LIB},
        None, _written("quick.py", "K = 1\n"),
    ),
    "a patch under a call that prints": (
        {"app.py": f"{SET}def patch(k): json.encoder.INFINITY = k\nprint(patch(3)){LOAD_LIB}", "lib.py": LIB}, None, ("app.py", "(3)", "(4)"),
    ),
    "a setter whose result is kept": (
        {"app.py": f"{SET}_ = setattr(json.encoder, 'INFINITY', 3){LOAD_LIB}", "lib.py": LIB}, None, ("app.py", "3)", "4)"),
    ),
    "a patch when a class is derived": (
        {"app.py": f"from base import B\nclass C(B):\n    pass{LOAD_LIB}", "lib.py": LIB,
         "base.py": f"{SET}class B:\n    def __init_subclass__(cls): json.encoder.INFINITY = 3\n"},
        None, ("base.py", "= 3", "= 4"),
    ),
    "a patch by a metaclass": (
        {"app.py": f"from base import M\nclass C(metaclass=M):\n    pass{LOAD_LIB}", "lib.py": LIB,
         "base.py": f"{SET}class M(type):\n    def __init__(cls, *given): json.encoder.INFINITY = 3\n"},
        None, ("base.py", "= 3", "= 4"),
    ),
    "a patch under an assert": (
        {"app.py": f"from p import patch\nassert patch(3) is None{LOAD_LIB}", "lib.py": LIB, "p.py": f"{SET}def patch(k): json.encoder.INFINITY = k\n"},
        None, ("app.py", "(3)", "(4)"),
    ),
    # --- files --------------------------------------------------------------------------------------------------------
    "a SQLite database": (
        {"app.py": "import sqlite3\nfrom pathlib import Path\ndef load():\n    c = sqlite3.connect(Path(__file__).parent / 'data' / 'c.db')\n    return [c.execute('select k from t').fetchone()[0]]\n"},
        _database(1), _database(2),
    ),
    "a SQLite database opened on import": (
        {"app.py": "import sqlite3\nC = sqlite3.connect('data/c.db')\ndef load():\n    return [C.execute('select k from t').fetchone()[0]]\n"},
        _database(1), _database(2),
    ),
    "a file mapped on import": (
        {"app.py": "import mmap\nF = open('d.txt', 'rb')\nM = mmap.mmap(F.fileno(), 0, access=mmap.ACCESS_READ)\ndef load():\n    return [M[:1].decode()]\n", "d.txt": "1"},
        None, ("d.txt", "1", "2"),
    ),
    "a file relative to a folder's descriptor": (
        {"app.py": "import os\ndef load():\n    d = os.open('data', os.O_RDONLY)\n    return [os.read(os.open('x.txt', os.O_RDONLY, dir_fd=d), 9).decode()]\n", "data/x.txt": "1"},
        None, ("data/x.txt", "1", "2"),
    ),
    "a folder listed by its descriptor": (
        {"app.py": "import os\ndef load():\n    return sorted(os.listdir(os.open('data', os.O_RDONLY)))\n", "data/x.txt": "1"},
        None, _written("data/y.txt", "1"),
    ),
    "data of a package": (
        {"app.py": "import pkgutil\ndef load():\n    return [pkgutil.get_data('pkg', 'w.txt').decode()]\n", "pkg/__init__.py": "", "pkg/w.txt": "1"},
        None, ("pkg/w.txt", "1", "2"),
    ),
    "a link to a folder, resolved": (
        {"app.py": "from pathlib import Path\ndef load():\n    return [(Path('latest').resolve() / 'w.txt').read_text()]\n", **RUNS},
        _link("runs/run-1"), _link("runs/run-2"),
    ),
    "the newest of some files": (
        {"app.py": "from pathlib import Path\ndef load():\n    return [max(Path('ck').iterdir(), key=lambda p: p.stat().st_mtime).name]\n", **CHECKPOINTS},
        _aged, lambda root: os.utime(root / "ck/a.txt", (3e9, 3e9)),
    ),
    "the newest entry of a folder": (
        {"app.py": "import os\ndef load():\n    return [max(os.scandir('ck'), key=lambda e: e.stat().st_mtime).name]\n", **CHECKPOINTS},
        _aged, lambda root: os.utime(root / "ck/a.txt", (3e9, 3e9)),
    ),
    "a file's permissions": (
        {"app.py": "import shutil\ndef load():\n    return [shutil.which('./run.sh') is not None]\n", "run.sh": ""},
        lambda root: (root / "run.sh").chmod(0o644), lambda root: (root / "run.sh").chmod(0o755),
    ),
    "a variable more": (
        {"app.py": "import os\nfor k in open('env').read().split():\n    os.environ[k] = '1'\ndef load():\n    return [k for k, v in os.environ.items() if k.startswith('ZQ_')]\n", "env": "ZQ_A"},
        None, ("env", "ZQ_A", "ZQ_A ZQ_B"),
    ),
    "a folder that a late module lists": (
        {"app.py": "def load():\n    import late\n    return late.NAMES\n", "late.py": "import glob\nNAMES = sorted(glob.glob('data/*'))\n", "data/a": ""},
        None, _written("data/b", ""),
    ),
    "a file like a module that a late module looks for": (
        {"app.py": "def load():\n    import late\n    return [late.IS]\n", "late.py": "import os\nIS = os.path.exists('plug.py')\n"},
        None, _written("plug.py", ""),
    ),
    "a file in memory": (
        {"app.py": f"def load():\n    return [open('{SHARED_MEMORY}').read()]\n"},
        _in_memory("1"), _in_memory("2"),
    ),
    # --- imports ------------------------------------------------------------------------------------------------------
    "a module in place of its fallback": (
        {"app.py": "def load():\n    try:\n        import quick as impl\n    except ImportError:\n        import slow as impl\n    return [impl.K]\n", "slow.py": "K = 1\n"},
        None, _written("quick.py", "K = 2\n"),
    ),
    "a submodule that was not there": (
        {"app.py": "def load():\n    try:\n        from pkg import quick\n    except ImportError:\n        return [0]\n    return [quick.K]\n", "pkg/__init__.py": ""},
        None, _written("pkg/quick.py", "K = 2\n"),
    ),
    "a module that is looked for": (
        {"app.py": "import importlib.util\ndef load():\n    return [importlib.util.find_spec('plug') is None]\n"}, None, _written("plug.py", ""),
    ),
    "a file that looks like a module": (
        {"app.py": "import os\ndef load():\n    return [os.path.exists('plug.py')]\n"}, None, _written("plug.py", ""),
    ),
    "a module from a path": (
        {"app.py": "import importlib.util as u\ndef load():\n    s = u.spec_from_file_location('dyn', 'dyn/code.py')\n    m = u.module_from_spec(s)\n    s.loader.exec_module(m)\n    return [m.K()]\n", "dyn/code.py": "def K(): return 1\n"},
        None, ("dyn/code.py", "return 1", "return 2"),
    ),
    "a script that is run": (
        {"app.py": "import runpy\ndef load():\n    return [runpy.run_path('script.py')['K']]\n", "script.py": "K = 1\n"}, None, ("script.py", "1", "2"),
    ),
    "an object in a module's place": (
        {"app.py": "import lazy\ndef load():\n    import lazy\n    return [lazy.K]\n",
         "lazy.py": "import sys\nclass Lazy:\n    K = 1\nsys.modules[__name__] = Lazy()\n"},
        None, ("lazy.py", "K = 1", "K = 2"),
    ),
    "a module's __getattr__ that answers any name": (
        {"app.py": "def load():\n    from conf import K\n    return [K]\n", "conf.py": "def __getattr__(name):\n    return 1\n"},
        None, ("conf.py", "return 1", "return 2"),
    ),
    "a module that a function of another is given": (
        {"app.py": "import conf, use\ndef load():\n    return [use.build(conf)]\n", "use.py": USE, "conf.py": "K = 1\n"}, None, ("conf.py", "1", "2"),
    ),
    "a submodule that one is given": (
        {"app.py": "import pkg.conf, use\ndef load():\n    return [use.build(pkg.conf)]\n", "use.py": USE, "pkg/conf.py": "K = 1\n"},
        None, ("pkg/conf.py", "1", "2"),
    ),
    "a package that one is given": (
        {"app.py": "import pkg.conf, use\ndef load():\n    return [use.build(pkg)]\n", "use.py": "def build(p): return p.conf.K\n", "pkg/conf.py": "K = 1\n"},
        None, ("pkg/conf.py", "1", "2"),
    ),
    "a module that a loader imports and gives on": (
        {"app.py": "import conf, use\ndef load():\n    import conf as c\n    return [use.build(c)]\n", "use.py": USE, "conf.py": "K = 1\n"},
        None, ("conf.py", "1", "2"),
    ),
    "a module that a late module gives on": (
        {"app.py": "import conf\ndef load():\n    import late\n    return [late.f()]\n", "late.py": "import conf as c, use\ndef f(): return use.build(c)\n",
         "use.py": USE, "conf.py": "K = 1\n"},
        None, ("conf.py", "1", "2"),
    ),
    "a module in a table": (
        {"app.py": "import conf\nT = {'conf': conf}\ndef load():\n    return [T['conf'].K]\n", "conf.py": "K = 1\n"}, None, ("conf.py", "1", "2"),
    ),
    "a module as a default": (
        {"app.py": "import use\ndef load():\n    return [use.build()]\n", "use.py": "import conf\ndef build(c=conf): return c.K\n", "conf.py": "K = 1\n"},
        None, ("conf.py", "1", "2"),
    ),
    "a module in a class": (
        {"app.py": "import conf\nclass C:\n    conf = conf\n    def k(self): return self.conf.K\ndef load():\n    return [C().k()]\n", "conf.py": "K = 1\n"},
        None, ("conf.py", "1", "2"),
    ),
    "a submodule that two modules name": (
        {"app.py": "import pkg.conf, use\ndef load():\n    return [pkg.conf.A, use.f()]\n", "use.py": "import pkg.conf\ndef f(): return pkg.conf.K\n",
         "pkg/conf.py": "A = 0\nK = 1\n"},
        None, ("pkg/conf.py", "1", "2"),
    ),
    "a name through two late modules that import all": (
        {"app.py": "import conf\ndef load():\n    import late\n    return [late.f()]\n", "late.py": "from between import *\ndef f(): return K\n",
         "between.py": "from conf import *\n", "conf.py": "K = 1\n"},
        None, ("conf.py", "1", "2"),
    ),
    # --- objects ------------------------------------------------------------------------------------------------------
    "a built-in method of an object": (
        {"app.py": "import re\nFIND = re.compile('[a-z]').findall\ndef load():\n    return FIND('a1')\n"}, None, ("app.py", "a-z", "0-9"),
    ),
    "a wrapper of an object's method": ({"app.py": "INC = (1).__add__\ndef load():\n    return [INC(2)]\n"}, None, ("app.py", "(1)", "(5)")),
    "classes in a set": (
        {"app.py": "class A:\n    K = 1\nS = {A}\ndef load():\n    return [each.K for each in S]\n"}, None, ("app.py", "K = 1", "K = 2"),
    ),
    "the second of two classes of one name": (
        {"app.py": "def make(k):\n    class C:\n        K = k\n    return C\nA, B = make(1), make(2)\ndef load():\n    return [A.K, B.K]\n"},
        None, ("app.py", "make(2)", "make(3)"),
    ),
    "the first of two classes of one name": (
        {"app.py": "def make(k):\n    class C:\n        K = k\n    return C\nA, B = make(1), make(2)\ndef load():\n    return [A.K, B.K]\n"},
        None, ("app.py", "make(1)", "make(3)"),
    ),
    "the default of a context's variable": (
        {"app.py": "import contextvars\nV = contextvars.ContextVar('v', default=1)\ndef load():\n    return [V.get()]\n"},
        None, ("app.py", "default=1", "default=2"),
    ),
    "a cached function in a table": (
        {"app.py": "import functools\n@functools.lru_cache\ndef f(): return 1\nT = {'f': f}\ndel f\nT['f']()\ndef load():\n    return [T['f']()]\n"},
        None, ("app.py", "return 1", "return 2"),
    ),
    "a cached method of an object": (
        {"app.py": "import functools\nclass C:\n    def __init__(self): self.f = functools.lru_cache(self._f)\n    def _f(self): return 1\nX = C()\nX.f()\ndef load():\n    return [X.f()]\n"},
        None, ("app.py", "return 1", "return 2"),
    ),
    "state that is not stored": (
        {"app.py": "class H:\n    def __init__(self, k): self.k = k\n    def __getstate__(self): return {}\nX = H(1)\ndef load():\n    return [X.k]\n"},
        None, ("app.py", "X = H(1)", "X = H(2)"),
    ),
    "state that is not reduced": (
        {"app.py": "class H:\n    def __init__(self, k): self.k = k\n    def __reduce__(self): return H, (0,)\nX = H(1)\ndef load():\n    return [X.k]\n"},
        None, ("app.py", "X = H(1)", "X = H(2)"),
    ),
    "the order of a class's attributes": (
        {"app.py": "class C:\n    a = 1\n    b = 2\ndef load():\n    return [k for k in vars(C) if k in 'ab']\n"},
        None, ("app.py", "a = 1\n    b = 2", "b = 2\n    a = 1"),
    ),
    "what a forked process runs": (
        {"app.py": "import os\ndef f(): return 1\ndef load():\n    r, w = os.pipe()\n    if os.fork() == 0:\n        os.write(w, bytes([f()]))\n        os._exit(0)\n    os.wait()\n    return [os.read(r, 1)[0]]\n"},
        None, ("app.py", "return 1", "return 2"),
    ),
}  # fmt: skip


# Modules that only the loader imports: what a save that keeps the model has not imported.
LATE = {
    "app.py": "import lib\nimport lib.consts\nimport lib.starred\ndef load():\n    from lib import late\n    return [late.make()]\n",
    "lib/__init__.py": "SHARED = 1\n",
    "lib/consts.py": "K = 1\nUNUSED = 1\n",
    "lib/starred.py": "S = 1\n",
    "lib/near.py": '"""What it says of itself."""\nN = 1\n',
    "lib/late.py": '''"""What it says of itself, too."""
import dataclasses
import lib
from lib.consts import K
from lib.near import N
from lib.starred import *
@dataclasses.dataclass
class Part:
    """A part."""
    weight: int = 1
LEVEL: int = 1
def make():
    return [Part().weight, LEVEL, K, N, S, lib.SHARED]
''',
}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("app.py", "import lib\n", "import lib\nOTHER = 2\n"),
        ("lib/consts.py", "UNUSED = 1", "UNUSED = 2"),
    ],
)
def test_model_is_kept_whose_loader_imports_modules_late_after_an_edit_elsewhere(
    file: str, old: str, new: str, tmp_path: Path
) -> None:
    write(tmp_path, LATE)

    seen = observe(tmp_path, replacing(file, old, new))

    assert (seen.cannot_stay, seen.difference, seen.is_same) == ("", "", True)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("lib/__init__.py", "SHARED = 1", "SHARED = 2"),
        ("lib/consts.py", "K = 1", "K = 2"),
        ("lib/starred.py", "S = 1", "S = 2"),
        ("lib/near.py", "N = 1", "N = 2"),
        ("lib/late.py", "weight: int = 1", "weight: int = 2"),
        ("lib/late.py", "LEVEL: int = 1", "LEVEL: int = 2"),
        ("lib/late.py", "return [", "return [0, "),
    ],
)
def test_model_is_loaded_again_after_an_edit_of_what_its_late_modules_use(
    file: str, old: str, new: str, tmp_path: Path
) -> None:
    write(tmp_path, LATE)

    seen = observe(tmp_path, replacing(file, old, new))

    assert seen.difference


@pytest.mark.parametrize("name", STALE, ids=lambda name: name.replace(" ", "-"))
def test_model_is_kept_until_it_would_be_another_through(name: str, tmp_path: Path) -> None:
    files, make, change = STALE[name]
    write(tmp_path, files)
    if make is not None:
        make(tmp_path)

    before, after = observe_each(tmp_path, lambda _: None, replacing(*change) if isinstance(change, tuple) else change)

    assert before == Seen("", is_same=True)
    assert after.difference


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("app.py", "VALUE = 1", "VALUE = 2"),
        ("net.py", "return self.w + 1", "return self.w + 2"),
        ("table.py", "out[k] = k", "out[k] = k + 1"),
        ("app.py", "import random\n", "import random, logging\nlog = logging.getLogger('x')\n"),
        ("app.py", "import random\n", "import random\nimport xml.dom.minidom as dom\n"),
        ("app.py", "import random\n", "import random, logging, sys\nlogging.basicConfig(stream=sys.stderr)\n"),
        (
            "app.py",
            "import random\n",
            "import random, logging\nlog = logging.getLogger('x')\nlog.setLevel(logging.INFO)\n",
        ),
        ("app.py", "import random\n", "import random, warnings\nwarnings.filterwarnings('ignore', module='x')\n"),
        ("app.py", "import random\n", "import random\nprint('hello')\n"),
        (
            "app.py",
            "VALUE = 1",
            "VALUE = 1\nfrom dataclasses import dataclass\n@dataclass(frozen=True)\nclass Out:\n    a: int = 1\n",
        ),
        ("app.py", "VALUE = 1", "VALUE = 1\nimport functools\n@functools.lru_cache(maxsize=8)\ndef f(x): return x\n"),
        (
            "app.py",
            "VALUE = 1",
            "VALUE = 1\nimport typing\n@typing.overload\ndef f(x: int) -> int: ...\ndef f(x): return x\n",
        ),
        ("app.py", "VALUE = 1", "VALUE = 1\nimport enum\n@enum.unique\nclass E(enum.Enum):\n    A = 1\n"),
        (
            "app.py",
            "VALUE = 1",
            "VALUE = 1\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from os import PathLike\n",
        ),
        (
            "app.py",
            "VALUE = 1",
            "VALUE = 1\nclass Own(dict):\n    def __init__(self):\n        super().__init__()\nOWN = Own()\n",
        ),
        ("app.py", "load()\n    print", "load() or 1\n    import sys\n    sys.exit(0)\n    print"),
        ("app.py", "if __name__ == '__main__':\n    load()\n    print('done')\n", ""),
    ],
)
def test_what_an_import_does_beside_a_patch_is_edited_freely(file: str, old: str, new: str, tmp_path: Path) -> None:
    files = {
        "app.py": "import random\nfrom table import TABLE\nrandom.seed(1)\nVALUE = 1\ndef load():\n    from net import Net\n    return Net(2)\ndef handler(m):\n    return [m.f(), TABLE, VALUE]\nif __name__ == '__main__':\n    load()\n    print('done')\n",
        "net.py": "class Net:\n    def __init__(self, w):\n        self.w = w\n    def f(self):\n        return self.w + 1\n",
        "table.py": "def build():\n    out = {}\n    for k in range(3):\n        out[k] = k\n    return out\nTABLE = build()\n",
    }  # fmt: skip
    write(tmp_path, files)

    assert observe(tmp_path, replacing(file, old, new)) == Seen("", is_same=True)


def test_loader_that_puts_an_object_into_a_library_can_not_stay(tmp_path: Path) -> None:
    write(
        tmp_path, {"app.py": "def load():\n    import json.encoder\n    json.encoder.INFINITY = [5]\n    return [1]\n"}
    )

    seen = observe(tmp_path, lambda _: None)

    assert "json.encoder.INFINITY" in seen.cannot_stay


@pytest.mark.parametrize(
    ("made", "set_", "said"),
    [("threading.local()", "X.k = 1", "app.X"), ("contextvars.ContextVar('x')", "X.set(1)", "app.X")],
)
def test_loader_that_sets_what_only_its_thread_or_context_sees_can_not_stay(
    made: str, set_: str, said: str, tmp_path: Path
) -> None:
    write(tmp_path, {"app.py": f"import threading, contextvars\nX = {made}\ndef load():\n    {set_}\n    return [1]\n"})

    seen = observe(tmp_path, lambda _: None)

    assert said in seen.cannot_stay


def test_what_statements_name_is_not_asked_whether_it_equals_something(tmp_path: Path) -> None:
    odd = (
        "class Odd(list):\n    def __eq__(self, other): raise ValueError('an array is neither')\n    __hash__ = None\n"
    )
    used = "X = Odd()\ndef fill():\n    X.append(1)\n    return 1\nX.append(2)\nY = fill()\ndef load():\n    return [len(X)]\n"
    write(tmp_path, {"app.py": odd + used})

    assert observe(tmp_path, lambda _: None) == Seen("", is_same=True)


# What is one object after a start is one after a reload.
ONE = {
    "a marker": ("X = object()", "M(X)", "m.x is X"),
    "a generator": ("import random\nX = random.Random(1)", "M(X)", "[X.random(), m.x.random()]"),
    "the process's generator": ("import random\nrandom.seed(1)", "M(random.choice)", "m.x.__self__ is random._inst"),
    "a counter": ("import collections\nX = collections.Counter()", "M(X)", "[m.x.update(a=1), X['a']]"),
    "a namespace": ("import types\nX = types.SimpleNamespace(n=0)", "M(X)", "[setattr(m.x, 'n', 1), X.n]"),
    "an event": ("import threading\nX = threading.Event()", "M(X)", "[X.set(), m.x.is_set()]"),
    "a lock": ("import threading\nX = threading.Lock()", "M(X)", "[X.acquire(), m.x.locked()]"),
    "a table of a class": ("", "M(M.TABLE)", "[m.x.update(a=1), M.TABLE]"),
}


@pytest.mark.parametrize("name", ONE, ids=lambda name: name.replace(" ", "-"))
def test_what_a_model_has_in_common_with_a_module_or_a_class_is_one_object(name: str, tmp_path: Path) -> None:
    made, model, seen = ONE[name]
    kind = "class M:\n    TABLE = {}\n    def __init__(self, x): self.x = x\n"
    write(tmp_path, {"app.py": f"{made}\n{kind}def load():\n    return {model}\ndef handler(m):\n    return {seen}\n"})

    assert observe(tmp_path, lambda _: None) == Seen("", is_same=True)


@pytest.mark.parametrize("drawn", ["choice([1])", "1 if random() else 2"])
def test_function_of_the_processs_generator_keeps_no_model_from_staying(drawn: str, tmp_path: Path) -> None:
    source = f"from random import choice, random\ndef load():\n    return [{drawn}]\ndef handler(m): return 1\n"
    write(tmp_path, {"app.py": source})

    assert observe(tmp_path, replacing("app.py", "return 1\n", "return 2\n")) == Seen("", is_same=True)


def test_modules_are_listed_by_name_alone(tmp_path: Path) -> None:
    source = "from pathlib import Path\ndef load():\n    return sorted(map(str, Path().glob('*.json')))\ndef handler(m): return 1\n"
    write(tmp_path, {"app.py": source, "a.json": "1"})

    assert observe(tmp_path, replacing("app.py", "return 1\n", "return 1000\n")) == Seen("", is_same=True)


def test_loader_whose_thread_goes_on_can_not_stay(tmp_path: Path) -> None:
    source = "import threading, time\ndef beat():\n    time.sleep(60)\ndef load():\n    threading.Thread(target=beat, daemon=True).start()\n    return [1]\n"
    write(tmp_path, {"app.py": source})

    assert "a thread that goes on with beat()" in observe(tmp_path, lambda _: None).cannot_stay


def test_only_what_is_used_of_a_module_counts(tmp_path: Path) -> None:
    source = "import conf, pkg.sub\ndef load():\n    import conf as c\n    from pkg import sub as s\n    return [conf.K, c.K, s.K, pkg.sub.K, getattr(conf, 'K')]\n"
    write(tmp_path, {"app.py": source, "conf.py": "K = 1\nU = 1\n", "pkg/sub.py": "K = 1\nU = 1\n"})

    seen = observe_each(tmp_path, replacing("conf.py", "U = 1", "U = 2"), replacing("pkg/sub.py", "U = 1", "U = 2"))

    assert seen == [Seen("", is_same=True)] * 2


def test_compiled_pattern_counts_by_what_it_is(tmp_path: Path) -> None:
    files = {
        "app.py": "import re\nWORD = re.compile('[a-z]+')\nPROMPT = 'hi'\ndef load():\n    return WORD.findall('a 1')\n"
    }
    write(tmp_path, files)

    kept, loaded = observe_each(
        tmp_path, replacing("app.py", "'hi'", "'ho'\nMORE = 1"), replacing("app.py", "[a-z]", "[0-9]")
    )

    assert kept == Seen("", is_same=True)
    assert loaded.difference == "app.py: WORD changed"


def test_program_that_tells_of_the_machine_runs_no_code_of_the_project(tmp_path: Path) -> None:
    files = {
        "app.py": "import subprocess\ndef load():\n    subprocess.run(['uname'])\n    return [1]\ndef handler(m):\n    return 1\n"
    }
    write(tmp_path, files)

    assert observe(tmp_path, replacing("app.py", "return 1", "return 2")) == Seen("", is_same=True)
