# pyright: basic
"""The agent's calls, as gRPC has them.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from hotloop.remote_runner.following import Following
from hotloop.remote_runner.logs import make_logs
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.session_stream import Lane, Stream, reply_to
from hotloop.remote_runner.tunnels import make_tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hotloop.remote_runner.agent import Agent


def make_handler(agent: Agent) -> Any:
    """Make the gRPC handler of all calls."""

    async def session(requests: AsyncIterator[pb.Up], _: Any) -> AsyncIterator[pb.Down]:
        stream = Stream(agent)
        agent.stream_began(stream)
        async for message in stream.run(requests):
            yield message

    async def lane(requests: AsyncIterator[pb.Up], _: Any) -> AsyncIterator[pb.Down]:
        async for message in Lane(agent).run(requests):
            yield message

    async def follow(wanted: pb.Following, context: Any) -> AsyncIterator[pb.Event]:
        followed = agent.find(wanted.project_id)
        if followed is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such session")
            return
        async for event in Following(followed, wanted).run():
            yield event

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
