"""Where several spellings are one file, the one on the disk is synced. The machine lacks such a file system; a folder that
has each spelling, and lists only some, stands for it."""

import os
import sys

import pytest

from hotloop.changes import Delete, Put, content_digest
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.devloop.spelling import Spelling, folded, folds_names

ACUTE, COMBINED = "caf\u00e9.py", "cafe\u0301.py"


@pytest.fixture
def listed(monkeypatch):
    """Names that folders list; all others can be reached all the same."""
    names = set()
    list_it = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [name for name in list_it(folder) if name in names])
    return names


def index_of(root):
    return Index(root, Ignore(root), spelling=Spelling(root, is_folding=True))


def put(path, content=b"1"):
    return Put(path, content_digest(content), len(content))


@pytest.mark.parametrize(("old", "new"), [("Model.py", "model.py"), ("model.py", "Model.py"), (ACUTE, COMBINED)])
def test_a_file_whose_spelling_changes_is_renamed(tmp_path, listed, old, new):
    index = index_of(tmp_path)
    (tmp_path / old).write_bytes(b"1")
    index.snapshot([old])
    (tmp_path / new).write_bytes(b"1")
    listed.add(new)
    snapshot = index.snapshot([old, new])

    assert snapshot.changeset.operations == (Delete(old), put(new))
    assert index.entries() == [put(new)]
    assert index.problems == {}


def test_a_folder_whose_spelling_changes_is_renamed_with_all_that_is_in_it(tmp_path, listed):
    index = index_of(tmp_path)
    for folder in ("Lib", "lib"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_bytes(b"1")
    index.snapshot(["Lib"])
    listed.update(["lib", "a.py"])
    snapshot = index.snapshot(["Lib", "lib"])

    assert set(snapshot.changeset.operations) == {Delete("Lib/a.py"), Delete("Lib"), put("lib/a.py")}
    assert index.problems == {}


def test_two_names_of_one_file_are_a_problem_of_the_one_that_is_not_on_the_disk(tmp_path, listed):
    index = index_of(tmp_path)
    for name in ("README.md", "readme.md"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / ".hotloopignore").write_text("readme.md")  # as the walk that finds what is ignored gives one name alone
    listed.add("README.md")
    index.snapshot(["README.md"])

    assert index.snapshot(["readme.md"]) is None
    assert index.problems == {"readme.md": "this file system takes it and README.md for one file"}


def test_names_that_the_file_system_tells_apart_after_all_are_both_synced(tmp_path, listed):
    index = index_of(tmp_path)
    names = ["strasse", "stra\u00dfe"]
    listed.update(names)
    for name in names:
        (tmp_path / name).write_bytes(b"1")
    index.snapshot(names)
    index.snapshot(names)

    assert index.entries() == [put(name) for name in names]


@pytest.mark.skipif(sys.platform != "linux", reason="on other systems these are one file")
def test_where_each_spelling_is_a_file_all_are_synced(tmp_path):
    for name in ("a.py", "A.py", ACUTE, COMBINED):
        (tmp_path / name).write_bytes(name.encode())
    index = Index(tmp_path, Ignore(tmp_path))
    index.refresh()

    assert not folds_names(tmp_path)
    assert len(index) == 4


def test_spellings_are_one_name_if_case_and_encoding_alone_differ():
    assert folded("A/B.py") == folded("a/b.PY")
    assert folded("CAF\u00c9.py") == folded(COMBINED) == folded(ACUTE)
    assert folded("stra\u00dfe") == folded("STRASSE")
    assert folded("a") != folded("\u00e4")
