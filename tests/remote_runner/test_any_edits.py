"""Any sequence of edits of a tree, with the connection cut at any byte and the agent killed: the trees end equal.

HOTLOOP_EDITS_EXAMPLES runs more cases; 1,000 take some minutes.
"""

import asyncio
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.remote_runner.client import connect as connect_by
from tests.remote_runner.line import Line
from tests.remote_runner.test_agent import PROJECT, agents_of

EXAMPLES = int(os.environ.get("HOTLOOP_EDITS_EXAMPLES", "12"))
FOLDERS = ("", "d/", "d/e/", "f/")
NAMES = ("a.py", "b.bin", "d", "é")
LARGE_BYTES = 1_300_000  # more than is read at once, so that its blocks are compared

paths = st.builds(str.__add__, st.sampled_from(FOLDERS), st.sampled_from(NAMES))
edits = st.one_of(
    st.tuples(st.just("put"), paths, st.integers(0, 4)),
    st.tuples(st.just("large"), paths, st.integers(0, 4)),
    st.tuples(st.just("touch up"), paths, st.integers(0, 4)),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("delete"), paths, st.none()),
    st.tuples(st.just("folder"), paths, st.none()),
    st.tuples(st.just("link"), paths, st.sampled_from(["a.py", "./b.bin", "d/a.py"])),
    st.tuples(st.just("exec"), paths, st.booleans()),
    st.tuples(st.just("cut"), st.integers(0, 400_000), st.none()),
    st.tuples(st.just("kill"), st.none(), st.none()),
)


def edit(root, kind, name, value):
    """Change the client's tree, if it can be done."""
    path = root / name
    try:
        if kind in {"put", "large"}:
            remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x = %d\n" % value if kind == "put" else random.Random(value).randbytes(LARGE_BYTES))
        elif kind == "touch up" and path.is_file() and not path.is_symlink():
            with path.open("r+b") as file:
                file.seek(value * 70_000 if path.stat().st_size > 300_000 else 0)
                file.write(b"changed %d" % value)
        elif kind == "rename":
            (root / value).parent.mkdir(parents=True, exist_ok=True)
            path.rename(root / value)
        elif kind == "delete":
            remove(path)
        elif kind == "folder":
            remove(path)
            path.mkdir(parents=True)
        elif kind == "link":
            remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(value)
        elif kind == "exec" and path.is_file() and not path.is_symlink():
            path.chmod(0o755 if value else 0o644)
    except OSError:  # a file stands where a folder would have to be, or nothing is there
        pass


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def tree_of(root):
    """What a tree holds, read from the disk."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        elif not any(path.iterdir()):
            found[name] = "empty folder"
    return found


async def go_through(steps, root, state, num_lanes):
    line = Line(state, num_lanes=num_lanes)
    index = Index(root, Ignore(root))
    pushes = []
    async with connect_by(line) as session:
        await session.open(root, PROJECT)
        index.refresh()
        syncing = asyncio.create_task(session.sync(index))
        for number, (kind, name, value) in enumerate(steps):
            if number == 1:
                await syncing  # `dev serve` watches from then on; a cut of the first step falls into the first sync
            if kind == "cut":
                line.cut_after_bytes = name
            elif kind == "kill":
                os.kill(int((state / "agent/pid").read_text()), signal.SIGKILL)
            elif number:
                edit(root, kind, name, value)
                snapshot = index.snapshot(index.differences())
                if snapshot is not None:
                    pushes.append(asyncio.create_task(session.push(snapshot.changeset)))
                await asyncio.sleep(0)
        await asyncio.gather(syncing, *pushes)
        line.cut_after_bytes = None
        info = await session.command("status")
        digest = index.digest()
        await session.end()
    return Path(info["workspace"]), digest, len(pushes)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(edits, min_size=2, max_size=10), st.sampled_from([1, 2]))
def test_after_any_edits_cuts_and_kills_the_trees_are_equal_and_nothing_outside_was_touched(steps, num_lanes):
    with tempfile.TemporaryDirectory(prefix="hl") as folder:
        root, state, beside = Path(folder, "p"), Path(folder, "s"), Path(folder, "outside")
        for made in (root, state, beside):
            made.mkdir()
        beside.joinpath("file").write_bytes(b"untouched")
        root.joinpath("a.py").write_bytes(b"first")
        root.joinpath("b.bin").write_bytes(random.Random(9).randbytes(LARGE_BYTES))
        with agents_of(state):
            workspace, _, _ = asyncio.run(asyncio.wait_for(go_through(steps, root, state, num_lanes), 60))

        assert tree_of(workspace) == tree_of(root)
        assert tree_of(beside) == {"file": (b"untouched", False)}
        assert {path.name for path in Path(folder).iterdir()} == {"p", "s", "outside"}
