"""Changesets are applied whole or not at all, whatever is in them and whenever the process dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotloop.changes import Changeset, Delete, Link, MakeDirectory, Put, content_digest, tree_digest
from hotloop.errors import WorkspaceError
from hotloop.remote_runner.outcome import ContentMissingError, GapError
from hotloop.remote_runner.tree import Tree, changes_between, described
from hotloop.remote_runner.workspace import Workspace

law = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from(["a", "b", "c", "d.py"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from([b"", b"x = 1\n", b"y" * 5000, b"z"])


def put(path, content, *, executable=False):
    return Put(path, content_digest(content), len(content), executable)


def changeset(sequence, *operations, contents=()):
    return Changeset(sequence, operations, {content_digest(content): content for content in contents}, 0.0)


def files_in(root):
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@st.composite
def trees(draw):
    """Files by path such that no file is also a folder."""
    chosen = draw(st.dictionaries(PATHS, CONTENTS, max_size=6))
    return {p: c for p, c in chosen.items() if not any(other.startswith(p + "/") for other in chosen)}


def as_changeset(sequence, old, new):
    operations = changes_between(Tree(put(*item) for item in old.items()), Tree(put(*item) for item in new.items()))
    return changeset(sequence, *operations, contents=new.values())


@law
@given(trees(), trees(), trees())
def test_changesets_applied_in_turn_give_the_target_tree(tmp_path_factory, first, second, third):
    workspace = Workspace(tmp_path_factory.mktemp("w"))
    old = {}
    for sequence, new in enumerate([first, second, third], 1):
        workspace.apply(as_changeset(sequence, old, new))
        old = new

    assert files_in(workspace.root) == third
    assert workspace.digest() == tree_digest(workspace.manifest())
    assert {path: content_digest(content) for path, content in third.items()} == {
        path: digest for path, digest in workspace.manifest().items() if digest != "directory"
    }
    workspace.close()


@law
@given(trees(), trees())
def test_a_refused_changeset_changes_nothing(tmp_path_factory, first, second):
    workspace = Workspace(tmp_path_factory.mktemp("w"))
    workspace.apply(as_changeset(1, {}, first))
    bad = as_changeset(2, first, second)
    bad = Changeset(2, (*bad.operations, Put("../outside", content_digest(b"x"), 1)), bad.contents, 0.0)
    before = (files_in(workspace.root), workspace.revision, workspace.sequence, workspace.digest())

    with pytest.raises(WorkspaceError):
        workspace.apply(bad)

    assert (files_in(workspace.root), workspace.revision, workspace.sequence, workspace.digest()) == before
    assert not [path for path in workspace.stage.folder.iterdir() if path.is_file()]
    workspace.close()


def crash_at(folder, step, change):
    """Apply in a child process that dies without any clean-up before a step. Returns whether it died."""
    pid = os.fork()
    if not pid:
        count = 0

        def die(_):
            nonlocal count
            count += 1
            if count > step:
                os._exit(9)

        Workspace(folder, on_step=die).apply(change)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@law
@given(trees(), trees())
def test_killed_between_any_two_steps_the_next_start_has_the_old_or_the_new_tree_whole(tmp_path_factory, first, second):
    step = 0
    is_alive = False
    while not is_alive:
        folder = tmp_path_factory.mktemp("w")
        workspace = Workspace(folder)
        workspace.apply(as_changeset(1, {}, first))
        workspace.close()
        is_alive = not crash_at(folder, step, as_changeset(2, first, second))
        step += 1

        again = Workspace(folder)

        assert (again.sequence, files_in(again.root)) in [(1, first), (2, second)]
        assert again.digest() == tree_digest(again.manifest())
        again.close()
    assert step > 1


def test_a_changeset_sent_twice_is_applied_once(tmp_path):
    workspace = Workspace(tmp_path)
    change = changeset(1, put("a.py", b"1"), contents=[b"1"])
    workspace.apply(change)
    (workspace.root / "a.py").write_bytes(b"the app wrote this")

    again = workspace.apply(change)

    assert (again.changed, workspace.revision) == ({}, 1)
    assert (workspace.root / "a.py").read_bytes() == b"the app wrote this"


def test_a_missing_changeset_is_a_gap(tmp_path):
    with pytest.raises(GapError):
        Workspace(tmp_path).apply(changeset(2, put("a.py", b"1"), contents=[b"1"]))


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "", "a/.", "a\0b", "n" * 300])
def test_a_path_that_leaves_the_tree_or_is_no_name_is_refused(tmp_path, path):
    workspace = Workspace(tmp_path)

    with pytest.raises(WorkspaceError):
        workspace.apply(changeset(1, put("ok.py", b"1"), Put(path, content_digest(b"1"), 1), contents=[b"1"]))

    assert files_in(workspace.root) == {}


def test_a_link_planted_in_the_tree_does_not_lead_outside(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    workspace = Workspace(tmp_path / "w")
    (workspace.root / "door").symlink_to(outside)

    with pytest.raises(WorkspaceError, match="door"):
        workspace.apply(changeset(1, put("a.py", b"1"), put("door/x.py", b"1"), contents=[b"1"]))

    assert list(outside.iterdir()) == []
    assert not (workspace.root / "a.py").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "b/../../x", ""])
def test_a_link_that_leaves_the_tree_is_refused(tmp_path, target):
    with pytest.raises(WorkspaceError):
        Workspace(tmp_path).apply(changeset(1, Link("a", target)))


def test_links_modes_and_empty_folders_are_made(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.apply(
        changeset(
            1, put("run.sh", b"#!", executable=True), put("a/b.py", b"1"), Link("a/c", "../run.sh"),
            MakeDirectory("data/in"), contents=[b"#!", b"1"],
        )
    )  # fmt: skip

    modes = [oct((workspace.root / name).stat().st_mode & 0o7777) for name in ("run.sh", "a/b.py")]

    assert modes == ["0o755", "0o644"]
    assert (workspace.root / "a/c").read_bytes() == b"#!"
    assert (workspace.root / "data/in").is_dir()


def test_a_content_that_did_not_come_is_refused(tmp_path):
    workspace = Workspace(tmp_path)

    with pytest.raises(ContentMissingError):
        workspace.apply(changeset(1, put("a.py", b"1"), put("b.py", b"2"), contents=[b"1"]))

    assert files_in(workspace.root) == {}


def test_a_content_is_known_by_what_it_is_not_by_what_it_is_called(tmp_path):
    lie = Changeset(1, (put("a.py", b"good"),), {content_digest(b"good"): b"evil"}, 0.0)

    with pytest.raises(ContentMissingError):
        Workspace(tmp_path).apply(lie)


def test_a_file_that_the_app_wrote_is_kept_when_a_save_replaces_it(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.apply(changeset(1, put("data.json", b"one"), contents=[b"one"]))
    (workspace.root / "data.json").write_bytes(b"written by the app")

    applied = workspace.apply(changeset(2, put("data.json", b"two"), contents=[b"two"]))

    assert [kept.path for kept in applied.kept] == ["data.json"]
    assert applied.kept[0].copy.read_bytes() == b"written by the app"
    assert (workspace.root / "data.json").read_bytes() == b"two"


def test_a_file_that_was_only_touched_or_has_the_new_content_already_is_not_kept(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.apply(changeset(1, put("a", b"one"), put("b", b"one"), contents=[b"one"]))
    os.utime(workspace.root / "a", (1, 1))
    (workspace.root / "b").write_bytes(b"two")

    applied = workspace.apply(changeset(2, put("a", b"two"), put("b", b"two"), contents=[b"two"]))

    assert applied.kept == ()


def test_a_deleted_file_that_the_app_rewrote_is_kept(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.apply(changeset(1, put("a", b"one"), contents=[b"one"]))
    (workspace.root / "a").write_bytes(b"mine")

    applied = workspace.apply(changeset(2, Delete("a")))

    assert [kept.copy.read_bytes() for kept in applied.kept] == [b"mine"]
    assert files_in(workspace.root) == {}


def test_only_what_the_runner_lacks_is_asked_for(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.apply(changeset(1, put("a", b"one"), put("b", b"two"), contents=[b"one", b"two"]))
    (workspace.root / "b").unlink()
    target = Tree([put("moved/a", b"one"), put("b", b"two"), put("c", b"three")])

    missing = workspace.missing(target)

    assert missing == {content_digest(b"two"), content_digest(b"three")}
    for content in (b"two", b"three"):
        workspace.stage.add_part(content_digest(content), 0, len(content), content)
    workspace.become(2, target)
    assert files_in(workspace.root) == {"moved/a": b"one", "b": b"two", "c": b"three"}


def test_what_the_app_made_beside_the_tree_stays(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.apply(changeset(1, put("a", b"one"), contents=[b"one"]))
    (workspace.root / "output.txt").write_bytes(b"result")
    target = Tree([put("a", b"one")])

    assert workspace.missing(target) == set()
    workspace.become(2, target)

    assert files_in(workspace.root) == {"a": b"one", "output.txt": b"result"}
    assert workspace.revision == 1


def test_parts_go_on_where_they_stopped_and_a_wrong_one_is_refused(tmp_path):
    content = os.urandom(3000)
    digest = content_digest(content)
    workspace = Workspace(tmp_path)
    workspace.stage.add_part(digest, 0, 3000, content[:1000])
    workspace.close()

    again = Workspace(tmp_path)
    assert again.stage.partials() == {digest: 1000}
    with pytest.raises(WorkspaceError):
        again.stage.add_part(digest, 2000, 3000, content[2000:])
    assert again.stage.add_part(digest, 1000, 3000, content[1000:])
    assert again.stage.has(digest)
    wrong = content_digest(b"right")
    with pytest.raises(WorkspaceError):
        again.stage.add_part(wrong, 0, 5, b"wrong")


def test_a_content_whose_writing_was_cut_short_is_not_taken_for_the_whole(tmp_path):
    workspace = Workspace(tmp_path)
    for content in (b"short", b"whole"):
        workspace.stage.add_part(content_digest(content), 0, len(content), content)
    (workspace.stage.folder / "parts" / content_digest(b"short")).write_bytes(b"sho")
    workspace.close()

    again = Workspace(tmp_path)

    assert [again.stage.has(content_digest(content)) for content in (b"short", b"whole")] == [False, True]
    assert not again.is_empty
    target = Tree([put("a", b"short"), put("b", b"whole", executable=True)])
    assert again.missing(target) == {content_digest(b"short")}
    again.stage.add_part(content_digest(b"short"), 0, 5, b"short")
    again.become(1, target)
    assert files_in(again.root) == {"a": b"short", "b": b"whole"}


def test_contents_of_a_tree_that_could_not_be_finished_serve_the_next_attempt(tmp_path):
    root = tmp_path / "w" / "tree"

    def swap(step):
        if step == "commit d/b" and not (tmp_path / "moved").exists():
            (root / "d").rename(tmp_path / "moved")
            (root / "d").symlink_to(tmp_path / "moved")

    workspace = Workspace(tmp_path / "w", on_step=swap)
    target = Tree([put("d/a", b"one"), put("d/b", b"two", executable=True)])
    for content in (b"one", b"two"):
        workspace.stage.add_part(content_digest(content), 0, 3, content)
    with pytest.raises(GapError):
        workspace.become(1, target)
    (root / "d").unlink()

    assert workspace.missing(target) == {content_digest(b"one")}
    workspace.stage.add_part(content_digest(b"one"), 0, 3, b"one")
    workspace.become(2, target)

    assert files_in(root) == {"d/a": b"one", "d/b": b"two"}
    assert [path.stat().st_mode & 0o777 for path in (root / "d/a", root / "d/b")] == [0o644, 0o755]
    assert list((workspace.stage.folder / "parts").iterdir()) == []


def test_what_a_changeset_changed_before_it_failed_is_told_with_the_next_one(tmp_path):
    failing = [OSError(28, "No space left on device")]

    def fail_once(step):
        if step == "commit b" and failing:
            raise failing.pop()

    workspace = Workspace(tmp_path, on_step=fail_once)
    with pytest.raises(GapError):
        workspace.apply(changeset(1, put("a", b"1"), put("b", b"2"), contents=[b"1", b"2"]))
    target = Tree([put("a", b"1"), put("b", b"2")])
    for digest in workspace.missing(target):
        workspace.stage.add_part(digest, 0, 1, b"2")

    applied = workspace.become(2, target)

    assert applied.changed == {"a": content_digest(b"1"), "b": content_digest(b"2")}
    assert (applied.revision, files_in(workspace.root)) == (1, {"a": b"1", "b": b"2"})


def test_a_changeset_whose_end_can_not_be_noted_is_a_gap_and_told_with_the_next_one(tmp_path):
    failing = [OSError(28, "No space left on device")]

    def fail_once(step):
        if step == "finish" and failing:
            raise failing.pop()

    workspace = Workspace(tmp_path, on_step=fail_once)
    with pytest.raises(GapError):
        workspace.apply(changeset(1, put("a", b"1"), contents=[b"1"]))
    target = Tree([put("a", b"1")])

    assert workspace.missing(target) == set()
    applied = workspace.become(2, target)
    workspace.close()
    again = Workspace(tmp_path)

    assert (applied.revision, applied.changed) == (1, {"a": content_digest(b"1")})
    assert (again.sequence, again.revision, again.digest()) == (2, 1, target.digest())
    again.close()


def test_a_second_process_can_not_open_the_workspace(tmp_path):
    workspace = Workspace(tmp_path)
    code = f"from pathlib import Path; from hotloop.remote_runner.workspace import Workspace; Workspace(Path({str(tmp_path)!r}))"

    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "WorkspaceError" in second.stderr
    workspace.close()


def test_the_log_is_replaced_by_a_snapshot_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("hotloop.remote_runner.ledger._MAX_LINES", 10)
    workspace = Workspace(tmp_path)
    for sequence in range(1, 31):
        content = b"%d" % sequence
        workspace.apply(changeset(sequence, put(f"f{sequence % 4}", content), contents=[content]))
    digest = workspace.digest()
    workspace.close()

    again = Workspace(tmp_path)

    assert (again.sequence, again.revision, again.digest()) == (30, 30, digest)
    assert len((tmp_path / "state/changes.jsonl").read_bytes().splitlines()) <= 11


@law
@given(st.lists(st.tuples(PATHS, st.one_of(st.none(), CONTENTS)), max_size=20))
def test_the_kept_digest_equals_the_digest_of_the_whole(steps):
    tree = Tree()
    for path, content in steps:
        if content is None:
            tree.discard(path)
        else:
            tree.put(put(path, content))

        assert tree.digest() == tree_digest({entry.path: described(entry) for entry in tree})


def test_the_path_of_a_workspace_may_be_anything(tmp_path: Path):
    workspace = Workspace(tmp_path / "with spaces and ünïcode")

    workspace.apply(changeset(1, put("ä/ö ü.py", b"1"), contents=[b"1"]))

    assert files_in(workspace.root) == {"ä/ö ü.py": b"1"}
