"""What a loader leaves behind is there in each generation that keeps its model, as after a cold start."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver

APP = """
import random
import hotloop
app = hotloop.App("left")
random.seed(1)
LAST = []

class Strict:
    def __init__(self):
        self.value = 1
    def get(self):
        return self.value

@app.model
def drawn():
    import json.encoder
    json.encoder.INFINITY = 5
    return [random.random()]

@app.model
def second():
    return [random.random()]

@app.model
def strict():
    return Strict()

@app.endpoint
def seen(drawn, second, strict) -> list:
    import json.encoder
    LAST[:] = LAST or [random.random()]
    return [json.encoder.INFINITY, drawn, second, LAST, strict.get()]
"""


def actions(ready: Any) -> dict[str, str]:
    assert isinstance(ready, events.Ready), ready
    return {model.name: model.action for model in ready.models}


def test_random_states_and_attributes_of_libraries_are_as_the_loader_left_them(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_reload(1)
        cold = driver.call("seen").json
        kept = driver.wait_reload(driver.save({"app.py": APP + "# edited\n"}))
        warm = driver.call("seen").json
        one_more = APP.replace("5\n    return [", "5\n    random.random()\n    return [")
        moved = driver.wait_reload(driver.save({"app.py": one_more}))
        after = driver.call("seen").json

    assert cold == warm
    assert set(actions(kept).values()) == {"kept"}
    assert actions(moved) == {"drawn": "loaded", "second": "loaded", "strict": "kept"}
    assert after[1] == cold[2]


def test_a_class_that_can_not_take_its_stored_state_has_its_model_hosted(tmp_path: Path):
    broken = APP.replace(
        "    def get", "    def __setstate__(self, state):\n        self.value = state['gone']\n    def get"
    )
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_reload(1)
        ready = driver.wait_reload(driver.save({"app.py": broken}))
        answer = driver.call("seen").json

    assert isinstance(ready, events.Ready), ready
    strict = next(model for model in ready.models if model.name == "strict")
    assert (strict.action, strict.home) == ("loaded", "hosted")
    assert "KeyError: 'gone'" in strict.why
    assert answer[4] == 1


HOSTED = """
import os
import hotloop
app = hotloop.App("left")

@app.model(hosted=True)
def first():
    import json.encoder
    json.encoder.INFINITY = 5
    os.environ["LEFT_BY_FIRST"] = "1"
    return [1]

@app.model
def second():
    return os.environ["LEFT_BY_FIRST"]

@app.endpoint
def seen(first, second) -> list:
    import json.encoder
    return [json.encoder.INFINITY, second, os.environ["LEFT_BY_FIRST"]]
