"""What a client must not be able to do: each is refused in words, changes nothing, and the agent goes on serving others."""

import asyncio
import itertools
import os
import random
import socket

import grpc
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotloop import __version__
from hotloop.changes import Changeset, Delete, Link, Put, content_digest
from hotloop.errors import WorkspaceError
from hotloop.remote_runner.places import socket_path
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.stage import Limits, MismatchError, Stage
from hotloop.remote_runner.told import RefusedError
from hotloop.remote_runner.tree import Tree
from hotloop.remote_runner.workspace import Workspace
from tests.remote_runner.test_agent import PROJECT, Files, agents_of, connect, run, saved, workspace_files

FUZZ_EXAMPLES = int(os.environ.get("HOTLOOP_FUZZ_EXAMPLES", "60"))
fuzz = settings(max_examples=FUZZ_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
DIGEST = content_digest(b"content")


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path, Limits(file_bytes=1 << 20, free_bytes=0))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([(0, 10 << 30, b"x")], "can't be"),
        ([(0, (1 << 20) + 1, b"x")], "can't be"),
        ([(5, 7, b"xx")], "only 0 bytes are here"),
        ([(0, 7, b"content and more")], "ends at byte 16"),
        ([(0, 7, b"con"), (3, 8, b"t")], "can't be"),
        ([(0, 7, b"con"), (3, 7, b"tentx")], "ends at byte 8"),
        ([(0, 7, b"con"), (4, 7, b"nt")], "only 3 bytes are here"),
        ([(0, 7, b"con"), (3, 7, b"TENT")], "another digest"),
        ([(0, 7, b"CONTENT")], "another digest"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(stage, parts, said):
    *before, last = parts
    for offset, size, data in before:
        stage.add_part(DIGEST, offset, size, data)

    with pytest.raises(WorkspaceError, match=said):
        stage.add_part(DIGEST, *last)

    assert not stage.has(DIGEST)


def test_parts_that_overlap_count_once_and_a_wrong_content_starts_over(stage):
    stage.add_part(DIGEST, 0, 7, b"CON")
    with pytest.raises(MismatchError):
        stage.add_part(DIGEST, 3, 7, b"tent")
    stage.add_part(DIGEST, 0, 7, b"conte")

    assert stage.add_part(DIGEST, 3, 7, b"tent")


def test_a_file_at_the_limit_is_taken_and_one_above_is_not(stage):
    content = bytes(1 << 20)

    assert stage.add_part(content_digest(content), 0, len(content), content)
    with pytest.raises(WorkspaceError, match="can't be"):
        stage.add_part(content_digest(content + b"x"), 0, len(content) + 1, content)


def test_what_the_disk_has_no_room_for_is_refused_before_a_part_is_sent(tmp_path):
    workspace = Workspace(tmp_path / "w", limits=Limits(file_bytes=1 << 60, tree_bytes=1 << 61))

    with pytest.raises(
        WorkspaceError, match=r"disk has [\d,]+ MiB free at .*: 1,125,899,906,842,624 bytes are to come"
    ):
        workspace.missing(Tree([Put("a", DIGEST, 1 << 50)]))
    workspace.close()


def test_a_tree_or_a_file_beyond_the_limits_is_refused(tmp_path):
    workspace = Workspace(tmp_path / "w", limits=Limits(file_bytes=10, tree_bytes=15))

    workspace.missing(Tree([Put("a", DIGEST, 10), Put("b", DIGEST, 5)]))
    with pytest.raises(WorkspaceError, match="'a' can't be synced"):
        workspace.missing(Tree([Put("a", DIGEST, 11)]))
    with pytest.raises(WorkspaceError, match="The project has"):
        workspace.missing(Tree([Put("a", DIGEST, 10), Put("b", DIGEST, 6)]))
    workspace.close()


@pytest.mark.parametrize(
    "packed",
    [
        zstandard.ZstdCompressor().compress(bytes(codec.MAX_UNPACKED_BYTES + 1)),
        zstandard.ZstdCompressor().compress(bytes(1 << 30)),
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000)),
        zstandard.ZstdCompressor().compress(b"\xff" * 100),
        b"garbage",
    ],
)
def test_a_bomb_is_not_unpacked(packed):
    with pytest.raises(WorkspaceError, match="unpack"):
        codec.unpack_parts(pb.Parts(zstd=packed))


