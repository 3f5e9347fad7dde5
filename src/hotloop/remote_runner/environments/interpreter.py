"""Find the interpreter that an environment is made of, and say which one it is."""

from __future__ import annotations

import json
from pathlib import Path

from hotloop.frozen import frozen
from hotloop.remote_runner.environments.commands import CommandError, Commands

_ASK = """
import json, platform, sys, sysconfig
print(json.dumps({
    "path": sys.executable, "version": platform.python_version(), "tag": sys.implementation.cache_tag or "",
    "platform": sysconfig.get_platform(), "libc": "-".join(platform.libc_ver()),
}))
"""


@frozen
class Interpreter:
    """A base interpreter. All of it counts for whether an environment can be used.

    Attributes:
        version: Such as ``3.11.7``.
        tag: Such as ``cpython-311``.
        platform: Such as ``linux-x86_64``.
        libc: Such as ``glibc-2.36``.
    """

    path: str
    version: str
    tag: str
    platform: str
    libc: str


async def find_interpreter(commands: Commands, uv: str, wanted: str, folder: Path) -> Interpreter:
    """Find an interpreter of the version that is wanted; uv downloads one if there is none and it can.

    Raises:
        CommandError: There is none, and none could be downloaded.
    """
    find = [uv, "python", "find", "--system", "--no-project", wanted]
    try:
        found = await commands.run(find, folder)
    except CommandError:
        await commands.run([uv, "python", "install", wanted], folder)
        found = await commands.run(find, folder)
    said = await commands.run([found[-1], "-I", "-c", _ASK], folder)
    return Interpreter(**json.loads(said[-1]))
