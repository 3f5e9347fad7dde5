"""Which session is meant by a folder."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest
from tests.remote_runner.test_agent import connect, run

from hotloop.cli.following import find, held_here
from hotloop.devloop import control
from hotloop.errors import UsageError
from hotloop.remote_runner.local import LocalWay


class FarWay(LocalWay):
    """This machine's agent, as if it were another's."""

    name = "gpu1"


def test_another_machines_copy_of_a_project_is_looked_at_and_not_ended(tmp_path):
    state, theirs, ours = tmp_path / "state", tmp_path / "anna/search", tmp_path / "bo/search"
    said = []

    async def refused(way, project, **options):
        with pytest.raises(UsageError, match="no session of") as error:
            await find(way, project, **options)
        said.append(error.value.message)

    async def main():
        far = FarWay(state, is_starting=False)
        async with connect(state) as session, connect(state) as second:
            await session.open(theirs, control.project_id(theirs))
            found = await find(far, ours, is_looking=True)
            await refused(far, ours)  # as `hotloop stop` asks
            await refused(LocalWay(state, is_starting=False), ours, is_looking=True)
            await refused(far, tmp_path / "bo/other", is_looking=True)
            other = Path(tmp_path / "cy/search")
            await second.open(other, control.project_id(other))
            await refused(far, ours, is_looking=True)  # which of the two?
            exact = await find(far, other, is_looking=True)
            await session.end()
            await second.end()
        return found["project"], exact["project"]

    assert run(state, main()) == (str(theirs), str(tmp_path / "cy/search"))
    assert len(said) == 4


def test_who_ended_just_after_it_answered_holds_nothing_any_more(tmp_path):
    path = control.control_path(control.state_folder(), control.project_id(tmp_path))

    def answer_once(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            listener.close()
            connection.sendall(b'{"runner": "local"}\n')

    async def look() -> object:
        async with held_here(tmp_path, None) as feed:
            return feed

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        answering = threading.Thread(target=answer_once, args=(listener,))
        answering.start()
        assert asyncio.run(look()) is None
        answering.join()
