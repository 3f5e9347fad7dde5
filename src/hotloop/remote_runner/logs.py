# pyright: basic
"""What an app wrote, from its session's journal: of one that runs, or of one that ended. Basic: grpc has no types."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import grpc

from hotloop.remote_runner import journal
from hotloop.remote_runner.lingering import until_left
from hotloop.remote_runner.places import PROJECT_ID, workspace_folder
from hotloop.remote_runner.protocol import agent_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hotloop.remote_runner.sessions import Session

MESSAGE_BYTES = 64 << 10


def make_logs(state: Path, find: Callable[[str], Session | None]) -> Any:
    """Make the handler of `Logs`.

    Args:
        state: The agent's folder.
        find: Gives the session of a project, if it is open.
    """

    async def logs(_: Any, context: Any) -> None:
        wanted = await context.read()
        if not isinstance(wanted, pb.LogsWanted):
            return
        folder = workspace_folder(state, wanted.project_id)
        if not PROJECT_ID.fullmatch(wanted.project_id) or not journal.is_there(folder):
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing ran for this project yet")
        await _Reading(folder, wanted, context).run(find(wanted.project_id))
        await until_left(context)

    return grpc.stream_stream_rpc_method_handler(
        logs, request_deserializer=pb.LogsWanted.FromString, response_serializer=pb.LogLines.SerializeToString
    )


class _Reading:
    """One client's."""

    def __init__(self, folder: Path, wanted: pb.LogsWanted, context: Any) -> None:
        self._folder = folder
        self._wanted = wanted
        self._context = context
        self._oldest_s = time.time() - wanted.max_age_s if wanted.max_age_s else 0.0
        self._last = 0

    async def run(self, session: Session | None) -> None:
        kept = await asyncio.to_thread(journal.kept, self._folder)
        if kept and kept[-1][0] < self._wanted.after_event:  # its numbers began anew
            self._wanted.after_event = 0
        is_cut = journal.is_cut(self._folder) and bool(kept) and self._is_wanted(kept[0])
        self._last = kept[-1][0] if kept else 0
        await self._send(kept, is_cut=is_cut)
        if session is not None and self._wanted.is_following:
            await self._follow(session)

    async def _follow(self, session: Session) -> None:
        came = asyncio.Event()
        unfollow = session.follow(came.set)
        try:
            is_over = False
            while not is_over:
                is_over = session.is_closed  # what came before that is sent yet
                came.clear()
                while events := session.journal.since(self._last):
                    self._last = events[-1][0]
                    await self._send(events)
                if not is_over:
                    await came.wait()
        finally:
            unfollow()

    async def _send(self, events: Iterable[tuple[int, bytes]], *, is_cut: bool = False) -> None:
        lines, size_bytes = pb.LogLines(is_cut=is_cut), 0
        for numbered in events:
            if self._is_log(numbered):
                lines.events.append(pb.Event(number=numbered[0], json=numbered[1]))
                size_bytes += len(numbered[1])
            if size_bytes >= MESSAGE_BYTES:
                await self._context.write(lines)
                lines, size_bytes = pb.LogLines(), 0
        if lines.events or lines.is_cut:
            await self._context.write(lines)

    def _is_log(self, numbered: tuple[int, bytes]) -> bool:
        return b'"log"' in numbered[1] and json.loads(numbered[1]).get("kind") == "log" and self._is_wanted(numbered)

    def _is_wanted(self, numbered: tuple[int, bytes]) -> bool:
        number, event = numbered
        is_new = number > self._wanted.after_event
        return is_new and (not self._oldest_s or json.loads(event).get("wall_s", 0.0) >= self._oldest_s)
