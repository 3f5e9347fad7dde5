"""What whole screens show, as text: `python -m tests.tui.screens` (`make screens`) writes the goldens anew; look at the diff."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from tests.tui import scenes

FOLDER = Path(__file__).parent / "screens"
WIDE, NARROW, SLIM, TINY = (120, 36), (80, 24), (56, 20), (40, 10)
GOLDENS = [
    *((name, WIDE) for name in ("cold", "ready", "live", "failed", "memory", "offline", "iterations", "why", "help")),
    *((name, NARROW) for name in ("reloading", "live", "paused")),
    *((name, SLIM) for name in ("live", "failed")),
    ("failed", TINY),
]


def file_of(name: str, size: tuple[int, int]) -> Path:
    return FOLDER / f"{name}-{size[0]}x{size[1]}.txt"


def text_of(name: str, size: tuple[int, int]) -> str:
    """Play a scene and give its screen; times of day and temporary folders are what they are, so they are masked."""
    scene = scenes.SCENES[name]

    async def run() -> str:
        with tempfile.TemporaryDirectory() as folder:
            app = scenes.dashboard(scene, Path(folder))
            async with app.run_test(size=size) as pilot:
                await scenes.play(app, pilot, scene)
                assert app.undrawn == {}
                return masked(scenes.grid(app).replace(folder, "~" * 10))

    return asyncio.run(run())


def masked(text: str) -> str:
    return re.sub(r"~{10}/chat-demo", "/home/ada/chat-demo", re.sub(r"\b\d\d:\d\d:\d\d(\.\d{3})?", _time, text))


def _time(found: re.Match[str]) -> str:
    return re.sub(r"\d", "0", found[0])


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = {file_of(*golden) for golden in GOLDENS}
    for old in set(FOLDER.glob("*.txt")) - wanted:
        old.unlink()
    for golden in GOLDENS:
        file_of(*golden).write_text(text_of(*golden) + "\n")
        print(file_of(*golden).relative_to(Path.cwd()))


if __name__ == "__main__":
    main()
