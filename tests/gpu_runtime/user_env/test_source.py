"""Which files are the project's own, and how its entry file is imported."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest
from tests.gpu_runtime.user_env.conftest import UserProject

from hotloop.gpu_runtime.user_env.source import Project, module_of


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    return Project(str(root))


@pytest.mark.parametrize(
    ("path", "is_own"),
    [
        ("project/app.py", True),
        ("project/data/weights.json", True),
        ("link/app.py", True),
        ("project", False),
        ("project-2/app.py", False),
        ("elsewhere/app.py", False),
        ("project/.venv/lib/python3.11/site-packages/torch/nn.py", False),
        ("project/lib/dist-packages", False),
        ("project/my-site-packages/app.py", True),
    ],
)
def test_own_files_are_those_inside_that_no_installer_put_there(project: Project, tmp_path: Path, path, is_own):
    assert project.owns_file(str(tmp_path / path)) is is_own


@pytest.mark.parametrize("path", [None, "", "<string>", "<frozen os>", json.__file__])
def test_what_is_no_file_or_is_installed_is_not_own(project: Project, path):
    assert not project.owns_file(path)


def test_project_that_lies_among_installed_packages_owns_its_files(tmp_path: Path):
    root = tmp_path / "lib" / "site-packages" / "tool" / "rehearsal"
    root.mkdir(parents=True)

    assert Project(str(root)).owns_file(str(root / "app.py"))


@pytest.mark.parametrize(
    ("entry", "packages", "folder", "name"),
    [
        ("app.py", [], "", "app"),
        ("app.py", [""], "", "app"),
        ("src/search/app.py", [], "src/search", "app"),
        ("src/search/app.py", ["src/search"], "src", "search.app"),
        ("src/search/app.py", ["src", "src/search"], "", "src.search.app"),
        ("src/search/app.py", ["src"], "src/search", "app"),
    ],
)
def test_entry_is_named_from_the_parent_of_its_package(tmp_path: Path, entry, packages, folder, name):
    (tmp_path / "src" / "search").mkdir(parents=True)
    for package in packages:
        (tmp_path / package / "__init__.py").touch()

    assert module_of(str(tmp_path), entry) == (str(tmp_path / folder), name)


def test_module_that_came_while_the_folders_time_stood_still_is_found(user: UserProject):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("came_later")
    seen = user.folder.stat()
    (user.folder / "came_later.py").write_text("K = 1\n")
    os.utime(user.folder, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    user.project.update({})

    assert importlib.import_module("came_later").K == 1