"""


def test_what_a_hosted_models_loader_leaves_is_there_from_its_first_load_on(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": HOSTED}) as driver:
        driver.wait_reload(1)
        first = driver.call("seen").json
        kept = driver.wait_reload(driver.save({"app.py": HOSTED + "# edited\n"}))
        again = driver.call("seen").json

    assert first == again == [5, "1", "1"]
    assert actions(kept) == {"first": "kept", "second": "kept"}


# What a loader does, and an expression that shows it.
SET_UP = {
    "import mimetypes; mimetypes.add_type('x/y', type_of_one('.zz'))": "mimetypes.guess_type('a.zz')[0]",
    "import calendar; calendar.setfirstweekday(firstweekday=6)": "calendar.firstweekday()",
    "import xml.etree.ElementTree as tree; tree.register_namespace('qq', 'urn:q')": "tree._namespace_map.get('urn:q')",
    "import shutil; shutil.register_archive_format('x', print, [('one', 1)], 'of mine')": "dict(shutil.get_archive_formats()).get('x')",
    "import warnings; warnings.filterwarnings('error', category=UserWarning, module='zz')": "warnings.filters[0][2].__name__",
    "import socket; socket.setdefaulttimeout(7)": "socket.getdefaulttimeout()",
    "import csv; csv.field_size_limit(999999)": "csv.field_size_limit()",
    "import sys; sys.set_int_max_str_digits(0)": "sys.get_int_max_str_digits()",
    "import sys; sys.setswitchinterval(0.001)": "sys.getswitchinterval()",
    "import gc; gc.set_threshold(701, 11, 12)": "list(gc.get_threshold())",
    "import os, time; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()": "list(time.tzname)",
    "import multiprocessing; multiprocessing.set_start_method('spawn', force=True)": "multiprocessing.get_start_method()",
    "seed_by_name(3)": "random.random()",
    "from json import JSONEncoder as E; E.of_mine = 4": "json.JSONEncoder.of_mine",
    "JSONDecoder.of_mine = 3": "json.JSONDecoder.of_mine",
    "sys.path.insert(1, 'of_mine')": "sys.path.index('of_mine')",
}
SET_UP_IN_TORCH = {
    "torch.backends.cudnn.allow_tf32 = False": "torch.backends.cudnn.allow_tf32",
    "torch.backends.cuda.enable_flash_sdp(False)": "torch.backends.cuda.flash_sdp_enabled()",
    "torch.set_default_dtype(torch.float64)": "str(torch.get_default_dtype())",
    "torch.autograd.set_detect_anomaly(True)": "torch.is_anomaly_enabled()",
    "torch.use_deterministic_algorithms(True, warn_only=True)": "torch.get_deterministic_debug_mode()",
    "torch.backends.quantized.engine = 'onednn'": "torch.backends.quantized.engine",
    "from torch.backends.cuda import matmul; matmul.allow_tf32 = True": "torch.backends.cuda.matmul.allow_tf32",
    "torch.set_default_device('meta'); torch.manual_seed(3)": "torch.rand(1, device='cpu').item()",
}


def app_that_sets_up(what: dict[str, str], imports: str) -> str:
    done, seen = "\n    ".join(what), ",\n        ".join(what.values())
    return f"""
import hotloop
{imports}
app = hotloop.App("sets_up")

def type_of_one(suffix):
    return suffix

@app.model
def one():
    {done}
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BytesWarning)
    class Own(UserWarning):
        pass
    warnings.simplefilter("ignore", Own, append=True)
    import shutil, sys
    shutil.register_archive_format("printed", sys.stdout.write)
    try:
        shutil.register_archive_format("bad", 5)
    except TypeError:
        pass
    return [1]

@app.endpoint
def seen(one) -> list:
    import warnings
    return [
        any(each[2] is BytesWarning and each[0] == "ignore" for each in warnings.filters),
        {seen},
    ]
"""


@pytest.mark.parametrize("is_torch", [False, pytest.param(True, marks=pytest.mark.models)])
def test_libraries_are_set_up_as_the_loader_set_them_up(tmp_path: Path, user_python: Path, *, is_torch: bool):
    names = "calendar, csv, gc, json, mimetypes, multiprocessing, os, random, shutil, socket, sys, time, warnings"
    more = "import xml.etree.ElementTree as tree\nfrom json import JSONDecoder\nfrom random import seed as seed_by_name"
    imports = "import torch" if is_torch else f"import {names}\n{more}"
    source = app_that_sets_up(SET_UP_IN_TORCH if is_torch else SET_UP, imports)
    with RuntimeDriver(tmp_path, {"app.py": source}, **({"python": str(user_python)} if is_torch else {})) as driver:
        driver.wait_reload(1)
        cold = driver.call("seen").json
        kept = driver.wait_reload(driver.save({"app.py": source + "# edited\n"}))
        warm = driver.call("seen").json

    assert set(actions(kept).values()) == {"kept"}
    assert not [each for each in driver.events if isinstance(each, events.Notice)]
    assert warm == cold
    assert cold == (
        [False, False, False, "torch.float64", True, 1, "onednn", True, cold[-1]]
        if is_torch
        else [
            *(False, "x/y", 6, "qq", "of mine", "UserWarning", 7.0, 999999, 0, 0.001),
            *([701, 11, 12], ["JST", "JST"], "spawn", 0.23796462709189137, 4, 3, 1),
        ]
    )


# Two loaders, what is changed in the first, and an expression that shows what both left.
MERGED = {
    "a path more": ("sys.path.append('of_a')", "sys.path.append('of_b')", ("of_a", "of_c"), "sys.path[-2:]"),
    "one variable": ("os.environ['MODE'] = '1'", "os.environ['MODE'] = '1'", ("'1'", "'2'"), "os.environ['MODE']"),
    "an attribute": ("json.encoder.INFINITY = 3", "json.encoder.of_b = 1", ("= 3", "= 4"), "b"),
    "a setter": ("calendar.setfirstweekday(3)", "pass", ("(3)", "(4)"), "b"),
}


@pytest.mark.parametrize("name", MERGED, ids=lambda name: name.replace(" ", "-"))
def test_what_several_loaders_left_is_as_after_a_start(name: str, tmp_path: Path):
    first, second, change, seen = MERGED[name]
    source = f"""
