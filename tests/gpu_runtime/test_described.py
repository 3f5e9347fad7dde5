"""Schemathesis against a served app: does it do what its description says, and does anything make it answer 500?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver

DATA = Path(__file__).parents[1] / "data"
EXAMPLES = os.environ.get("HOTLOOP_DESCRIBED_EXAMPLES", "15")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
CONFIG = """
seed = 20
workers = 1
continue-on-failure = true
request-timeout = 10

[generation]
max-examples = {examples}
database = "none"

[phases]
examples.enabled = false
stateful.enabled = false

# There is no authentication, and nothing is made that could be gone.
[checks]
ignored_auth.enabled = false
object_level_authorization.enabled = false
use_after_free.enabled = false
ensure_resource_availability.enabled = false

# In a form, a file may hold any bytes: what schemathesis means to be a number or an object is a file that says so.
[[operations]]
include-path-regex = "^/(blob|blob_and_name|files)$"
checks.negative_data_rejection.enabled = false

# JSON Schema can't say that nested lists are of one shape.
[[operations]]
include-path-regex = "^/(array|arrays)$"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_app_of_every_kind_does_what_its_description_says(tmp_path: Path, user_python: Path):
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.replace("{examples}", EXAMPLES), "utf-8")
    app = (DATA / "every_kind.py").read_text("utf-8")

    with RuntimeDriver(tmp_path, {"app.py": app}, python=str(user_python)) as runtime:
        runtime.wait_for(events.Ready)
        before = _num_files(runtime.pid)
        found = subprocess.run(
            [Path(sys.executable).with_name("st"), "--config-file", config, "run", f"{runtime.address}/openapi.json"],
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS), "NO_COLOR": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        after = runtime.call("nothing")
        num_files = _num_files(runtime.pid)

    assert found.returncode == 0, found.stdout + found.stderr
    assert (after.status, after.json) == (200, None)
    assert num_files <= before + 10  # a standby's links came meanwhile; thousands of requests did too


def _num_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
