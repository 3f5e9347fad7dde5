"""Run one command of tests where the app runs, with its Python: gently, and with what pytest noted of it at the end.

It is sent as text, since the app's environment has no hotloop: the standard library alone. stdout is what the command
writes; stderr is pytest's report as XML, cut at a limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

NICENESS = 10  # a reload, and whoever uses the app, have the machine first
MAX_REPORT_BYTES = 16 << 20


def main(command: list[str], *, is_pytest: bool) -> int:
    """Run it; gives its exit code as shells do: 128 + N if signal N ended it."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    paths = [*filter(None, [os.environ.get("PYTHONPATH", "")]), str(Path.cwd())]  # last: it replaces no module
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # tests/test_app.py says "import app"
    if not is_pytest:
        return run(command)
    folder = Path.cwd().parent / "tests"  # beside the workspace, which stays as it was sent
    folder.mkdir(exist_ok=True)
    report = folder / "report.xml"
    with contextlib.suppress(FileNotFoundError):
        report.unlink()
    options = ("--junitxml", str(report), "-o", "junit_family=xunit1", "-o", f"cache_dir={folder / 'cache'}")
    code = run([*command, *options])
    with contextlib.suppress(FileNotFoundError), report.open("rb") as file:
        sys.stderr.buffer.write(file.read(MAX_REPORT_BYTES))
        sys.stderr.flush()
    return code


def run(command: list[str]) -> int:
    """Run a command with one stream for all that it writes."""
    try:
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stderr=sys.stdout)
    except OSError as error:
        print(f"hotloop: {command[0]}: {error.strerror}", flush=True)
        return 127 if isinstance(error, FileNotFoundError) else 126
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