import calendar, json.encoder, os, sys
import hotloop
app = hotloop.App("merged")

@app.model
def a():
    {first}
    return [1]

@app.model
def b():
    {second}
    import use
    return use.seen()

@app.endpoint
def seen(a, b) -> list:
    return [{seen}]
"""
    use = "import calendar, json.encoder\ndef seen(): return [json.encoder.INFINITY, calendar.weekheader(1)]\n"
    with RuntimeDriver(tmp_path, {"app.py": source, "use.py": use}) as driver:
        driver.wait_reload(1)
        edited = source.replace(*change, 1)
        ready = driver.wait_reload(driver.save({"app.py": edited}))
        warm = driver.call("seen").json
        again = driver.wait_reload(driver.save({"app.py": edited + "# edited\n"}))
    with RuntimeDriver(tmp_path / "cold", {"app.py": edited, "use.py": use}) as driver:
        driver.wait_reload(1)
        cold = driver.call("seen").json

    assert actions(ready)["a"] == "loaded"
    assert warm == cold
    assert set(actions(again).values()) == {"kept"}


BESIDE = """
import os, random, sqlite3
import hotloop
app = hotloop.App("beside")
FLAG = os.path.exists("flag")

class Store:
    def __init__(self, value):
        self.base = sqlite3.connect(":memory:", check_same_thread=False)
        self.value = value
    def get(self):
        return [self.value, FLAG]

@app.model
def first():
    os.chdir("data")
    random.seed(3)
    return [1]

@app.model
def second():
    return Store([os.path.basename(os.getcwd()), random.random()])

@app.endpoint
def seen(first, second) -> list:
    return [second.get(), random.random()]
"""


def test_a_hosted_model_is_loaded_after_what_the_loaders_before_it_left(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": BESIDE, "data/x": ""}) as driver:
        driver.wait_reload(1)
        first = driver.call("seen").json
        kept = driver.wait_reload(driver.save({"app.py": BESIDE + "# edited\n"}))
        again = driver.call("seen").json
        moved = driver.wait_reload(driver.save({"flag": "x"}))
        flagged = driver.call("seen").json

    assert first == again == [[["data", 0.23796462709189137], False], 0.5442292252959519]
    assert actions(kept) == {"first": "kept", "second": "kept"}
    assert actions(moved) == {"first": "kept", "second": "loaded"}
    assert flagged == [[["data", 0.23796462709189137], True], 0.5442292252959519]


def test_a_model_moves_when_the_app_says_where_it_is_to_be(tmp_path: Path):
    source = "import hotloop\napp = hotloop.App('a')\n@app.model\ndef a():\n    return [1]\n@app.endpoint\ndef seen(a) -> int:\n    return len(a)\n"
    homes: list[tuple[str, str]] = []
    with RuntimeDriver(tmp_path, {"app.py": source}) as driver:
        driver.wait_reload(1)
        for how in ("(hosted=True)", "(hosted=True) ", "(hosted=False)", "(hosted=False) "):
            ready = driver.wait_reload(driver.save({"app.py": source.replace("@app.model", f"@app.model{how}")}))
            assert isinstance(ready, events.Ready), ready
            homes.append((ready.models[0].action, ready.models[0].home))
            assert driver.call("seen").json == 1

    assert homes == [("loaded", "hosted"), ("kept", "hosted"), ("loaded", "resident"), ("kept", "resident")]


# What torch does when a process first uses a GPU; the GPU's generator is a stand-in.
SEEDED = """
import hotloop
import torch
app = hotloop.App("seeded")

