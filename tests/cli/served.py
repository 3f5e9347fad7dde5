"""A real `dev serve --json`, or `dev run --json`, that tests ask things of, and wait for what it tells."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from hotloop.devloop import control

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
COMMAND = [sys.executable, "-m", "hotloop.cli.main"]
DEADLINE_S = 40.0


class Loop:
    """A `dev serve --json`, or another command that serves, all that it has told, and what it is asked."""

    def __init__(self, project, *options, python=BARE_PYTHON, verb="serve"):
        self.project = project
        self.told = []
        self._came = threading.Condition()
        self.process = subprocess.Popen(
            [*COMMAND, verb, "--port", "0", "--json", "--python", python, *options],
            cwd=project, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.socket = control.control_path(control.state_folder(), control.project_id(project, role=verb))

    def _read(self):
        for line in self.process.stdout:
            with self._came:
                self.told.append(json.loads(line))
                self._came.notify_all()

    def until(self, kind, after=0, **fields):
        """Wait for an event; gives it and the position behind it."""
        deadline = time.monotonic() + DEADLINE_S
        with self._came:
            while True:
                for position in range(after, len(self.told)):
                    event = self.told[position]
                    if event["kind"] == kind and fields.items() <= event.items():
                        return event, position + 1
                left = deadline - time.monotonic()
                if left <= 0 or not self._came.wait(left):
                    pytest.fail(f"no {kind} with {fields} in {self.told[after:]}")

    def ask(self, name, **fields):
        return control.ask(self.socket, {"name": name, **fields})

    def post(self, **arguments):
        url = self.until("runtime_started")[0]["address"]
        request = urllib.request.Request(
            f"{url}/greet", json.dumps(arguments).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        self._reader.join()
        self.process.stdout.close()
        return code