def test_parts_are_as_they_were_after_packing():
    parts = [codec.part(DIGEST, 0, 9000, b"text " * 1800), codec.part(DIGEST, 0, 100, random.Random(1).randbytes(100))]

    message = codec.pack_parts(parts).parts

    assert codec.unpack_parts(message) == parts
    assert len(message.zstd) < 2000
    noise = [codec.part(DIGEST, 0, 9000, random.Random(1).randbytes(9000))]
    assert codec.unpack_parts(codec.pack_parts(noise).parts) == noise


@pytest.mark.parametrize("target", ["/etc", "../x", "d/../..", "d/../x", "a/b/../../../x", "", "x" * 5000, "a\0b"])
def test_a_link_that_could_leave_the_tree_is_refused(tmp_path, target):
    workspace = Workspace(tmp_path / "w")

    with pytest.raises(WorkspaceError):
        workspace.apply(Changeset(1, (Link("l", target),), {}, 0.0))
    workspace.close()


def test_a_folder_swapped_for_a_link_while_a_changeset_is_applied_leads_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "w" / "tree"

    def swap(step):
        if step == "commit d/b" and (root / "d").is_dir() and not (root / "d").is_symlink():
            (root / "d").rename(tmp_path / "moved")
            (root / "d").symlink_to(outside)

    workspace = Workspace(tmp_path / "w", on_step=swap)
    puts = (Put("d/a", DIGEST, 7), Put("d/b", DIGEST, 7))

    with pytest.raises(WorkspaceError, match="link"):
        workspace.apply(Changeset(1, puts, {DIGEST: b"content"}, 0.0))

    assert list(outside.iterdir()) == []
    workspace.close()


PATHS = st.one_of(
    st.sampled_from(
        ["a", "b/c", "../x", "/etc/x", "a//b", ".", "", "a/..", "n" * 256, "a\0", "d/" * 3000 + "x", "é", "é"]
    ),
    st.text(max_size=12),
)
DIGESTS = st.one_of(st.just(bytes.fromhex(DIGEST)), st.binary(max_size=40))
SIZES = st.sampled_from([0, 1, 7, 1 << 20, 10 << 30, (1 << 64) - 1])
PUTS = st.builds(lambda p, d, s: pb.Operation(put=pb.Put(path=p, digest=d, size_bytes=s)), PATHS, DIGESTS, SIZES)
OPERATIONS = st.one_of(
    PUTS,
    st.builds(lambda p, t: pb.Operation(link=pb.Link(path=p, target=t)), PATHS, PATHS),
    st.builds(lambda p: pb.Operation(directory=p), PATHS),
    st.builds(lambda p: pb.Operation(deleted=p), PATHS),
    st.just(pb.Operation()),
)
SEQUENCES = st.sampled_from([0, 1, 2, 3, 1 << 40, (1 << 64) - 1])
PARTS = st.builds(
    lambda d, o, s, data: pb.Part(digest=d, offset=o, size_bytes=s, data=data),
    DIGESTS,
    SIZES,
    SIZES,
    st.binary(max_size=9),
)
COPIES = st.builds(
    lambda d, o, s: pb.Part(digest=d, size_bytes=s, copy=pb.Copy(base=d, offset=o, size_bytes=s)), DIGESTS, SIZES, SIZES
)
MESSAGES = st.one_of(
    st.builds(
        lambda s, o, c: pb.Up(changeset=pb.Changeset(sequence=s, operations=o, contents=c)),
        SEQUENCES, st.lists(OPERATIONS, max_size=3), st.lists(st.sampled_from([b"content", b"x"]), max_size=2),
    ),
    st.builds(
        lambda s, o, last: pb.Up(manifest=pb.Manifest(sequence=s, entries=o, is_last=last)),
        SEQUENCES, st.lists(OPERATIONS, max_size=3), st.booleans(),
    ),
    st.builds(lambda p: pb.Up(parts=pb.Parts(parts=p)), st.lists(PARTS | COPIES, max_size=3)),
    st.builds(lambda z: pb.Up(parts=pb.Parts(zstd=z)), st.binary(max_size=40)),
    st.builds(lambda s: pb.Up(become=pb.Become(sequence=s)), SEQUENCES),
    st.builds(lambda d: pb.Up(offer=pb.Offer(digests=d)), st.lists(DIGESTS, max_size=3)),
    st.just(pb.Up()),
    st.builds(lambda n, j: pb.Up(command=pb.Command(name=n, json=j)), st.text(max_size=5), st.binary(max_size=9)),
)  # fmt: skip


COUNT = itertools.count(1)


