"""What the project's files say about the package, and what the wheel holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import hotloop
from hotloop.remote_runner.environment import declared_packages, requirement_name

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src"
TEMPLATES = SOURCES / "hotloop" / "templates"
_DEPENDENCY = re.compile(r'^\s+"(?P<name>[a-z][a-z0-9-]*)(?:\[[a-z]+\])?[>=]=[^"]+",(?P<comment>\s+# \S.*)?$')


def requirement_lines() -> dict[str, bool]:
    """Give each dependency in pyproject.toml, and whether a comment says what it is for."""
    found = map(_DEPENDENCY.match, (ROOT / "pyproject.toml").read_text().splitlines())
    return {match["name"]: match["comment"] is not None for match in found if match}


def numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = (*map(int, version.split(".")), 0)[:3]
    return major, minor, patch


def names_in(file: Path) -> set[str]:
    lines = [line.strip() for line in file.read_text().splitlines()]
    return {requirement_name(line).lower().replace("_", "-") for line in lines if line and not line.startswith("#")}


def test_each_dependency_says_what_it_is_for() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [*data["project"]["dependencies"], *data["dependency-groups"]["dev"]]
    lines = requirement_lines()

    assert {requirement_name(requirement) for requirement in declared} == set(lines)
    assert [name for name, has_purpose in lines.items() if not has_purpose] == []


def test_the_version_is_written_once() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert data["project"]["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", hotloop.__version__)


def test_the_changelog_has_this_version() -> None:
    assert f"## {hotloop.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_all_that_tests_install_has_a_tested_version() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {requirement_name(r) for r in (*data["project"]["dependencies"], *data["dependency-groups"]["dev"])}
    wanted |= names_in(ROOT / "tests" / "user-requirements.txt")
    wanted |= names_in(ROOT / "tests" / "user-data-requirements.txt")

    assert wanted - names_in(ROOT / "tests" / "constraints.txt") == set()


@pytest.mark.parametrize("generated", sorted(SOURCES.rglob("*_pb2.py")), ids=lambda path: path.name)
def test_generated_messages_run_with_the_oldest_protobuf_that_is_allowed(generated: Path) -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (oldest,) = [r.partition(">=")[2] for r in data["project"]["dependencies"] if r.startswith("protobuf>=")]
    needed = re.search(r"^# Protobuf Python Version: ([\d.]+)$", generated.read_text(), re.MULTILINE)

    assert needed is not None
    assert numbers(needed[1]) <= numbers(oldest), "generate it with `make proto`"


@pytest.mark.parametrize("template", ["chat", "embeddings"])
def test_what_a_template_declares_is_in_the_tests_user_environment(template: str) -> None:
    declared = declared_packages(TEMPLATES / template / "app.py")

    assert declared.packages
    assert set(declared.packages) <= names_in(ROOT / "tests" / "user-requirements.txt")
    assert declared.data_packages
    assert set(declared.data_packages) <= names_in(ROOT / "tests" / "user-data-requirements.txt")


def test_nothing_generated_is_kept_by_git() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    kept = done.stdout.splitlines()

    assert [path for path in kept if path.startswith((".venv", "dist/", "demo/")) or "__pycache__" in path] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_the_templates_with_their_hidden_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "-q", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())

    expected = {f"hotloop/{path.relative_to(TEMPLATES.parent).as_posix()}" for path in template_files()}
    assert expected <= names
    assert {"hotloop/templates/chat/.gitignore", "hotloop/templates/embeddings/pyproject.toml"} <= expected
    assert [name for name in names if "__pycache__" in name or name.startswith("tests")] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)


def template_files() -> list[Path]:
    return [path for path in TEMPLATES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
