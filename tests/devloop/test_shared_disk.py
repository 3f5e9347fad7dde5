"""What another machine writes is seen, though this one's system does not tell of it."""

import asyncio
import os
import shutil

import pytest
from tests.devloop.test_watch import Following, until

from hotloop.devloop import inotify
from hotloop.devloop.shared_disk import LookingWatcher, kind_of
from hotloop.devloop.watch import InotifyWatcher


class Silent(inotify.Inotify):
    """Tells of nothing, as where another machine writes."""

    def read(self):
        super().read()
        return []


def edit(root):
    (root / "app.py").write_bytes(b"another")


def replace(root):
    (root / "fresh").write_bytes(b"2")
    (root / "fresh").rename(root / "app.py")


def make_folders(root):
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep/x.py").write_bytes(b"1")


@pytest.mark.parametrize(
    "act",
    [edit, replace, make_folders, lambda root: (root / "app.py").unlink(), lambda root: shutil.rmtree(root / "old")],
)
def test_what_another_machine_does_is_seen(tmp_path, act):
    (tmp_path / "app.py").write_bytes(b"1")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/y.py").write_bytes(b"1")

    def make(root, ignore):
        return LookingWatcher(root, InotifyWatcher(root, ignore, source=Silent()), look_every_s=0.02)

    async def main():
        following = Following(tmp_path, make=make)
        try:
            act(tmp_path)
            await following.until_level()
            if (tmp_path / "new").exists():
                (tmp_path / "new/deep/x.py").write_bytes(b"22")
                await following.until_level()
            await until(lambda: following.batches)
            count = len(following.batches)
            await asyncio.sleep(0.1)
            assert len(following.batches) == count  # what did not change is no news
        finally:
            await following.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "found"), [("nfs4", "nfs4"), ("9p", "9p"), ("ext4", ""), ("fuse.sshfs", "fuse.sshfs")]
)
def test_a_disk_that_others_write_to_is_known_by_its_file_system(tmp_path, kind, found):
    device = tmp_path.stat().st_dev
    mounts = "\n".join([
        "22 1 0:7 / /other rw,relatime shared:1 - ext4 /dev/x rw",
        f"23 1 {os.major(device)}:{os.minor(device)} / /home rw,relatime shared:2 - {kind} host:/home rw",
    ])  # fmt: skip

    assert kind_of(tmp_path, mounts) == found
    assert kind_of(tmp_path / "missing", mounts) == kind_of(tmp_path, "") == ""
