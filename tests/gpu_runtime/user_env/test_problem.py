"""Exceptions of the user's, described by their own lines."""

from __future__ import annotations

import importlib
import sys
from hashlib import sha256
from typing import Any

import pytest

from hotloop.events import Frame
from hotloop.gpu_runtime.user_env import problem
from hotloop.gpu_runtime.user_env.app import AppError


def problem_of(user, source: str, packages=(), call: str = "f") -> dict[str, Any]:
    """Import a module, call its function, and describe what is raised on the way."""
    user.write(source)
    try:
        getattr(importlib.import_module("shop"), call)()
    except BaseException as error:  # noqa: BLE001
        return problem.from_exception(error, user.project, packages)
    pytest.fail("nothing was raised")


def user_frames(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [frame for frame in found["frames"] if frame["is_project"]]


def marked(frame: dict[str, Any]) -> str:
    return frame["source"][frame["column"] : frame["end_column"]]


def test_the_users_lines_are_shown_with_what_python_marks(user):
    found = problem_of(
        user,
        """
        def f():
            return g({"é": 1})
        def g(x):
            return "é" + x["é"] + h  # é
        """,
    )

    frames = user_frames(found)
    assert (found["type"], found["message"], found["hint"]) == (
        "TypeError",
        'can only concatenate str (not "int") to str',
        "",
    )
    assert [(f["file"], f["line"], f["function"]) for f in frames] == [("shop.py", 2, "f"), ("shop.py", 4, "g")]
    assert frames[1]["source"] == '    return "é" + x["é"] + h  # é'
    assert marked(frames[1]) == '"é" + x["é"]'
    assert problem.where_of(found) == "shop.py:4"


def test_the_line_is_the_one_that_ran_though_the_disk_has_another(user):
    user.write("def f():\n    return 1 / 0\n")
    module = importlib.import_module("shop")
    user.write("# all new\n# and wrong\n")

    try:
        module.f()
    except ZeroDivisionError as error:
        found = problem.from_exception(error, user.project)

    assert user_frames(found)[-1]["source"] == "    return 1 / 0"


def test_library_frames_between_the_users_are_hidden_and_those_below_kept(user):
    found = problem_of(
        user,
        """
        import json, functools
        def f():
            return functools.reduce(g, [1, 2])
        def g(a, b):
            return list(map(json.loads, ["{"]))
        """,
    )

    kept = [(f["file"].rpartition("/")[2], f["is_project"]) for f in found["frames"]]
    assert kept[:2] == [("shop.py", True), ("shop.py", True)]
    assert kept[2:]
    assert not any(is_project for _, is_project in kept[2:])
    assert found["hidden_frames"] == 1  # this test's own, which no one in the project called
    assert problem.where_of(found) == "shop.py:5"


def test_frames_of_hotloop_are_never_shown(user):
    found = problem_of(user, "import hotloop\napp = hotloop.App('a')\ndef f():\n    app.model(3)\n")

    assert not [f for f in found["frames"] if "/hotloop/" in f["file"]]
    assert found["frames"][-1]["line"] == 4


def test_a_syntax_error_is_at_its_line_and_columns(user):
    found = problem_of(user, 'def f():\n    x = ("é", 1 2)\n')

    frame = found["frames"][-1]
    assert (found["type"], found["message"]) == ("SyntaxError", "invalid syntax. Perhaps you forgot a comma?")
    assert (frame["file"], frame["line"], frame["source"], frame["is_project"]) == (
        "shop.py",
        2,
        '    x = ("é", 1 2)',
        True,
    )
    assert marked(frame) == "1 2"


def test_a_file_that_is_no_utf8_is_named_with_what_to_do(user):
    found = problem_of(user, "y = 1\nx = 1\0\n")

    assert (found["type"], found["message"]) == (
        "SyntaxError",
        "no UTF-8 text, but perhaps UTF-16: save the file as UTF-8",
    )
    assert problem.where_of(found) == "shop.py:2"


def test_a_syntax_error_at_the_end_of_a_line_marks_one_column(user):
    found = problem_of(user, "def f(:\n    pass\n")

    assert marked(found["frames"][-1]) == ":"


def test_a_syntax_error_in_text_that_was_evaluated_is_no_file_of_the_project(user, monkeypatch):
    monkeypatch.chdir(user.folder)
    found = problem_of(user, "def f():\n    eval('1 +')\n")

    assert problem.where_of(found) == "shop.py:2"


def test_a_broken_module_names_the_import_and_the_line(user):
    user.write("x = 1\ny = undefined\n", "part.py")
    found = problem_of(user, "import part\n")

    assert [(f["file"], f["line"]) for f in user_frames(found)] == [("shop.py", 1), ("part.py", 2)]
    assert (found["type"], found["message"]) == ("NameError", "name 'undefined' is not defined")


@pytest.mark.parametrize(
    ("module", "packages", "requirement"),
    [
        ("not_installed_at_all", [], "not_installed_at_all"),
        ("sentence_transformers_x", ["sentence-transformers-x>=3"], '"sentence-transformers-x>=3"'),
        ("sentence_transformers_x.util", ["torch", "Sentence_Transformers.X"], "Sentence_Transformers.X"),
        ("cv2", [], "opencv-python-headless"),
        ("cv2", ["opencv-python-headless==4.10"], '"opencv-python-headless==4.10"'),
    ],
)
def test_a_missing_module_is_said_with_the_command_that_installs_it(user, module, packages, requirement):
    found = problem_of(user, f"import {module}\n", packages)

    assert found["type"] == "ModuleNotFoundError"
    assert found["hint"] == f"{sys.executable} -m pip install {requirement}"
    assert problem.where_of(found) == "shop.py:1"


def test_a_misspelt_module_of_the_project_is_not_to_be_installed(user):
    user.project.update({"helpers.py": "0" * 64, "shop.py": None})

    assert problem_of(user, "import helprs\n")["hint"] == "did you mean 'helpers', which is in the project?"


def test_a_missing_part_of_a_package_that_is_there_is_not_to_be_installed(user):
    found = problem_of(user, "import json.nothing\n")

    assert found["hint"] == "json is there, but has no 'nothing': its version or the name is another"


@pytest.mark.parametrize(
    "source", ["import json\njson.nothing\n", "from json import nothing\n", "import json.nothing\n"]
)
@pytest.mark.parametrize(("file", "shown"), [("json.py", "json.py"), ("json/__init__.py", "json/")])
def test_a_file_of_the_projects_that_is_never_imported_because_of_its_name_is_named(user, source, file, shown):
    user.project.update({file: "0" * 64, "shop.py": None})

    hint = problem_of(user, source)["hint"]

    assert hint == f"json is a module of Python's own here, not {shown}: rename that, such as my_{shown}"


def test_a_file_of_the_projects_that_libraries_get_for_a_module_of_pythons_is_named(user, monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)  # Python's, which something else may have imported
    user.write("", "colorsys.py")
    user.project.update({"colorsys.py": sha256(b"").hexdigest()})

    found = problem_of(user, "import colorsys\ncolorsys.rgb_to_hsv\n")

    assert (
        found["hint"]
        == "colorsys.py comes before Python's own colorsys, for libraries too: rename it, such as my_colorsys.py"
    )


def test_advice_on_a_cause_is_given_where_there_is_none_on_what_came_of_it(user):
    source = """
        def f():
            try:
                import faiss
            except ImportError as error:
                raise ValueError("no index") from error
        """

    found = problem_of(user, source)

    assert (found["type"], found["hint"]) == ("ValueError", f"{sys.executable} -m pip install faiss-cpu")


def test_causes_are_appended_and_the_outermost_is_shown(user):
    found = problem_of(
        user,
        """
        def f():
            try:
                1 / 0
            except ZeroDivisionError as error:
                raise KeyError("k") from error
        """,
    )

    assert (found["type"], found["message"]) == ("KeyError", "'k'\ncaused by ZeroDivisionError: division by zero")
    assert problem.where_of(found) == "shop.py:5"


def test_causes_that_go_in_a_circle_end(user):
    found = problem_of(
        user,
        "def f():\n    a, b = ValueError('a'), ValueError('b')\n    a.__cause__, b.__cause__ = b, a\n    raise a\n",
    )

    assert found["message"] == "a\ncaused by ValueError: b"


def test_a_group_lists_its_members_and_a_group_of_one_is_that_one(user):
    many = problem_of(user, "def f():\n    raise ExceptionGroup('two', [ValueError('a'), TypeError('b')])\n")
    del sys.modules["shop"]
    one = problem_of(user, "def f():\n    raise ExceptionGroup('one', [ValueError('a')])\n")

    assert (many["type"], many["message"]) == (
        "ExceptionGroup",
        "two (2 sub-exceptions)\n- ValueError: a\n- TypeError: b",
    )
    assert (one["type"], one["message"]) == ("ValueError", "a\n(the only one in: one (1 sub-exception))")


def test_an_exception_that_can_not_be_written_is_described_all_the_same(user):
    found = problem_of(
        user,
        "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError('no')\ndef f():\n    raise Odd\n",
    )

    assert (found["type"], found["message"]) == ("Odd", "<its __str__ raised RuntimeError>")


def test_notes_are_shown(user):
    found = problem_of(user, "def f():\n    e = ValueError('a')\n    e.add_note('at row 3')\n    raise e\n")

    assert found["message"] == "a\nat row 3"


def test_a_recursion_without_end_is_cut(user):
    found = problem_of(user, "def f():\n    return f()\n")

    assert len(found["frames"]) == 60
    assert found["hidden_frames"] > 800
    assert problem.where_of(found) == "shop.py:2"


def test_an_error_of_the_app_is_at_the_place_that_it_names_and_paths_are_the_users(user):
    user.load("x = 1\ndef f():\n    pass\n")
    file = str(user.folder / "shop.py")
    found = problem.from_exception(AppError(f"wrong at {file}:2", f"see {file}", file, 2), user.project)

    assert (found["message"], found["hint"]) == ("wrong at shop.py:2", "see shop.py")
    assert list(found["frames"]) == [frame("shop.py", 2, "def f():")]


def frame(file: str, line: int, source: str) -> dict[str, Any]:
    from hotloop.events import to_json

    return to_json(Frame(file, line, "<module>", source, is_project=True))


def test_system_exit_is_described_too(user):
    found = problem_of(user, "import sys\ndef f():\n    sys.exit('stop')\n")

    assert (found["type"], found["message"], problem.where_of(found)) == ("SystemExit", "stop", "shop.py:3")


def test_a_form_feed_does_not_shift_the_lines(user):
    found = problem_of(user, "x = 1\n\x0c\ndef f():\n    1 / 0\n")

    assert user_frames(found)[-1]["source"] == "    1 / 0"


def test_the_log_reads_like_a_traceback(user):
    found = problem_of(user, "def f():\n    return 1 + {}\n")
    found["frames"] = user_frames(found)

    assert problem.as_text(found) == (
        "Traceback (most recent call last):\n"
        '  File "shop.py", line 2, in f\n'
        "    return 1 + {}\n"
        "           ^^^^^^\n"
        "TypeError: unsupported operand type(s) for +: 'int' and 'dict'"
    )
