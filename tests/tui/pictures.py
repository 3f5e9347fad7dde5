"""Pictures of every state of the dashboard: `python -m tests.tui.pictures [SCENE ...] [--out FOLDER]`.

Each is an SVG from Textual, and a PNG of that from Chromium. `--kept` makes those few that the documentation shows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tui import scenes
from tests.tui.small_png import shrink

from hotloop.tui.looks import Looks

SIZES = ((120, 36), (80, 24), (56, 20), (40, 10))
LOOKS = {
    "night": Looks(),
    "paper": Looks("paper"),
    "colorblind": Looks("colorblind"),
    "ansi": Looks("ansi"),
    "ascii": Looks(is_ascii=True),
    "nocolor": Looks(),
}
SMALL = ("cold", "ready", "reloading", "live", "failed", "offline", "paused", "memory")  # at every size
OTHER_LOOKS = ("live", "failed", "reloading")
KEPT = {
    "live-120x36-night": "live.png",
    "failed-120x36-night": "failed.png",
    "cold-120x36-night": "cold.png",
    "locals-120x36-night": "locals.png",
    "live-80x24-night": "narrow.png",
    "live-120x36-paper": "paper.png",
}
DOCS = Path(__file__).parents[2] / "docs" / "screens"
_FONT = "'DejaVu Sans Mono', 'Liberation Mono', monospace"


def wanted(names: list[str]) -> list[tuple[str, tuple[int, int], str]]:
    """Say which scenes in which sizes and looks."""
    made = [(name, SIZES[0], "night") for name in scenes.SCENES]
    made += [(name, size, "night") for name in SMALL for size in SIZES[1:]]
    made += [(name, SIZES[0], look) for name in OTHER_LOOKS for look in LOOKS if look != "night"]
    return [each for each in made if not names or each[0] in names]


async def svg(name: str, size: tuple[int, int], look: str) -> str:
    """Play a scene and give its picture."""
    scene = scenes.SCENES[name]
    with tempfile.TemporaryDirectory() as folder, _no_color(is_on=look == "nocolor"):
        app = scenes.dashboard(scene, Path(folder), LOOKS[look])
        async with app.run_test(size=size) as pilot:
            await scenes.play(app, pilot, scene)
            return with_font(app.export_screenshot(title="dev serve"))


@contextlib.contextmanager
def _no_color(*, is_on: bool):
    if is_on:
        os.environ["NO_COLOR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("NO_COLOR", None)


def with_font(picture: str) -> str:
    """Use a font that is here, in place of one from the network, with cells as wide as it has them."""
    picture = re.sub(r"@font-face\s*{.*?}", "", picture, flags=re.DOTALL)
    return re.sub(r"font-family: ?Fira Code, ?monospace", f"font-family: {_FONT}", picture)


def png(picture: Path, out: Path) -> None:
    """Have Chromium draw it."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', picture.read_text())
    width, height = (int(float(each)) + 1 for each in found.groups()) if found else (1200, 800)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(f"<style>body{{margin:0;background:#05070a}}</style>{picture.read_text()}")
        command = [
            browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/p",
            f"--window-size={width},{height}", f"--screenshot={out}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def browser() -> str:
    """Find Chromium."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        sys.exit("pictures are drawn by Chromium, which is not here: apt install chromium")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.tui.pictures", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"which: {', '.join(scenes.SCENES)}")
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    parser.add_argument("--kept", action="store_true", help="those of the documentation alone")
    parser.add_argument("--svg", action="store_true", help="no PNGs")
    given = parser.parse_args()
    out = Path(tempfile.mkdtemp()) if given.kept else given.out
    out.mkdir(parents=True, exist_ok=True)
    DOCS.mkdir(exist_ok=True)
    for name, size, look in wanted(given.scenes):
        stem = f"{name}-{size[0]}x{size[1]}-{look}"
        if given.kept and stem not in KEPT:
            continue
        picture = out / f"{stem}.svg"
        picture.write_text(asyncio.run(svg(name, size, look)))
        target = DOCS / KEPT[stem] if given.kept else picture.with_suffix(".png")
        if not given.svg:
            png(picture, target)
            if given.kept:
                shrink(target)
        print(target if not given.svg else picture, flush=True)


if __name__ == "__main__":
    main()
