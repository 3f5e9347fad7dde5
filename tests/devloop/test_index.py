"""A snapshot says what changed, whatever changed, and nothing when nothing did."""

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotloop.changes import WHOLE_BYTES, Delete, Link, MakeDirectory, Put, content_digest
from hotloop.devloop.disk import Disk
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import HASHED_AHEAD_BYTES, Index
from hotloop.remote_runner.tree import Tree


def index_of(root, **options):
    index = Index(root, Ignore(root), **options)
    index.refresh()
    return index


def put(path, content):
    return Put(path, content_digest(content), len(content))


def test_an_edit_is_one_put_with_its_time(tmp_path):
    (tmp_path / "app.py").write_bytes(b"1")
    index = index_of(tmp_path)
    (tmp_path / "app.py").write_bytes(b"2")

    snapshot = index.snapshot(["app.py"])

    assert snapshot is not None
    assert snapshot.changeset.operations == (put("app.py", b"2"),)
    assert snapshot.changeset.contents == {content_digest(b"2"): b"2"}
    assert (snapshot.paths, snapshot.size_bytes, snapshot.is_estimated) == (("app.py",), 1, False)
    assert snapshot.saved_at_s == (tmp_path / "app.py").stat().st_mtime_ns / 1e9


def test_a_touch_and_a_path_that_never_was_change_nothing(tmp_path):
    (tmp_path / "app.py").write_bytes(b"1")
    index = index_of(tmp_path)
    os.utime(tmp_path / "app.py")

    assert index.snapshot(["app.py", "gone.tmp"]) is None


def test_an_old_or_future_time_is_estimated(tmp_path):
    index = index_of(tmp_path)
    for number, shift_s in enumerate((-60, 60)):
        path = tmp_path / f"{number}.py"
        path.write_bytes(b"%d" % number)
        os.utime(path, (time.time() + shift_s,) * 2)
        snapshot = index.snapshot([path.name])
        assert snapshot is not None
        assert snapshot.is_estimated


def test_the_executable_bit_is_a_change(tmp_path):
    (tmp_path / "run.sh").write_bytes(b"#!")
    index = index_of(tmp_path)
    (tmp_path / "run.sh").chmod(0o755)

    snapshot = index.snapshot(["run.sh"])

    assert snapshot is not None
    assert snapshot.changeset.operations == (Put("run.sh", content_digest(b"#!"), 2, executable=True),)


