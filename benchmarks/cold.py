"""A cold start: a fresh interpreter of the user's, the same app, to its first response. No runtime, no cache of ours."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import environments, projects

_SCRIPT = f"""
import app
models = {{"llm": app.llm(), "tokenizer": app.tokenizer()}}
print("loaded", flush=True)
print(app.chat({projects.QUESTION!r}, **models), flush=True)
"""
_IMPORT_SCRIPT = """
import app
print("imported", flush=True)
input()
"""


@dataclass(frozen=True)
class ColdStart:
    """Seconds from exec to models loaded, and to the first response."""

    loaded_s: float
    response_s: float


def measure(project: projects.Project, python: Path, bridge: Path) -> ColdStart:
    """Start the app once.

    Raises:
        RuntimeError: It did not answer.
    """
    began = time.monotonic()
    with _start(_SCRIPT, project, python, bridge) as process:
        assert process.stdout
        lines = [(line.strip(), time.monotonic() - began) for line in process.stdout]
    if process.returncode or len(lines) < 2:
        msg = f"the cold start ended with status {process.returncode} after {lines}"
        raise RuntimeError(msg)
    return ColdStart(loaded_s=lines[0][1], response_s=lines[1][1])


def process_without_weights_bytes(project: projects.Project, python: Path, bridge: Path) -> int:
    """PSS of a process that has imported the app and loaded nothing."""
    from benchmarks import memory

    with _start(_IMPORT_SCRIPT, project, python, bridge) as process:
        assert process.stdout
        assert process.stdin
        if process.stdout.readline().strip() != "imported":
            msg = "the app can't be imported in a fresh interpreter"
            raise RuntimeError(msg)
        size = memory.pss_bytes(process.pid)
        process.stdin.write("\n")
        process.stdin.close()
    return size


def _start(script: str, project: projects.Project, python: Path, bridge: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-c", script],
        cwd=project.root,
        env=environments.clean_environment(PYTHONPATH=str(bridge)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
