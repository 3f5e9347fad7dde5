"""The one command line that reaches a runner's agent. Knows no connection."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import zlib
from functools import cache
from pathlib import Path

from hotloop.errors import UsageError
from hotloop.frozen import frozen
from hotloop.remote_runner.bootstrap.source import own_source, requirements

DEFAULT_STATE = "~/.local/state/hotloop/runner"
PYTHON_NAMES = "python3 python3.13 python3.12 python3.11 python3.14 python3.10 python3.9 python3.8"
PYTHON_PATHS = "/usr/local/bin/python3 /usr/bin/python3 $HOME/.local/bin/python3 /opt/conda/bin/python3"
_SAFE_FOLDER = re.compile(r"(~/|/)[A-Za-z0-9_./-]*")

# What the shell does: try interpreters until one is new enough. No single quotes, no backslashes, no exclamation marks:
# the login shell that reads it first may be any; values are of [A-Za-z0-9+/=] alone. 97 is the loader's "too old"; a shim that leads
# nowhere ends with 126 or 127. What is said without Python goes from the marker, in two halves so that a shell that
# echoes the command does not say it, to the end of the line.
_SHELL = (
    "for p in {pythons}; do command -v $p >/dev/null 2>&1 || continue; "
    '$p -I -S -c "import sys,zlib,base64;exec(zlib.decompress(base64.b64decode(sys.argv[1])))" {loader} {request}; '
    "c=$?; case $c in 97|126|127) ;; *) exit $c ;; esac; done; "
    'echo; echo hotloop{marker_1}""{marker_2}=$(uname -m) $(ls /lib/ld-musl-* 2>/dev/null || echo gnu) $(python3 -V 2>&1)'
)


@frozen
class Options:
    """What is to be on the runner, and where.

    Attributes:
        python: The interpreter of hotloop's own environment there; empty for any that is new enough.
        state: Folder for workspaces, logs and the agent's socket; ``~`` is the home there.
        cache: Folder for what can be made again; empty for ``~/.cache/hotloop``.
        agent_arguments: More options for an agent that is started now.
        is_starting: Install and start an agent if none runs; else that is a `NoAgentError`.
    """

    python: str = ""
    state: str = DEFAULT_STATE
    cache: str = ""
    agent_arguments: tuple[str, ...] = ()
    is_starting: bool = True


@frozen
class Request:
    """One start of a bridge.

    Attributes:
        marker: Comes before what the runner answers: a shell may print before it.
        wanted: Names hotloop's environment there.
    """

    marker: str
    wanted: str
    command: str


def shell_cache(options: Options) -> str:
    """Say hotloop's folder there as a shell understands it.

    Raises:
        UsageError: It has characters that shells treat each in its own way.
    """
    if not options.cache:
        return "${XDG_CACHE_HOME:-$HOME/.cache}/hotloop"
    if not _SAFE_FOLDER.fullmatch(options.cache):
        msg = (
            f"The runner's folder is {options.cache!r}, a path from / or ~/ of letters, digits and _ . - was expected."
        )
        raise UsageError(msg, hint='write it as cache = "/data/me/hotloop"')
    return options.cache.replace("~/", "$HOME/", 1)


def make_request(options: Options) -> Request:
    """Make the command line for a start, with a marker of its own."""
    marker = secrets.token_hex(12)
    program = program_text("bridge")
    wanted = wanted_name(options.python)
    cache = shell_cache(options)
    # First the one that the agent has: a python3 on the PATH may be a script that looks for one (pyenv's: 50 ms).
    pythons = f"{cache}/agents/{wanted}-*/bin/python {PYTHON_NAMES} {PYTHON_PATHS} {cache}/python/*/bin/python3"
    fields = {
        "marker": marker,
        "program": hashlib.sha256(program).hexdigest(),
        "program_bytes": len(program),
        "wanted": wanted,
        "state": options.state,
        "cache": options.cache,
        "agent_arguments": options.agent_arguments,
        "is_starting": options.is_starting,
    }
    script = _SHELL.format(
        pythons=pythons,
        loader=base64.b64encode(zlib.compress(program_text("loader"), 9)).decode(),
        request=base64.b64encode(json.dumps(fields).encode()).decode(),
        marker_1=marker[:12],
        marker_2=marker[12:],
    )
    return Request(marker, wanted, f"exec sh -c '{script}'")


@cache
def wanted_name(python: str) -> str:
    """Name an environment by all that it is made of and that this side knows; the runner adds Python and platform."""
    parts = [own_source().digest, *requirements(), python]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


@cache
def program_text(name: str) -> bytes:
    """Read a program that runs on the runner."""
    return (Path(__file__).parent / "on_host" / f"{name}.py").read_bytes()