def test_a_folder_that_goes_goes_with_all_that_was_in_it_deepest_first(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.py").write_bytes(b"1")
    (tmp_path / "a/y.py").write_bytes(b"1")
    index = index_of(tmp_path)
    shutil.rmtree(tmp_path / "a")

    snapshot = index.snapshot(["a"])

    assert snapshot is not None
    assert snapshot.changeset.operations == (Delete("a/b/x.py"), Delete("a/b"), Delete("a/y.py"), Delete("a"))
    assert (snapshot.num_deleted, snapshot.num_known) == (2, 2)


def test_a_folder_that_stays_empty_is_kept(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_bytes(b"1")
    index = index_of(tmp_path)
    (tmp_path / "data/x").unlink()

    snapshot = index.snapshot(["data/x"])

    assert snapshot is not None
    assert snapshot.changeset.operations == (Delete("data/x"), MakeDirectory("data"))


def test_a_refused_snapshot_is_found_again_after_revert(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    index = index_of(tmp_path)
    digest = index.digest()
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "b").write_bytes(b"3")
    first = index.snapshot(["a", "b"])
    assert first is not None

    index.revert(first)

    assert index.digest() == digest
    again = index.snapshot(index.differences())
    assert again is not None
    assert again.changeset.operations == first.changeset.operations


def test_what_can_not_be_synced_is_a_problem_and_the_rest_is_synced(tmp_path):
    (tmp_path / "app.py").write_bytes(b"1")
    (tmp_path / "big").write_bytes(b"x" * 101)
    (tmp_path / "limit").write_bytes(b"x" * 100)
    (tmp_path / "out").symlink_to("../elsewhere")
    (tmp_path / "in").symlink_to("app.py")
    os.mkfifo(tmp_path / "pipe")
    with open(os.fsencode(tmp_path) + b"/bad\xff.py", "wb"):  # noqa: PTH123 - a name that is no text
        pass

    index = index_of(tmp_path, max_file_bytes=100)

    assert {entry.path for entry in index.entries()} == {"app.py", "in", "limit"}
    assert Link("in", "app.py") in index.entries()
    assert {path.replace("?", "�") for path in index.problems} == {"big", "out", "pipe", "bad�.py"}
    assert index.problems["out"] == "its target '../elsewhere' leaves the project, or goes up again after a name"


@pytest.fixture
def somebodys():
    """A folder of a user who may not read everything, and this process as that user."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    if not user:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    yield folder
    for path in sorted(folder.rglob("*")):
        path.chmod(0o700)
    os.seteuid(user)
    shutil.rmtree(folder)


@pytest.mark.parametrize(("mode", "unread"), [(0o000, {"data"}), (0o444, {"data/x"}), (0o111, {"data"})])
def test_a_folder_that_can_not_be_read_is_a_problem_and_the_rest_is_synced(somebodys, mode, unread):
    (somebodys / "app.py").write_bytes(b"1")
    (somebodys / "data").mkdir()
    (somebodys / "data/x").write_bytes(b"1")
    (somebodys / "data").chmod(mode)

    index = index_of(somebodys)
    for _ in range(2):
        assert {entry.path for entry in index.entries() if isinstance(entry, Put)} == {"app.py"}
        assert index.problems == dict.fromkeys(unread, "it can't be read (Permission denied)")
        assert index.snapshot(index.differences()) is None

    (somebodys / "data").chmod(0o755)
    snapshot = index.snapshot(["data"])
    assert snapshot is not None
    assert snapshot.paths == ("data/x",)
    assert index.problems == {}


def test_a_folder_that_becomes_unreadable_is_a_problem(somebodys):
    (somebodys / "data").mkdir()
    (somebodys / "data/x").write_bytes(b"1")
    index = index_of(somebodys)
    (somebodys / "data").chmod(0)

    snapshot = index.snapshot(index.differences())

    assert snapshot is not None
    assert [type(each) for each in snapshot.changeset.operations] == [Delete, MakeDirectory]
    assert index.problems == {"data/x": "it can't be read (Permission denied)"}


def test_what_is_known_of_a_project_that_is_gone_does_not_make_it_again(tmp_path):
    index = index_of(tmp_path)

    with pytest.raises(FileNotFoundError):
        index.save(tmp_path / "project/.hotloop/index.json")


def test_a_file_that_the_disk_does_not_give_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "app.py").write_bytes(b"1")
    (tmp_path / "lost.py").write_bytes(b"1")
    read = Disk.read

    def broken(self, path):
        if path == "lost.py":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(self, path)

    monkeypatch.setattr(Disk, "read", broken)
    index = index_of(tmp_path)

    assert {entry.path for entry in index.entries()} == {"app.py"}
    assert index.problems == {"lost.py": "it can't be read (Input/output error)"}


def test_a_start_reads_only_what_changed_while_nothing_watched(tmp_path):
    root, state = tmp_path / "p", tmp_path / "s.json"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_bytes(name.encode())
        os.utime(root / name, (1, 1))
    index_of(root).save(state)
    (root / "b").write_bytes(b"new")
    (root / "c").unlink()
    (root / "d").write_bytes(b"d")
    index = Index(root, Ignore(root))
    index.load(state)

    assert index.differences() == ["b", "c", "d"]
    index.refresh()
    assert index.digest() == index_of(root).digest()


def test_a_folder_that_became_a_link_into_itself_took_its_files_with_it(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.py").write_bytes(b"1")
    index = index_of(tmp_path)
    shutil.rmtree(tmp_path / "d")
    (tmp_path / "d").symlink_to("d/a.py")
    index.snapshot(index.differences())

    assert index.entries() == index_of(tmp_path).entries()
    assert "d/a.py" not in index


def test_an_unreadable_index_is_as_none(tmp_path):
    (tmp_path / "i.json").write_text('{"format": 1, "entries": [["put"]]')
    index = Index(tmp_path, Ignore(tmp_path))

    index.load(tmp_path / "i.json")

    assert len(index) == 0


def test_a_content_that_changed_after_the_manifest_is_not_sent(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    index = index_of(tmp_path)
    entry = index.entries()[0]
    (tmp_path / "a").write_bytes(b"2")

    assert isinstance(entry, Put)
    assert index.read(entry) is None
    assert index.entries() == [put("a", b"2")]


def test_a_large_content_is_hashed_in_blocks_and_read_when_it_is_sent(tmp_path):
    content = os.urandom(WHOLE_BYTES + 1)
    (tmp_path / "at").write_bytes(content[1:])
    (tmp_path / "above").write_bytes(content)
    snapshot = Index(tmp_path, Ignore(tmp_path)).snapshot(["at", "above"])

    assert snapshot.changeset.operations == (put("above", content), put("at", content[1:]))
    assert snapshot.changeset.contents == {content_digest(content[1:]): content[1:]}
    assert snapshot.size_bytes == 2 * WHOLE_BYTES + 1


def test_a_large_file_that_was_hashed_ahead_is_not_hashed_again_unless_it_changed(tmp_path, monkeypatch):
    content = bytes(HASHED_AHEAD_BYTES + 1)
    (tmp_path / "at").write_bytes(content[1:])
    (tmp_path / "one").write_bytes(content)
    (tmp_path / "two").write_bytes(content)
    index = Index(tmp_path, Ignore(tmp_path))
    large = index.large(["at", "one", "two", "gone"])
    index.hash_ahead([*large, "gone"])
    (tmp_path / "two").write_bytes(b"1" + content)
    opened = []
    open_it = os.open
    monkeypatch.setattr(os, "open", lambda path, *args: opened.append(path.rpartition("/")[2]) or open_it(path, *args))
    snapshot = index.snapshot(large)

    assert large == ["one", "two"]
    assert snapshot.changeset.operations == (put("one", content), put("two", b"1" + content))
    assert opened == ["two"]
    assert index.large(large) == []


def test_a_large_file_that_is_written_while_it_is_hashed_is_not_taken_for_what_it_is(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(bytes(WHOLE_BYTES + 1))
    status_of = os.fstat

    def status_before_a_write(fd):
        status = status_of(fd)
        with path.open("ab") as file:
            file.write(b"1")
        return status

    with monkeypatch.context() as patches:
        patches.setattr(os, "fstat", status_before_a_write)
        index = index_of(tmp_path)
    entry = index.entries()[0]

    assert index.read_block(entry, 0, 1) is None
    assert index.entries() == [put("a", path.read_bytes())]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "remove", "move", "folder", "link"]),
        st.sampled_from(["a", "b", "c", "a/x", "a/y", "b/x", "b/x/z"]),
        st.sampled_from(["a", "b", "c", "a/x", "b/x"]),
    ),
    max_size=12,
)


def do(root, kind, path, other):
    target = root / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "write":
            target.write_bytes(other.encode())
        elif kind == "folder":
            target.mkdir()
        elif kind == "link":
            target.symlink_to("nowhere")
        elif kind == "move":
            target.rename(root / other)
        elif target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()
    except OSError:
        pass  # such as a folder where a file is: the step does nothing


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=1, max_size=4))
def test_snapshots_lead_to_the_tree_that_a_scan_finds(tmp_path_factory, rounds):
    root = tmp_path_factory.mktemp("p")
    index = index_of(root)
    tree = Tree()
    for steps in rounds:
        for step in steps:
            do(root, *step)
        snapshot = index.snapshot(index.differences())
        tree.apply(snapshot.changeset.operations if snapshot else ())

        assert list(tree) == index.entries() == index_of(root).entries()
