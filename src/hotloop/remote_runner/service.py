# pyright: basic
"""The agent's calls, as gRPC has them.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc

from hotloop.remote_runner.following import Following
from hotloop.remote_runner.logs import make_logs
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.session_stream import Lane, Stream, reply_to
from hotloop.remote_runner.tunnels import make_tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from hotloop.remote_runner.agent import Agent


def make_handler(agent: Agent) -> Any:
    """Make the gRPC handler of all calls."""

    async def session(requests: AsyncIterator[pb.Up], context: Any) -> None:
        stream = Stream(agent)
        agent.stream_began(stream)
        await _give(stream.run(requests), context)

    async def lane(requests: AsyncIterator[pb.Up], context: Any) -> None:
        await _give(Lane(agent).run(requests), context)

    async def follow(wanted: pb.Following, context: Any) -> None:
        followed = agent.find(wanted.project_id)
        if followed is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such session")
            return
        await _give(Following(followed, wanted).run(), context)

    async def ask(command: pb.Command, _: Any) -> pb.Reply:
        return await reply_to(command, lambda fields: agent.answer(command.name, fields))

    handlers = {
        "Session": grpc.stream_stream_rpc_method_handler(session, pb.Up.FromString, pb.Down.SerializeToString),
        "Lane": grpc.stream_stream_rpc_method_handler(lane, pb.Up.FromString, pb.Down.SerializeToString),
        "Follow": grpc.unary_stream_rpc_method_handler(follow, pb.Following.FromString, pb.Event.SerializeToString),
        "Ask": grpc.unary_unary_rpc_method_handler(ask, pb.Command.FromString, pb.Reply.SerializeToString),
        "Tunnel": make_tunnel(agent.ports_of),
        "Process": agent.commands.handler(),
        "Logs": make_logs(agent.state, agent.find),
    }
    return grpc.method_handlers_generic_handler(codec.SERVICE, handlers)


async def _give(answers: AsyncGenerator[Any, None], context: Any) -> None:
    """Send what a stream gives. However the call ends, what the stream holds is let go of at once.

    gRPC forgets an asynchronous generator of a call that is cancelled while it sends: its end came with the next garbage
    collection, and until then the session was held by a client that had left.
    """
    async with contextlib.aclosing(answers):
        async for answer in answers:
            await context.write(answer)
