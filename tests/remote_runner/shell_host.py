"""A `Host` that is a bare machine: commands run by ``sh -c`` on this one, in a home of their own and a bare environment."""

import asyncio
import contextlib
import os


class ShellHost:
    """Commands of a user who has nothing but ``environ``.

    Attributes:
        commands: What was started so far.
    """

    def __init__(self, home, *, path="/usr/local/bin:/usr/bin:/bin", shell="/bin/sh", name="bare", **environ):
        self.name = name
        self.commands = []
        self._environ = {"HOME": str(home), "PATH": path, **environ}
        self._shell = shell
        self._processes = []

    async def start(self, command):
        self.commands.append(command)
        process = await asyncio.create_subprocess_exec(
            self._shell, "-c", command, env=self._environ, cwd="/", start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._processes.append(ShellProcess(process))
        return self._processes[-1]

    async def close(self):
        for process in self._processes:
            await process.end()

    def cut(self):
        """Lose the connection: all that runs through it ends, what was detached does not."""
        for process in self._processes:
            process.cut()


class ShellProcess:
    def __init__(self, process):
        self._process = process
        self._errors = b""
        self._is_cut = False
        self._collecting = asyncio.create_task(self._collect())

    async def write(self, data):
        if self._is_cut:
            raise BrokenPipeError
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def end_input(self):
        self._process.stdin.close()

    async def read(self):
        return b"" if self._is_cut else await self._process.stdout.read(1 << 18)

    def errors(self):
        return self._errors

    async def wait(self):
        code = await self._process.wait()
        await self._collecting
        return -1 if self._is_cut else code

    def close(self):
        self._process.stdin.close()

    def cut(self):
        self._is_cut = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)

    async def end(self):
        """What the end of a connection does: pipes are closed, and whoever still writes to them dies."""
        self.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 0.2)
        self.cut()
        self._process._transport.close()
        await self._collecting

    async def _collect(self):
        while data := await self._process.stderr.read(1 << 16):
            self._errors = (self._errors + data)[-(1 << 16) :]
