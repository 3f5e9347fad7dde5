"""Look at a panel: print it, or make a picture of it with chromium.

python -m tests.tui.show_panel iteration live 76x13
python -m tests.tui.show_panel iteration live 76x13 --palette paper --png /tmp/iteration.png
"""

from __future__ import annotations

import argparse
import importlib
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from tests.tui import panel_states

from hotloop.tui.panels.lines import background


def main() -> None:
    """Draw what the arguments say; several panels, states and sizes, separated by commas, go below each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("panels")
    parser.add_argument("states")
    parser.add_argument("sizes")
    parser.add_argument("--palette", default="night")
    parser.add_argument("--png", type=Path)
    given = parser.parse_args()
    palette = {
        each.name: each for each in (panel_states.NIGHT, panel_states.PAPER, panel_states.ASCII, panel_states.MONO)
    }[given.palette]
    sizes = [tuple(map(int, size.split("x"))) for size in given.sizes.split(",")]
    console = Console(
        width=max(width for width, _ in sizes) + 2,
        record=True,
        color_system="truecolor",
        file=io.StringIO() if given.png else sys.stdout,
        force_terminal=given.png is None,
    )
    for name in given.panels.split(","):
        module, _, function = name.partition(":")
        draw = getattr(importlib.import_module(f"hotloop.tui.panels.{module}"), function or "draw")
        for state in given.states.split(","):
            for width, height in sizes:
                print_panel(
                    console,
                    draw(panel_states.STATES[state](), width, height, palette, panel_states.NOW_S),
                    width,
                    height,
                    palette,
                )
    if given.png:
        picture(console, given.png, palette)


def print_panel(console: Console, lines: list[Text], width: int, height: int, palette: object) -> None:
    """Print a panel on its ground, an empty line of the page below it."""
    ground = background(palette.panel)
    for index in range(height):
        text = lines[index].copy() if index < len(lines) else Text()
        text.pad_right(width - text.cell_len + 1)
        text.pad_left(1)
        text.end = "\n"
        console.print(text, style=ground + Style(color=Style.parse(palette.text).color), soft_wrap=True)
    console.print()


def picture(console: Console, path: Path, palette: object) -> None:
    """Photograph what was printed."""
    theme = TerminalTheme(
        background(palette.page).bgcolor.get_truecolor(),
        Style.parse(palette.text).color.get_truecolor(),
        [(0, 0, 0)] * 8,
        [(0, 0, 0)] * 8,
    )
    svg = console.export_svg(title="", theme=theme)
    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(f"<style>body{{margin:0}}</style>{svg}")
        subprocess.run(
            [
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--user-data-dir={folder}/profile",
                f"--window-size={int(width) + 1},{int(height) + 1}",
                f"--screenshot={path}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


if __name__ == "__main__":
    main()
