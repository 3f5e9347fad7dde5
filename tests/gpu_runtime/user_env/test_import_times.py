"""What is told of slow imports, and that nothing of the measuring shows."""

from __future__ import annotations

import importlib
import sys
import traceback
import types

import pytest

from hotloop.gpu_runtime.user_env import import_times
from hotloop.gpu_runtime.user_env.import_times import ImportTimes

SLOW = "import stopped_clock\nstopped_clock.now_s += 0.02\n"


@pytest.fixture
def clock(monkeypatch):
    """Only modules that set it have it go on: how busy the machine is does not count."""
    clock = types.ModuleType("stopped_clock")
    clock.now_s = 100.0
    monkeypatch.setitem(sys.modules, "stopped_clock", clock)
    monkeypatch.setattr(import_times, "time", types.SimpleNamespace(monotonic=lambda: clock.now_s))


@pytest.fixture
def library(tmp_path_factory, monkeypatch, clock):
    folder = tmp_path_factory.mktemp("library")
    monkeypatch.syspath_prepend(str(folder))
    for name, source in {"heavy_lib": f"import heavy_part\n{SLOW}", "heavy_part": SLOW, "light_lib": ""}.items():
        (folder / f"{name}.py").write_text(source)
    yield
    for name in ("heavy_lib", "heavy_part", "light_lib"):
        sys.modules.pop(name, None)


def test_a_library_counts_whole_and_a_file_without_what_it_imports(user, library):
    user.write(SLOW, "tables.py")
    with ImportTimes(user.project) as times:
        user.load("import heavy_lib, light_lib, tables\n")

    found = {each["name"]: (each["is_project"], each["took_s"]) for each in times.slowest()}
    assert {name: is_own for name, (is_own, _) in found.items()} == {"heavy_lib": False, "tables.py": True}
    assert [round(found[name][1], 6) for name in ("heavy_lib", "tables.py")] == [0.04, 0.02]


def test_what_an_import_read_from_files_is_counted(user, tmp_path):
    (tmp_path / "table.bin").write_bytes(bytes(2_000_000))
    with ImportTimes(user.project) as times:
        user.load(f"DATA = open({str(tmp_path / 'table.bin')!r}, 'rb').read()\n")

    assert 2_000_000 <= times.read_bytes < 2_200_000


@pytest.mark.parametrize("statement", ["1 / 0", "import no_such_module", "from shop_part import nothing"])
def test_a_traceback_does_not_show_that_it_was_measured(user, statement):
    user.write("", "shop_part.py")
    user.write(f"{statement}\n", "broken.py")
    plain = traceback_of_import("broken")
    with ImportTimes(user.project):
        measured = traceback_of_import("broken")

    assert measured == plain
    assert "importlib" not in plain


def traceback_of_import(name):
    sys.modules.pop(name, None)
    try:
        exec(f"import {name}", {})
    except Exception:  # noqa: BLE001  what it raises is the point
        return traceback.format_exc()
    pytest.fail("it was imported")


def test_importlib_is_as_before_afterwards(user):
    before = importlib._bootstrap._load_unlocked
    with ImportTimes(user.project):
        assert importlib._bootstrap._load_unlocked is not before

    assert importlib._bootstrap._load_unlocked is before
