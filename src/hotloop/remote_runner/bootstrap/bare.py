"""A host without any Python: the shell there takes uv from this machine, and uv fetches a Python."""

from __future__ import annotations

import asyncio
import secrets
import zipfile
from typing import TYPE_CHECKING

from hotloop.remote_runner.bootstrap import packages
from hotloop.remote_runner.bootstrap.channel import Channel
from hotloop.remote_runner.bootstrap.failures import Failure, Kind
from hotloop.remote_runner.bootstrap.plan import PYTHON_TO_FETCH
from hotloop.remote_runner.bootstrap.progress import Phase, Progress, Report
from hotloop.remote_runner.bootstrap.request import Options, shell_cache
from hotloop.remote_runner.bootstrap.source import requirements

if TYPE_CHECKING:
    from hotloop.remote_runner.host import Host

FETCH_TIMEOUT_S = 300.0

# Answers by a marker in two halves, as in request.py: `?` asks for uv's binary, `=` says how it ended.
_SHELL = (
    "umask 077; c={cache}; mkdir -p $c || exit 1; "
    "u=$(command -v uv || ls $c/uv $HOME/.local/bin/uv $HOME/.cargo/bin/uv 2>/dev/null | head -n 1); "
    'if [ -z "$u" ]; then echo; printf %s%s? hotloop{marker_1} {marker_2}; '
    "head -c {size} > $c/uv.new && chmod 700 $c/uv.new && mv $c/uv.new $c/uv; u=$c/uv; fi; "
    "UV_CACHE_DIR=$c/uv-cache UV_HTTP_RETRIES=1 $u python install -q --no-bin --install-dir $c/python {python} 1>&2; r=$?; "
    'echo; echo hotloop{marker_1}""{marker_2}=$r'
)


async def fetch_python(host: Host, options: Options, said: str, report: Report) -> None:
    """Have uv bring a Python to where `request.make_request` looks for one.

    Args:
        host: Has none.
        options: Which Python is wanted, and hotloop's folder there.
        said: What the host's shell said of itself: machine, libc.
        report: Is told what is being done.

    Raises:
        Failure: uv can't be brought there, or it can't fetch a Python.
        RunnerError: The connection is lost.
    """
    machine, libc = [*said.split(), "", ""][:2]
    tag = f"{machine}-{'gnu' if libc == 'gnu' else 'musl'}"
    report(Progress(host.name, Phase.INSTALLING, "uv and Python"))
    uv = await _uv_binary(packages.uv_platform(tag, "2.17"))
    marker = secrets.token_hex(12)
    script = _SHELL.format(
        cache=shell_cache(options), size=len(uv), marker_1=marker[:12], marker_2=marker[12:],
        python=options.python if options.python[:1].isdigit() else PYTHON_TO_FETCH,
    )  # fmt: skip
    process = await host.start(f"exec sh -c '{script}'")
    try:
        status = await Channel(host.name, process, marker).shell_status(uv, FETCH_TIMEOUT_S)
    finally:
        process.close()
    if status != "0":
        failure = Failure(Kind.COMMAND, f"exit code {status}", {"output": process.errors().decode(errors="replace")})
        if failure.kind in {Kind.DISK_FULL, Kind.DENIED, Kind.NOEXEC}:
            raise failure
        raise Failure(Kind.NO_PYTHON, f"it has none ({said}), and uv can't fetch one there ({failure.line})")


async def _uv_binary(platform: str) -> bytes:
    pin = [pin for pin in requirements() if pin.startswith("uv==")]
    archive = await packages.fetch(pin, platform=platform, python=PYTHON_TO_FETCH)

    def read() -> bytes:
        with zipfile.ZipFile(archive) as opened:
            return opened.read("bin/uv")

    return await asyncio.to_thread(read)
