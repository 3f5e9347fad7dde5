# pyright: basic
"""Reading what an app wrote, wherever it runs, across lost connections. Basic: protoc's classes have untyped bases."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

from hotloop.errors import HotloopError, UsageError
from hotloop.remote_runner.calls import CallLostError, open_call
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.protocol import agent_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.remote_runner.way import Way

RETRY_S = 1.0
TRIES = 3  # a session that is about to end takes its agent with it: the next one knows what was written
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def age_of(since: str, now: dt.datetime) -> float:
    """Read how far back to go: ``10m``, or a time such as ``14:05`` or ``2026-05-04 14:05``, by this machine's clock.

    Args:
        since: What was typed.
        now: With a time zone.

    Returns:
        Seconds; what the runner's clock says does not matter.

    Raises:
        UsageError: It is neither, or lies ahead.
    """
    if duration := _DURATION.fullmatch(since):
        return float(duration[1]) * _UNITS_S[duration[2]]
    try:
        age_s = (now - _moment(since, now)).total_seconds()
    except ValueError as error:
        msg = f"--since is {since!r}, a duration or a time was expected"
        raise UsageError(msg, hint="write it as --since 10m, --since 14:05 or --since '2026-05-04 14:05'") from error
    if age_s <= 0:
        msg = f"--since is {since!r}, which is not over yet"
        raise UsageError(msg, hint="write a time that has passed, or a duration such as 10m")
    return age_s


def _moment(since: str, now: dt.datetime) -> dt.datetime:
    if "-" in since:
        moment = dt.datetime.fromisoformat(since)
        return moment if moment.tzinfo is not None else moment.astimezone()  # summer time may have begun or ended since
    hour, _, rest = since.partition(":")
    today = dt.datetime.combine(now.date(), dt.time.fromisoformat(f"{hour:0>2}:{rest}"))
    return today.astimezone() if today.astimezone() <= now else (today - dt.timedelta(days=1)).astimezone()


async def kept(way: Way, project_id: str) -> dict[str, Any]:
    """Give all lines that a runner kept of a session, for a dashboard that came later.

    Args:
        way: To the runner; nothing is asked at the terminal.
        project_id: Whose.

    Returns:
        ``lines``, oldest first, each the fields of `events.Log` in order, by the runner's clock; ``is_cut`` if there were older ones.

    Raises:
        RunnerError: The runner can't be reached.
    """
    lines: list[list[Any]] = []
    notices: list[str] = []

    def take(event: dict[str, Any]) -> None:
        lines.append([event["at_s"], event["generation"], event["stream"], event["text"], event.get("source", "")])

    channels = Channels(way)
    try:
        await read(channels, project_id, take, notices.append)
    finally:
        await channels.close()
    return {"lines": lines, "is_cut": bool(notices)}


async def read(
    channels: Channels,
    project_id: str,
    show: Callable[[dict[str, Any]], None],
    notice: Callable[[str], None],
    *,
    max_age_s: float = 0.0,
    is_following: bool = False,
) -> None:
    """Give each log event once, in order; follow across cuts until the session ends.

    Args:
        channels: Of the runner.
        project_id: Whose.
        show: Takes an event's JSON.
        notice: Told what is missing, and of a lost connection.
        max_age_s: How far back to go; 0 for all that is kept.
        is_following: Go on with what comes.

    Raises:
        RunnerError: The runner can't be reached, or nothing ran there yet.
    """
    wanted = pb.LogsWanted(project_id=project_id, max_age_s=max_age_s, is_following=is_following)
    num_lost = 0  # since a line came
    while True:
        try:
            async with open_call(channels, 0, "Logs", pb.LogsWanted, pb.LogLines) as call:
                await call.write(wanted)
                await call.done_writing()
                while (lines := await call.read()) is not None:
                    num_lost = 0
                    if lines.is_cut:
                        notice("older lines are gone: the runner keeps the last 4 to 8 MB of a session's events")
                    for event in lines.events:
                        wanted.after_event, wanted.max_age_s = event.number, 0.0
                        show(json.loads(event.json))
                return
        except HotloopError as error:
            was_there = num_lost or wanted.after_event or isinstance(error, CallLostError)
            if not was_there or (num_lost >= TRIES and not is_following):
                raise
            if is_following and not num_lost:
                notice(f"{error.message} Trying again.")
            num_lost += 1
            await asyncio.sleep(RETRY_S)
