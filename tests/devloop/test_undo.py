"""Edits that are taken back: what the runner is sent, and what of this disk is sent afterwards, whatever was done."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotloop.changes import Put, content_digest
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.devloop.undo import Contents, Undo
from hotloop.errors import UsageError
from hotloop.remote_runner.tree import Tree


class Side:
    """A project's folder, and what a runner has of it."""

    def __init__(self, root, contents=None):
        self.root = root
        self.index = Index(root, Ignore(root))
        self.index.refresh()
        self.undo = Undo(contents)
        self.undo.contents.read(root, self.index.entries())
        self.runner = Tree(self.index.entries())
        self.held = {content_digest(path.read_bytes()) for path in root.rglob("*") if path.is_file()}
        self.number = 0

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        fresh = self.root / f"{path}~"  # another inode each time, as editors do: no clock is fine enough
        fresh.write_text(text)
        fresh.replace(self.root / path)

    def save(self, path, text):
        self.write(path, text)
        return self.send([path])

    def send(self, paths=None):
        snapshot = self.index.snapshot(self.index.differences() if paths is None else paths)
        if snapshot is not None:
            self._take(snapshot)
        return snapshot

    def take_back(self):
        number, snapshot = self.undo.take_back(self.index)
        self._take(snapshot)
        self.undo.applied(snapshot)
        return number

    def _take(self, snapshot):
        self.number += 1
        self.undo.sent(self.number, snapshot)
        here = {entry.digest for entry in self.runner if isinstance(entry, Put)}
        wanted = {item.digest for item in snapshot.changeset.operations if isinstance(item, Put)}
        assert wanted <= here | snapshot.changeset.contents.keys()
        self.runner.apply(snapshot.changeset.operations)
        assert self.runner.digest() == self.index.digest()

    def runs(self):
        """What the runner has, as the texts that these tests write."""
        texts = {content_digest(text.encode()): text for text in ("a", "b", "c", "d", "kept")}
        return {entry.path: texts[entry.digest] for entry in self.runner if isinstance(entry, Put)}


@pytest.fixture
def side(tmp_path):
    (tmp_path / "app.py").write_text("a")
    (tmp_path / "other.py").write_text("kept")
    return Side(tmp_path)


def test_the_newest_edit_is_taken_back_then_the_one_before(side):
    side.save("app.py", "b")
    side.save("app.py", "c")

    told = [side.take_back()]
    first = side.runs()["app.py"]
    told.append(side.take_back())

    assert (told, first, side.runs()["app.py"]) == ([2, 1], "b", "a")
    assert (side.root / "app.py").read_text() == "c"
    with pytest.raises(UsageError, match="there is no edit to take back"):
        side.take_back()


def test_no_scan_sends_what_was_taken_back_but_the_next_save_does(side):
    side.save("app.py", "b")
    side.take_back()

    assert side.send() is None
    assert side.send(["app.py"]) is None
    side.save("app.py", "b")  # the same text: the user wants it there
    assert side.runs()["app.py"] == "b"
    side.take_back()
    assert side.runs()["app.py"] == "a"


def test_a_save_that_was_not_sent_yet_is_sent_after_an_edit_was_taken_back(side):
    side.save("app.py", "b")
    side.write("app.py", "c")  # kept back: syncing is paused

    side.take_back()
    side.send(["app.py"])

    assert side.runs()["app.py"] == "c"


def test_files_that_were_made_and_deleted_are_taken_back_too(side):
    side.save("new/module.py", "b")
    (side.root / "other.py").unlink()
    side.send(["other.py"])

    side.take_back()
    assert side.runs() == {"app.py": "a", "new/module.py": "b", "other.py": "kept"}
    assert side.send() is None
    side.take_back()
    assert side.runs() == {"app.py": "a", "other.py": "kept"}
    side.send(["new", "other.py"])
    assert side.runs() == {"app.py": "a", "other.py": "kept"}