class Generator:
    def manual_seed(self, seed):
        self.seed = seed

def first_use():
    torch.cuda.default_generators = (Generator(),)
    torch.cuda.random.device_count = lambda: 1
    for call in torch.cuda._lazy_seed_tracker.get_calls():
        if call:
            call[0]()
    return torch.cuda.default_generators[0].seed

@app.model
def seeded():
    torch.manual_seed(7)
    return [1]

@app.endpoint
def found(seeded) -> int:
    return first_use()
"""


@pytest.mark.models
def test_a_gpu_that_is_first_used_after_the_reload_has_the_loaders_seed(tmp_path: Path, user_python: Path):
    with RuntimeDriver(tmp_path, {"app.py": SEEDED}, python=str(user_python)) as driver:
        driver.wait_reload(1)
        cold = driver.call("found").json
        kept = driver.wait_reload(driver.save({"app.py": SEEDED + "# edited\n"}))
        warm = driver.call("found").json

    assert set(actions(kept).values()) == {"kept"}
    assert (cold, warm) == (7, 7)


def test_only_the_loader_that_puts_code_of_the_project_into_packages_is_said_to(tmp_path: Path):
    source = """
import logging, json
import hotloop
app = hotloop.App("patching")

def mine(record):
    pass

@app.model
def first():
    setattr(logging.lastResort, "emit", mine)
    return [1]

@app.model
def between():
    return [2]

@app.model
def last():
    setattr(json.decoder, "late", mine)
    return [3]

@app.endpoint
def seen(first, between, last) -> list:
    return [first, between, last]
"""
    with RuntimeDriver(tmp_path, {"app.py": source}) as driver:
        ready = driver.wait_reload(1)
        again = driver.wait_reload(driver.save({"app.py": source + "# edited\n"}))

    assert isinstance(ready, events.Ready)
    why = {model.name: model.why for model in ready.models}
    assert "its loader put the project's code into logging." in why["first"]
    assert "its loader put the project's code into json.decoder.late" in why["last"]
    assert "project's code" not in why["between"]
    assert actions(again) == {"first": "loaded", "between": "kept", "last": "loaded"}


COLLECTING = """
import gc
import hotloop
app = hotloop.App("collecting")
{on_import}

@app.model
def model():
    {in_loader}
    return [1]

@app.endpoint
def seen(model) -> list:
    return [gc.isenabled(), gc.get_threshold()]
"""


USUAL = gc.get_threshold()  # of another Python it is another


@pytest.mark.parametrize(
    ("on_import", "in_loader", "expected"),
    [
        ("pass", "pass", [True, [*USUAL]]),
        ("gc.disable()", "pass", [False, [*USUAL]]),
        ("pass", "gc.disable()", [False, [*USUAL]]),
        ("gc.set_threshold(5000, *gc.get_threshold()[1:])", "pass", [True, [5000, *USUAL[1:]]]),
        ("pass", "gc.set_threshold(5000, 20)", [True, [5000, 20, USUAL[2]]]),
    ],
)
def test_garbage_is_collected_when_the_app_says(on_import: str, in_loader: str, expected: list[Any], tmp_path: Path):
    source = COLLECTING.format(on_import=on_import, in_loader=in_loader)
    with RuntimeDriver(tmp_path, {"app.py": source}) as driver:
        driver.wait_reload(1)
        first = driver.call("seen").json
        again = driver.wait_reload(driver.save({"app.py": source + "# edited\n"}))
        kept = driver.call("seen").json

    assert first == kept == expected
    assert actions(again) == {"model": "kept"}
