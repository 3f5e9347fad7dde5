"""The templates on a GPU: what a saved line costs there, each answer compared with a fresh process's.

Usage: python -m benchmarks.gpu.templates [--user-python PYTHON]   (GPU_APP_DEVICE=cpu tries it without a GPU)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.loop import ask, compare, fresh, gpu_mib, report, run_in_folder, say
from benchmarks.loop_client import Loop
from benchmarks.projects import Project, edit_loader, scaffolded

from benchmarks import environments

COLD = """
import json, sys, time
sys.path[:0] = [{bridge!r}, {root!r}]
began = time.monotonic()
import app
models = [getattr(app, name)() for name in {models!r}]
answer = app.{endpoint}(**{arguments!r}, **dict(zip({models!r}, models)))
print(json.dumps([time.monotonic() - began, models[0].device.type, answer]))
"""


@dataclass(frozen=True)
class Template:
    """A template, one call of it, and a line that changes what it answers (``{}`` takes the edit's number)."""

    name: str
    models: tuple[str, str]
    endpoint: str
    arguments: dict[str, Any]
    pattern: str
    replacement: str


TEMPLATES = (
    Template(
        "chat",
        ("llm", "tokenizer"),
        "chat",
        {"message": "What is the capital of France?"},
        r"^PROMPT = .*$",
        'PROMPT = "You are helpful assistant number {}."',
    ),
    Template(
        "embeddings",
        ("encoder", "tokenizer"),
        "similarity",
        {"a": "a cat", "b": "a kitten"},
        r"^DIGITS = .*$",
        "DIGITS = {}",
    ),
)


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description="The templates on a GPU, edited while they serve.")
    parser.add_argument("--edits", type=int, default=10)
    run_in_folder(parser, lambda options, python, folder: run(python, folder, options.edits))


def run(python: Path, folder: Path, num_edits: int) -> None:
    """Serve each template and edit it."""
    bridge = environments.make_bridge(folder / "bridge")
    for template in TEMPLATES:
        serve(template, python, bridge, folder, num_edits)


def serve(template: Template, python: Path, bridge: Path, folder: Path, num_edits: int) -> None:
    """Serve one, edit a line some times, then its loader."""
    project = scaffolded(template.name, folder / template.name)
    say(f"{template.name}: start of a fresh process, s", f"{cold(template, python, bridge, project)[0]:.1f}")
    before = gpu_mib()
    with Loop(project, python, folder / f"{template.name}.loop") as loop:
        for model in loop.first.models:
            say(f"  {model.name}", f"{model.action}, {model.home}, {model.size_bytes / 1e6:.0f} MB")
        say("  GPU memory of the session, MiB", f"{gpu_mib() - before}")
        check("as first served", template, python, bridge, project, loop)
        report("  edit of a line", [loop.measure(edit(template, project, n)) for n in range(1, num_edits + 1)])
        check("after those edits", template, python, bridge, project, loop)
        report("  edit of the loader", [loop.measure(lambda: edit_loader(project, 1))])
        check("after it", template, python, bridge, project, loop)


def edit(template: Template, project: Project, number: int) -> Callable[[], float]:
    """Make a save of another line."""
    return lambda: project.edit("app.py", template.pattern, template.replacement.format(number))


def cold(template: Template, python: Path, bridge: Path, project: Project) -> tuple[float, str, Any]:
    """Run the files in a fresh process; its seconds, where the first model lies, the answer."""
    code = COLD.format(
        bridge=str(bridge),
        root=str(project.root),
        models=template.models,
        endpoint=template.endpoint,
        arguments=template.arguments,
    )
    took_s, device, answer = json.loads(fresh(python, project, code))
    return took_s, device, answer


def check(when: str, template: Template, python: Path, bridge: Path, project: Project, loop: Loop) -> None:
    """Say whether the served answer is a fresh process's."""
    _, device, expected = cold(template, python, bridge, project)
    got = ask(loop, template.endpoint, template.arguments)
    compare(f"  {when}: the answer equals a fresh process's, on {device}", got, expected)


if __name__ == "__main__":
    main()
