"""Lines typed while the loop runs: in the background they wait, and waiting costs nothing."""

import asyncio
import os
import pty

from hotloop.cli import keys


def test_a_line_typed_while_in_the_background_is_taken_later_without_spinning(monkeypatch):
    main_end, end = pty.openpty()
    foreground, looks = [False], []

    def is_foreground(_):
        looks.append(None)
        return foreground[0]

    monkeypatch.setattr(keys, "is_terminal", lambda: True)
    monkeypatch.setattr(keys, "_is_foreground", is_foreground)
    monkeypatch.setattr(keys, "FOREGROUND_CHECK_S", 0.05)
    monkeypatch.setattr("sys.stdin", os.fdopen(end, "r"))

    async def main():
        taken = asyncio.Queue()
        typed = keys.Keys(taken.put_nowait)
        typed.open()
        os.write(main_end, b"p\n")
        await asyncio.sleep(0.3)
        looked = len(looks)
        foreground[0] = True
        line = await asyncio.wait_for(taken.get(), 10)
        typed.close()
        return looked, line

    looked, line = asyncio.run(main())

    assert line == "p"
    assert looked <= 7  # once each time, not thousands of times
    os.close(main_end)
