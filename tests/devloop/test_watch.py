"""Saves are seen once, whole, and without a wait; with real files, editors' habits and git."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from functools import partial

import pytest

from hotloop.devloop import inotify
from hotloop.devloop import watch as watching
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.devloop.polled import WatchfilesWatcher
from hotloop.devloop.watch import InotifyWatcher, make_watcher, watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no inotify on this system")

DEADLINE_S = 10.0


class Following:
    """An index that follows the watcher, as the loop does."""

    def __init__(self, root, make=make_watcher):
        self.root = root
        self.ignore = Ignore(root)
        self.index = Index(root, self.ignore)
        self.index.refresh()
        self.batches = []
        self.snapshots = []
        self.watcher = make(root, self.ignore)
        self._task = asyncio.create_task(self._follow())

    async def _follow(self):
        async for batch in watch(self.root, self.ignore, self.index, watcher=self.watcher):
            self.batches.append(batch)
            paths = self.index.differences() if batch.is_full_rescan else batch.paths
            if (snapshot := self.index.snapshot(paths)) is not None:
                self.snapshots.append(snapshot)

    def is_level(self):
        fresh = Index(self.root, Ignore(self.root))
        fresh.refresh()
        return fresh.digest() == self.index.digest()

    async def until_level(self):
        await until(self.is_level)

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(is_true):
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, "it did not happen"
        await asyncio.sleep(0.01)


def follow(root, act, **options):
    """Follow a project while something happens; returns the follower once it is level with the disk."""

    async def main():
        following = Following(root, **options)
        try:
            await asyncio.sleep(0)
            result = act(following)
            if asyncio.iscoroutine(result):
                await result
            await following.until_level()
            return following
        finally:
            await following.stop()

    return asyncio.run(main())


def git(root, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "-C", root, *identity, *arguments], capture_output=True, check=True)


def save_in_place(path, content):
    path.write_bytes(content)


def save_by_rename(path, content):
    fresh = path.with_name(path.name + ".tmp12")
    fresh.write_bytes(content)
    fresh.replace(path)


def save_as_vim(path, content):
    (path.parent / "4913").write_bytes(b"")
    (path.parent / "4913").unlink()
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_bytes(content)
    backup.unlink()


def save_as_emacs(path, content):
    lock = path.with_name(".#" + path.name)
    lock.symlink_to("user@host.1:2")
    path.write_bytes(content)
    lock.unlink()


def save_as_jetbrains(path, content):
    fresh = path.with_name(path.name + "___jb_tmp___")
    fresh.write_bytes(content)
    path.rename(path.with_name(path.name + "___jb_old___"))
    fresh.rename(path)
    path.with_name(path.name + "___jb_old___").unlink()


@pytest.mark.parametrize("save", [save_in_place, save_by_rename, save_as_vim, save_as_emacs, save_as_jetbrains])
def test_an_editors_save_is_one_put_of_the_file_alone(tmp_path, save):
    (tmp_path / "app.py").write_bytes(b"old")

    following = follow(tmp_path, lambda _: save(tmp_path / "app.py", b"new"))

    assert [snapshot.paths for snapshot in following.snapshots] == [("app.py",)]
    assert list(following.snapshots[0].changeset.contents.values()) == [b"new"]


def test_a_save_through_a_name_that_no_rule_knows_is_one_put_of_the_file(tmp_path):
    (tmp_path / "app.py").write_bytes(b"old")

    async def save(_):
        fresh = tmp_path / "app.py.saving-1234"
        fresh.write_bytes(b"new")
        await asyncio.sleep(0.0005)  # the watcher hears of the new name before it is renamed
        fresh.rename(tmp_path / "app.py")

    following = follow(tmp_path, save)

    assert [snapshot.paths for snapshot in following.snapshots] == [("app.py",)]


def test_a_slow_sed_is_one_put_of_the_file(tmp_path):
    (tmp_path / "app.py").write_bytes(b"old")

    async def save(_):
        fresh = tmp_path / "sedXyZ12a"
        with fresh.open("xb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o640)  # it is told of before anything is in it
            for _ in range(3):
                await asyncio.sleep(0.03)
                file.write(b"new")
        fresh.rename(tmp_path / "app.py")

    following = follow(tmp_path, save)

    assert [snapshot.paths for snapshot in following.snapshots] == [("app.py",)]


class Scripted:
    """A watcher that tells of one step of a save each time it was waited for; of the next at once if it is hasty."""

    def __init__(self, *steps, is_hasty=False):
        self._steps = list(steps)
        self._is_hasty = self._is_due = is_hasty

    async def wait(self):
        if not self._steps:
            await asyncio.Event().wait()
        self._is_due = True

    def take(self):
        is_due, self._is_due = self._is_due, self._is_hasty
        return self._steps.pop(0)() if is_due and self._steps else set(), False

    def unclosed(self):
        return frozenset()

    def rescan(self):
        pass

    def close(self):
        pass


def test_a_save_of_many_steps_is_one_batch(tmp_path):
    app, fresh, backup = tmp_path / "app.py", tmp_path / "fresh", tmp_path / "backup"
    app.write_bytes(b"old")

    def write_fresh():
        fresh.write_bytes(b"new")
        return {"fresh"}

    def move_away():
        app.rename(backup)
        return {"app.py", "backup"}

    def move_in():
        fresh.rename(app)
        backup.unlink()
        return {"fresh", "app.py", "backup"}

    async def act(following):
        await until(lambda: following.batches)

    following = follow(tmp_path, act, make=lambda *_: Scripted(write_fresh, move_away, move_in))

    assert [batch.paths for batch in following.batches] == [{"app.py"}]


def test_a_checkout_that_ends_between_two_looks_is_one_batch(tmp_path):
    names = ("a.py", "b.py", "c.py")
    for name in names:
        (tmp_path / name).write_bytes(b"old")

    def written(name):
        (tmp_path / name).write_bytes(b"new")  # by a git that let go of its lock before anybody looked for it
        return {name}

    steps = [partial(written, name) for name in names]
    following = follow(
        tmp_path, lambda following: until(lambda: following.batches), make=lambda *_: Scripted(*steps, is_hasty=True)
    )

    assert [batch.paths for batch in following.batches] == [set(names)]


def test_a_new_file_is_seen_though_nobody_closes_it(tmp_path):
    following = follow(tmp_path, lambda _: os.mknod(tmp_path / "new.py", 0o644))

    assert [snapshot.paths for snapshot in following.snapshots] == [("new.py",)]


def test_a_slow_writer_is_never_read_half_way(tmp_path):
    whole = b"x" * 3000

    async def write_slowly(_):
        for _ in range(10):
            with (tmp_path / "app.py").open("wb", buffering=0) as file:
                for start in range(0, 3000, 1000):
                    file.write(whole[start : start + 1000])
                    await asyncio.sleep(0.003)
            await asyncio.sleep(0.005)

    following = follow(tmp_path, write_slowly)

    contents = {content for snapshot in following.snapshots for content in snapshot.changeset.contents.values()}
    assert contents == {whole}


def test_a_writer_that_never_closes_is_not_waited_for(tmp_path):
    (tmp_path / "log.txt").write_bytes(b"")

    async def write_on(following):
        with (tmp_path / "log.txt").open("ab", buffering=0) as file:
            file.write(b"line\n")
            await until(lambda: following.snapshots)

    following = follow(tmp_path, write_on)

    assert list(following.snapshots[0].changeset.contents.values()) == [b"line\n"]


def test_links_appear_at_once(tmp_path):
    (tmp_path / "a.py").write_bytes(b"1")

    def link(_):
        os.link(tmp_path / "a.py", tmp_path / "hard.py")
        (tmp_path / "soft.py").symlink_to("a.py")

    following = follow(tmp_path, link)

    assert {"hard.py", "soft.py"} <= {entry.path for entry in following.index.entries()}


@pytest.mark.parametrize("make", [make_watcher, WatchfilesWatcher])
def test_files_made_at_once_in_new_folders_are_all_seen(tmp_path, make):
    async def build(_):
        if make is WatchfilesWatcher:
            await asyncio.sleep(0.5)  # it has no way to say that it watches now
        for number in range(60):
            folder = tmp_path / f"d{number}/e/f"
            folder.mkdir(parents=True)
            (folder / "x.py").write_bytes(b"%d" % number)

    following = follow(tmp_path, build, make=make)

    assert following.index.num_files == 60


def test_a_folder_that_moves_is_followed(tmp_path):
    (tmp_path / "old/in").mkdir(parents=True)
    (tmp_path / "old/in/x.py").write_bytes(b"1")

    async def move(following):
        (tmp_path / "old").rename(tmp_path / "new")
        await following.until_level()
        (tmp_path / "new/in/x.py").write_bytes(b"2")
        await following.until_level()
        shutil.rmtree(tmp_path / "new")

    following = follow(tmp_path, move)

    assert len(following.index) == 0


def test_a_checkout_of_many_files_is_one_changeset(tmp_path):
    git(tmp_path, "init", "-q", "-b", "one")
    for number in range(3000):
        (tmp_path / f"d{number % 50}").mkdir(exist_ok=True)
        (tmp_path / f"d{number % 50}/f{number}.py").write_bytes(b"1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "checkout", "-qb", "two")
    for number in range(3000):
        (tmp_path / f"d{number % 50}/f{number}.py").write_bytes(b"22")
    git(tmp_path, "commit", "-qam", "two")

    async def check_out(_):
        await asyncio.to_thread(git, tmp_path, "checkout", "-q", "one")

    following = follow(tmp_path, check_out)

    assert [len(snapshot.paths) for snapshot in following.snapshots] == [3000]
    assert following.batches[0].is_vcs_operation


def test_a_lock_that_stays_is_waited_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "HOLD_CAP_S", 0.2)
    git(tmp_path, "init", "-q")
    lock = tmp_path / ".git/index.lock"

    async def save_beside(following):
        lock.touch()
        for content in (b"1", b"2"):
            (tmp_path / "app.py").write_bytes(content)
            await following.until_level()
        lock.unlink()
        lock.touch()  # of another git
        (tmp_path / "app.py").write_bytes(b"3")

    following = follow(tmp_path, save_beside)

    assert [(batch.is_vcs_operation, batch.lock) for batch in following.batches] == [
        (True, str(lock)), (False, ""), (True, str(lock)),
    ]  # fmt: skip


def test_lost_events_lead_to_a_rescan(tmp_path):
    class Forgetful(inotify.Inotify):
        """Says that the kernel's queue overflowed, and gives nothing else."""

        def read(self):
            return [inotify.RawEvent(-1, inotify.OVERFLOWED, "")] if super().read() else []

    def make(root, ignore):
        return InotifyWatcher(root, ignore, source=Forgetful())

    def write(_):
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep/x.py").write_bytes(b"1")

    following = follow(tmp_path, write, make=make)

    assert following.batches[0].is_full_rescan
    assert following.index.num_files == 1


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/x.py").write_bytes(b"1")
    return folder