def test_the_next_session_begins_with_the_files_of_this_disk(side, tmp_path_factory):
    side.save("app.py", "b")
    side.save("new.py", "c")
    (side.root / "other.py").unlink()
    side.send(["other.py"])
    for _ in range(3):
        side.take_back()
    kept = tmp_path_factory.mktemp("kept") / "index.json"
    side.index.save(kept)

    again = Index(side.root, Ignore(side.root))
    again.load(kept)
    again.refresh()

    assert {entry.path: entry.digest for entry in again.entries()} == {
        "app.py": content_digest(b"b"), "new.py": content_digest(b"c"),
    }  # fmt: skip


def test_what_is_not_remembered_is_said_and_nothing_changes(tmp_path):
    (tmp_path / "app.py").write_text("a")
    side = Side(tmp_path, Contents(max_bytes=0))
    side.save("app.py", "b")

    with pytest.raises(UsageError, match=r"what app\.py held before #1 is not known here"):
        side.take_back()

    assert side.runs()["app.py"] == "b"


def test_an_edit_that_was_refused_is_none_and_one_taken_back_in_vain_still_can_be(side):
    side.save("app.py", "b")
    _, snapshot = side.undo.take_back(side.index)
    side.undo.sent(2, snapshot)
    side.undo.refused(snapshot)
    side.index.revert(snapshot)
    side.write("app.py", "c")
    refused = side.index.snapshot(["app.py"])
    side.undo.sent(3, refused)
    side.index.revert(refused)
    side.undo.refused(refused)

    assert side.take_back() == 1
    assert side.runs()["app.py"] == "a"


@pytest.mark.parametrize(("size", "is_kept"), [(9, True), (10, True), (11, False)])
def test_contents_are_kept_up_to_the_limit(size, is_kept):
    contents = Contents(max_bytes=10)

    contents.put("x", b"x" * size)

    assert (contents.get("x") is not None) is is_kept


def test_the_oldest_contents_go_first():
    contents = Contents(max_bytes=10)
    for name in "abc":
        contents.put(name, b"1234")
    contents.put("c", b"1234")

    assert [name for name in "abc" if contents.get(name)] == ["b", "c"]


PATHS = st.sampled_from(["a.py", "b.py", "folder/a.py", "folder/b.py", "folder/deep/a.py"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, st.sampled_from("abcd")),
        st.tuples(st.sampled_from(["delete", "touch"]), PATHS, st.just("")),
        st.tuples(st.just("delete"), st.sampled_from(["folder", "folder/deep"]), st.just("")),
        st.tuples(st.sampled_from(["undo", "undo", "scan", "look at folder"]), st.just(""), st.just("")),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_runner_has_what_the_index_says_and_in_the_end_what_this_disk_has(tmp_path_factory, steps):
    root = tmp_path_factory.mktemp("project")
    (root / "a.py").write_text("a")
    side = Side(root)
    for what, path, text in steps:
        _do(side, what, path, text)
    for file in [path for path in root.rglob("*") if path.is_file()]:
        side.write(file.relative_to(root).as_posix(), file.read_text())
    kept = root.parent / f"{root.name}.json"
    side.index.save(kept)

    side.send(["a.py", "b.py", "folder"])
    again = Index(root, Ignore(root))
    again.load(kept)
    again.refresh()
    shutil.rmtree(root)

    on_disk = [entry for entry in again.entries() if isinstance(entry, Put)]
    assert [entry for entry in side.runner if entry.path in {each.path for each in on_disk}] == on_disk


def _do(side, what, path, text):
    target = side.root / path
    if what == "write":
        side.save(path, text)
    elif what == "touch" and target.is_file():
        side.save(path, target.read_text())
    elif what == "delete" and target.exists():
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        side.send([path])
    elif what == "undo":
        try:
            side.take_back()
        except UsageError:
            return
    elif what == "scan":
        side.send()
    elif what == "look at folder":
        side.send(["folder"])
