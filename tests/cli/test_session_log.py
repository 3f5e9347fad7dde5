"""The log of a session on disk: all lines, the last sessions, bounded."""

from __future__ import annotations

import asyncio
import re

import pytest

from hotloop import events
from hotloop.cli import session_log
from hotloop.cli.session_log import SessionLog


def log(text):
    return events.Log(1.0, 3, "stdout", text)


def write(project, texts):
    async def main():
        kept = SessionLog(project)
        for text in texts:
            kept(log(text))
            kept.write()
        kept(log("the last"))
        kept.close()
        kept(log("too late"))
        return kept

    return asyncio.run(main())


def test_each_line_has_the_time_of_day_and_the_generation_and_no_escape_codes(tmp_path):
    kept = write(tmp_path, ["\x1b[31mred\x1b[0m", "bad \udc80 byte"])

    lines = kept.path.read_text().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "", line) for line in lines] == [
        "g3 │ red",
        "g3 │ bad \\udc80 byte",
        "g3 │ the last",
    ]
    assert kept.name == f".hotloop/logs/{kept.path.name}"
    assert kept.path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_grows_too_long_begins_anew_and_keeps_one_older(tmp_path, monkeypatch):
    monkeypatch.setattr(session_log, "MAX_BYTES", 300)

    kept = write(tmp_path, [f"{number} {'x' * 100}" for number in range(20)])

    files = sorted((tmp_path / ".hotloop" / "logs").iterdir())
    assert len(files) == 2
    assert all(file.stat().st_size < 500 for file in files)
    assert kept.path.read_text().endswith("the last\n")


@pytest.mark.parametrize("year", [2020, 2999])  # of a clock that was set back since
def test_the_logs_of_the_last_sessions_are_kept(tmp_path, year):
    folder = tmp_path / ".hotloop" / "logs"
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{year}0101-0000{number:02d}-1.log").touch()

    kept = write(tmp_path, [])

    names = {file.name for file in folder.iterdir()}
    assert names == {kept.path.name, *(f"{year}0101-0000{number}-1.log" for number in range(11, 20))}


def test_a_project_that_can_not_be_written_has_no_log(tmp_path):
    (tmp_path / ".hotloop").write_text("in the way")

    kept = write(tmp_path, ["lost"])

    assert kept.path is None
    assert kept.name == ""