async def _edit(following, content):
    (following.root / "deep/x.py").write_bytes(content)
    await following.until_level()


def test_a_folder_that_takes_the_projects_place_is_watched(project):
    async def replace(following):
        project.rename(project.with_name("old"))
        shutil.copytree(project.with_name("old"), project)
        await _edit(following, b"2")
        (project.with_name("old") / "deep/x.py").write_bytes(b"other")
        await _edit(following, b"3")

    following = follow(project, replace)

    assert following.snapshots[-1].paths == ("deep/x.py",)


@pytest.mark.parametrize("is_held", [False, True])  # by somebody's working directory: its inode is then not freed
def test_a_project_that_is_deleted_and_made_again_is_watched(project, is_held):
    async def make_again(following):
        held = os.open(project, os.O_RDONLY) if is_held else None
        shutil.rmtree(project)
        await following.until_level()
        assert following.index.num_files == 0
        (project / "deep").mkdir(parents=True)
        await _edit(following, b"2")
        await _edit(following, b"3")
        if held is not None:
            os.close(held)

    follow(project, make_again)


def test_a_project_that_moves_away_and_back_is_watched(project):
    async def move(following):
        project.rename(project.with_name("old"))
        await until(lambda: following.batches)
        (project.with_name("old") / "deep/x.py").write_bytes(b"2")
        project.with_name("old").rename(project)
        await following.until_level()
        await _edit(following, b"3")

    follow(project, move)


def test_ignored_folders_get_no_watch_and_a_changed_rule_is_a_rescan(tmp_path):
    (tmp_path / "node_modules/a/b").mkdir(parents=True)
    (tmp_path / "node_modules/a/b/x.js").write_bytes(b"1")
    (tmp_path / ".gitignore").write_text("node_modules/\n")

    async def act(following):
        before = set(following.watcher._watch_by_folder)
        (tmp_path / "node_modules/a/b/x.js").write_bytes(b"2")
        (tmp_path / ".gitignore").write_text("other/\n")
        await following.until_level()
        assert before == {""}
        assert "node_modules/a/b" in following.watcher._watch_by_folder
        (tmp_path / "node_modules/a/b/x.js").write_bytes(b"3")

    following = follow(tmp_path, act)

    assert following.index.num_files == 2


def test_a_system_that_allows_no_more_watches_says_what_to_raise():
    error = inotify._limit("max_user_watches")

    assert "fs.inotify.max_user_watches" in error.message
    assert "sudo sysctl" in error.hint
