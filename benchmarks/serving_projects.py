"""The two projects that are served: the embeddings template, and an app of trivial endpoints."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from benchmarks.projects import Project

APPS = Path(__file__).parent / "serving_apps"


def make(workload: str, folder: Path) -> Project:
    """The project of a workload, the peers' servers in it."""
    return _embeddings(folder) if workload == "minilm" else _trivial(folder)


def _embeddings(folder: Path) -> Project:
    """The template without its wait and its probes: a batch leaves when the worker is free."""
    with as_file(files("hotloop.templates") / "embeddings") as template:
        shutil.copytree(template, folder, ignore=shutil.ignore_patterns("__pycache__", "test_*.py"))
    project = Project(folder)
    project.edit("app.py", r"max_size=32, max_wait_ms=2, key=len", "max_size=32, key=len")
    text = (folder / "app.py").read_text()
    (folder / "app.py").write_text(text[: text.index("@app.probe")].rstrip() + "\n")
    _add_servers(folder)
    return project


def _trivial(folder: Path) -> Project:
    folder.mkdir()
    shutil.copy(APPS / "trivial_app.py", folder / "app.py")
    _add_servers(folder)
    return Project(folder)


def _add_servers(folder: Path) -> None:
    for path in APPS.glob("*.py"):
        if path.name != "trivial_app.py":
            shutil.copy(path, folder)
