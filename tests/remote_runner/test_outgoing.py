"""What becomes of a changeset when whoever sends it, or waits for it, is cancelled."""

import asyncio

import pytest

from hotloop.errors import RunnerError
from hotloop.remote_runner.connection import Connection
from hotloop.remote_runner.outgoing import Outgoing
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.stream import LostError
from tests.remote_runner.test_agent import saved


class Wire:
    """As much of a connection as `Outgoing` uses: messages wait for `open`, or fail."""

    name, num_lanes = "wire", 1

    def __init__(self):
        self.sent = []
        self.is_broken = False
        self.open = asyncio.Event()

    async def until_connected(self):
        pass

    async def send(self, message):
        if self.is_broken:
            raise LostError
        await self.open.wait()
        self.sent.append(message.changeset.sequence)

    def here(self, there_s):
        return there_s


async def soon():
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_changeset_whose_sender_is_cancelled_is_waited_for_by_nobody():
    async def main():
        wire = Wire()
        outgoing = Outgoing(wire, wire)
        outgoing.greeted(pb.HelloOk(is_empty=True), resumes=False)
        pushing = asyncio.create_task(outgoing.push(saved("a.py", b"1")))
        await soon()
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        return outgoing.is_waiting

    assert not asyncio.run(main())


def test_a_changeset_that_another_one_was_about_to_send_again_is_sent_though_that_one_is_cancelled():
    async def main():
        wire = Wire()
        outgoing = Outgoing(wire, wire)
        outgoing.greeted(pb.HelloOk(is_empty=True), resumes=False)
        wire.is_broken = True
        first = asyncio.create_task(outgoing.push(saved("a.py", b"1")))
        await soon()
        wire.is_broken = False
        outgoing.greeted(pb.HelloOk(), resumes=True)
        second = asyncio.create_task(outgoing.push(saved("b.py", b"2")))
        await soon()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        wire.open.set()
        await outgoing.resume()
        outgoing.received(pb.Down(ack=pb.Ack(sequence=1, revision=1)))
        return wire.sent, (await first).revision

    assert asyncio.run(main()) == ([1], 1)


def test_who_waits_for_a_connection_is_told_that_it_was_closed():
    class Nowhere:
        name, num_lanes = "nowhere", 1

        async def dial(self, lane=0):
            await asyncio.Event().wait()

    class Silent:
        is_waiting = False

        def died(self, error):
            pass

    async def main():
        connection = Connection(Nowhere(), Silent())
        opening = asyncio.create_task(connection.open(pb.Hello()))
        await soon()
        waiting = asyncio.create_task(connection.until_connected())
        await soon()
        await connection.close()
        async with asyncio.timeout(5):
            with pytest.raises(RunnerError, match="closed"):
                await waiting
            with pytest.raises(RunnerError, match="closed"):
                await opening

    asyncio.run(main())
