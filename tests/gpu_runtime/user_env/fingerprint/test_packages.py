"""What is known of installed packages is what `importlib.metadata` says, read quicker."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING

import pytest

from hotloop.gpu_runtime.user_env.fingerprint import packages

if TYPE_CHECKING:
    from pathlib import Path


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_owners_of_modules_are_those_that_python_names():
    named = {
        top: {normal(owner) for owner in owners}
        for top, owners in importlib.metadata.packages_distributions().items()
        if top.isidentifier() and top != "__pycache__" and not top.startswith("_editable_")
    }
    assert len(named) > 50
    assert {top: set(packages.top_level_owners().get(top, ())) for top in named} == named


def test_requirements_and_versions_are_those_that_python_names():
    for each in importlib.metadata.distributions():
        name = normal(each.metadata["Name"])
        wanted = [normal(re.split(r"[^A-Za-z0-9._-]", required)[0]) for required in each.requires or []]
        assert packages._requirements(name) == wanted
        assert packages.versions()[name] == each.version


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    cached = (packages.top_level_owners, packages.versions, packages._distributions)
    for each in cached:
        each.cache_clear()
    yield tmp_path
    for each in cached:
        each.cache_clear()


def test_what_older_tools_and_single_files_installed_is_known_too(installed: Path):
    (installed / "Old.Thing-1.5-py3.11.egg-info").mkdir()
    old = installed / "Old.Thing-1.5-py3.11.egg-info"
    (old / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Old.Thing\nVersion: 1.5\n\nRequires-Dist: no\n")
    (old / "top_level.txt").write_text("old_thing\n_old_thing\n")
    (old / "requires.txt").write_text("one_file>=1\n\n[extra]\nNew.Thing\n")
    (installed / "one_file-2.dist-info").mkdir()
    (installed / "one_file-2.dist-info" / "RECORD").write_text(
        "one_file.py,sha256=x,1\n_fast.cpython-311-x86_64-linux-gnu.so,,\none_file-2.dist-info/RECORD,,\n../../bin/it,,\n"
    )
    (installed / "distutils_made-3.egg-info").write_text("Name: distutils-made\n")  # a file

    owners = packages.top_level_owners()
    assert [owners[top] for top in ("old_thing", "_old_thing", "one_file", "_fast")] == [
        ["old-thing"], ["old-thing"], ["one-file"], ["one-file"],
    ]  # fmt: skip
    assert ".." not in owners
    assert packages._requirements("old-thing") == ["one-file", "new-thing"]
    assert packages._requirements("one-file") == packages._requirements("distutils-made") == []
    assert packages._requirements("nobody") == []
    assert packages.versions()["one-file"] == "2"
    assert packages.versions()["distutils-made"] == "3"