async def alone(state, project, messages, *, raw=b""):
    """Hold a session by a bare stream, send messages, and give what came until a ping was answered or it ended."""
    async with grpc.aio.insecure_channel(f"unix:{socket_path(state)}", options=codec.CHANNEL_OPTIONS) as channel:
        call = channel.stream_stream(
            codec.METHOD,
            request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
            response_deserializer=pb.Down.FromString,
        )()
        hello = pb.Hello(
            protocol=codec.PROTOCOL,
            version=__version__,
            project_id=project,
            client_id="x",
            epoch=next(COUNT),
            take=True,
        )
        answers = []
        try:
            for message in [pb.Up(hello=hello), *messages, *([raw] if raw else []), pb.Up(ping=pb.Ping(number=9))]:
                await call.write(message)
            while isinstance(answer := await call.read(), pb.Down):
                answers.append(answer)
                if answer.WhichOneof("body") == "pong":
                    break
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass
        return answers


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An agent that serves somebody, and a loop to use it from."""
    state = tmp_path_factory.mktemp("hostile")
    loop = asyncio.new_event_loop()

    async def begin():
        holder = connect(state)
        session = await holder.__aenter__()
        await session.open(state, PROJECT)
        await session.sync(Files(app=b"0"))
        return holder, session

    holder, session = loop.run_until_complete(begin())
    with agents_of(state):  # the session that the tests fuzz has nobody who ends it
        yield state, session, loop
        loop.run_until_complete(session.end())
    loop.run_until_complete(holder.__aexit__(None, None, None))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def still_serves(session, loop, number):
    applied = loop.run_until_complete(asyncio.wait_for(session.push(saved("app.py", b"%d" % number)), 15))
    assert applied.revision > 1


@fuzz
@given(st.lists(MESSAGES, max_size=6))
def test_whatever_a_client_sends_it_is_answered_and_nothing_outside_its_tree_changes(server, messages):
    state, session, loop = server
    answers = loop.run_until_complete(asyncio.wait_for(alone(state, "bad0bad0bad0", messages), 20))

    assert answers[-1].WhichOneof("body") == "pong"
    still_serves(session, loop, next(COUNT))
    assert {path.name for path in state.iterdir()} <= {"agent", "sessions", "environments"}
    assert {path.name for path in (state / "sessions").iterdir()} <= {PROJECT, "bad0bad0bad0"}


@fuzz
@given(st.binary(min_size=1, max_size=200))
def test_bytes_that_are_no_message_end_that_stream_alone(server, raw):
    state, session, loop = server
    loop.run_until_complete(asyncio.wait_for(alone(state, "bad0bad0bad0", [], raw=raw), 20))

    still_serves(session, loop, next(COUNT))


@fuzz
@given(st.binary(min_size=1, max_size=200))
def test_bytes_that_are_no_grpc_end_that_connection_alone(server, raw):
    state, session, loop = server
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(socket_path(state)))
        sock.sendall(raw)

    still_serves(session, loop, next(COUNT))


def test_a_refused_changeset_lets_those_behind_it_through(tmp_path):
    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            await session.sync(Files(app=b"0"))
            bad = Changeset(0, (Delete("app.py"), Put("../x", DIGEST, 7)), {DIGEST: b"content"}, 0.0)
            done = await asyncio.gather(
                session.push(saved("b.py", b"1")),
                session.push(bad),
                session.push(saved("c.py", b"2")),
                return_exceptions=True,
            )
            await session.end()
            return done

    first, refused, last = run(tmp_path, main())

    assert isinstance(refused, RefusedError)
    assert (first.revision, last.revision) == (2, 3)
    assert workspace_files(tmp_path) == {"app.py": b"0", "b.py": b"1", "c.py": b"2"}


def test_a_lane_of_an_old_epoch_or_another_client_is_refused(tmp_path):
    async def lane_of(hello):
        async with grpc.aio.insecure_channel(f"unix:{socket_path(tmp_path)}") as channel:
            call = channel.stream_stream(
                codec.LANE_METHOD, request_serializer=pb.Up.SerializeToString, response_deserializer=pb.Down.FromString
            )()
            await call.write(pb.Up(hello=hello))
            return await call.read()

    async def main():
        async with connect(tmp_path) as session:
            await session.open(tmp_path, PROJECT)
            own = session._connection.hello
            answers = []
            for change in (
                {},
                {"epoch": own.epoch - 1},
                {"client_id": "other"},
                {"project_id": "0" * 8},
                {"version": "0"},
            ):
                hello = pb.Hello()
                hello.CopyFrom(own)
                for name, value in change.items():
                    setattr(hello, name, value)
                answers.append((await lane_of(hello)).WhichOneof("body"))
            await session.end()
            return answers

    assert run(tmp_path, main()) == ["hello_ok", "refused", "refused", "refused", "refused"]
