# pyright: basic
"""Ask an agent, or follow a session's events, without holding a session. Basic type checks: grpc has no types."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from hotloop import events
from hotloop.errors import RunnerError
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hotloop.remote_runner.way import Way

ANSWER_TIMEOUT_S = 60.0  # ending a session waits for its requests
RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)


async def ask(way: Way, name: str, **fields: Any) -> dict[str, Any]:
    """Ask an agent: ``status``, ``end`` or ``locals`` (of a ``project_id``), or ``shutdown``.

    Raises:
        NoAgentError: None runs, and the way starts none.
        RunnerError: It can't be reached, or refuses.
    """
    async with grpc.aio.insecure_channel(await way.dial(), options=codec.CHANNEL_OPTIONS) as channel:
        method = channel.unary_unary(
            f"/{codec.SERVICE}/Ask",
            request_serializer=pb.Command.SerializeToString,
            response_deserializer=pb.Reply.FromString,
        )
        try:
            reply = await method(pb.Command(name=name, json=json.dumps(fields).encode()), timeout=ANSWER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            msg = f"The agent on {way.name} does not answer: {error.details()}."
            raise RunnerError(msg, hint="is it of this version of hotloop? look at its log") from error
    if reply.error:
        raise RunnerError(reply.error, hint=reply.hint)
    return json.loads(reply.json)


async def follow(way: Way, project_id: str, *, after_event: int = 0) -> AsyncIterator[tuple[int, events.Event]]:
    """Give a session's events once each until it ends, across lost connections, holding nothing.

    Args:
        way: To its agent.
        project_id: Names it.
        after_event: Events up to this number are not wanted; 0: from the last reload on.

    Raises:
        NoAgentError: None runs any more, and the way starts none.
    """
    num_failures = 0
    while True:
        try:
            async with grpc.aio.insecure_channel(await way.dial(), options=codec.CHANNEL_OPTIONS) as channel:
                method = channel.unary_stream(
                    f"/{codec.SERVICE}/Follow",
                    request_serializer=pb.Following.SerializeToString,
                    response_deserializer=pb.Event.FromString,
                )
                async for message in method(pb.Following(project_id=project_id, after_event=after_event)):
                    num_failures, after_event = 0, message.number
                    yield message.number, events.from_json(json.loads(message.json))
                return
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return
        await asyncio.sleep(RETRY_S[min(num_failures, len(RETRY_S) - 1)])
        num_failures += 1
