"""Imports that the profile function of a load does not follow: what of the project's they run counts all the same."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.gpu_runtime.user_env.fingerprint.observe import observe, replacing, write

from hotloop.gpu_runtime.user_env.fingerprint.unwatched import leaves_something, unwatched_imports
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.vault.code import codes_by_name

UNWATCHED = "hotloop.gpu_runtime.user_env.fingerprint.unwatched"
WRITER = """
import contextlib
class Writer:
    n = 0
    def write(self, text):
        self.n += 1
    def flush(self): pass
def load():
    writer = Writer()
    with contextlib.redirect_stdout(writer):
        import this  # which prints
    return [writer.n]
"""


def test_what_an_import_calls_of_the_projects_counts(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": WRITER})

    seen = observe(tmp_path, replacing("app.py", "self.n += 1", "self.n += 2"))

    assert not seen.cannot_stay
    assert seen.difference == "app.py:5 Writer.write() changed"


@pytest.mark.parametrize(
    ("loader", "is_left"),
    [
        ("import colorsys; return colorsys.rgb_to_hsv(0, 0, 0)", False),
        ("return helpers.made(helpers.SIZE)", False),
        ("return [each for each in helpers.SIZES]", False),
        ("return json.loads('1', object_hook=dict)", False),
        ("sys.meta_path.append(find)", True),
        ("json.loads = helpers.made", True),
        ("warnings.showwarning = lambda *_: None", True),
        ("return Finder()", True),
        ("return helpers.Finder()", True),
        ("sys.meta_path.append(FINDER)", True),
    ],
)
def test_code_that_may_leave_packages_something_to_call_is_told(loader: str, is_left: bool, project: Project) -> None:
    code = codes_by_name(compile(f"def load():\n    {loader}", "app.py", "exec"))["load"][0]

    assert leaves_something({code: "its_app"}, project) == is_left


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One with `its_app`, which imports the module `helpers`."""
    classes = "class Finder: pass\nFINDER = Finder()\ndef find(): pass\n"
    write(tmp_path, {
        "helpers.py": classes + "SIZE, SIZES = 1, [1]\ndef made(size): return size\n",
        "its_app.py": classes + "import json, sys, warnings, helpers\n",
    })  # fmt: skip
    made = Project(str(tmp_path))
    for name in ("helpers", "its_app"):
        module = ModuleType(name)
        module.__file__ = str(tmp_path / f"{name}.py")
        monkeypatch.setitem(sys.modules, name, module)
        exec(made.load_code(name, module.__file__), module.__dict__)
    return made


class Followed:
    """What a profile function is called for while some work is done.

    Attributes:
        modules: The module of each call.
        installed: Files of packages that ran.
    """

    def __init__(self, work: Callable[[], object], project: Project, codes: dict[CodeType, str] | None = None) -> None:
        self.modules: list[str] = []
        self.installed: set[str] = set()
        trace: Any = SimpleNamespace(codes=codes or {}, project=project, installed=self.installed)
        before, profile = sys.getprofile(), self._profile  # each time it is asked for, it is another
        sys.setprofile(profile)
        try:
            with unwatched_imports(trace, profile):
                work()
        finally:
            sys.setprofile(before)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.modules.append(frame.f_globals.get("__name__", ""))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes the installed module `a_package`, which imports another one, `its_part`, before it does what is given."""
    folder = tmp_path / "lib"
    monkeypatch.setattr(f"{UNWATCHED}.installed_folders", lambda: (f"{folder}/",))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(tmp_path / "project"))

    def make(text: str) -> None:
        write(folder, {"a_package.py": f"import its_part\nits_part.f()\n{text}", "its_part.py": "def f(): return 1\n"})
        importlib.invalidate_caches()

    yield make
    for name in ("a_package", "its_part", "mine"):
        sys.modules.pop(name, None)


def _import() -> None:
    importlib.import_module("a_package")


def _import_and_call() -> None:
    _import()
    importlib.import_module("its_part").f()


Package = Callable[[str], None]


def test_an_import_is_not_followed_and_what_comes_after_it_is(package: Package, tmp_path: Path) -> None:
    package("")

    followed = Followed(_import_and_call, Project(str(tmp_path / "project")))

    assert "a_package" not in followed.modules
    assert followed.modules.count("its_part") == 1
    assert followed.installed == {str(tmp_path / "lib" / name) for name in ("a_package.py", "its_part.py")}


def test_an_import_is_followed_that_may_call_what_the_project_left(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{UNWATCHED}.leaves_something", lambda *_: True)
    package("")

    followed = Followed(_import_and_call, Project(str(tmp_path / "project")))

    assert followed.modules.count("a_package") == 1
    assert followed.modules.count("its_part") == 3  # its statements, and two calls


def test_what_an_earlier_load_left_is_followed_too(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{UNWATCHED}._ran_before", {})
    package("")
    hook = compile("def load():\n    warnings.showwarning = lambda *_: None", "app.py", "exec").co_consts[0]

    Followed(lambda: None, Project(str(tmp_path / "project")), {hook: "its_app"})
    followed = Followed(_import, Project(str(tmp_path / "project")))

    assert followed.modules.count("a_package") == 1


def test_from_where_a_package_imports_the_projects_own_all_is_followed(package: Package, tmp_path: Path) -> None:
    write(tmp_path / "project", {"mine.py": "def f(): return 1\nf()\n"})
    package("import mine\nmine.f()\nits_part.f()\n")

    followed = Followed(_import, Project(str(tmp_path / "project")))

    assert followed.modules.count("mine") == 3
    assert followed.modules.count("its_part") == 1


def test_what_comes_after_an_import_that_fails_is_followed(package: Package, tmp_path: Path) -> None:
    package("raise ValueError('no luck')\n")

    def work() -> None:
        with pytest.raises(ValueError, match="no luck"):
            _import()
        importlib.import_module("its_part").f()

    followed = Followed(work, Project(str(tmp_path / "project")))

    assert "a_package" not in followed.modules
    assert followed.modules.count("its_part") == 1


def test_a_packages_own_profile_function_is_left_where_it_sets_one(package: Package, tmp_path: Path) -> None:
    package("import sys\ndef own(*_): pass\nsys.setprofile(own)\n")
    seen: list[Any] = []

    def work() -> None:
        _import()
        seen.append(sys.getprofile())

    Followed(work, Project(str(tmp_path / "project")))

    assert seen[0].__name__ == "own"
