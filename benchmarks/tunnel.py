"""What the forwarded port costs beside `ssh -L`: a new connection, keep-alive, 32 connections, a large body.

    python -m benchmarks.tunnel --ssh 'ssh -F DIR/ssh_config gpubox' [--json]

The host must have this checkout and this interpreter at the same paths, as a network namespace does. Both ways go through
system ssh, so that what differs is what is inside: a channel of ssh's own, or a gRPC call to the agent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hotloop import events
from hotloop.devloop.forward import Forward
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.client import connect

ROOT = Path(__file__).parent.parent
FAKE_RUNTIME = ROOT / "tests" / "remote_runner" / "fake_runtime.py"
BODY_BYTES = 32 << 20
PROJECT = "abcdef0123456789"


class SystemSsh:
    """A `Way`: a system ssh of its own a dial, which forwards a Unix socket to the agent's."""

    name = "ssh"
    num_lanes = 2

    def __init__(self, ssh, folder, target):
        self._ssh, self._folder, self._target = ssh, folder, target
        self._processes = []

    async def dial(self, lane=0):
        path = self._folder / f"d{len(self._processes)}-{lane}"
        self._processes.append(forward(self._ssh, f"{path}:{self._target}"))
        await until(path.exists)
        return f"unix:{path}"

    async def close(self):
        for process in self._processes:
            process.terminate()


def forward(ssh, what):
    """Forward with a session beside it: without one, ssh leaves Nagle's algorithm on, which costs a round trip more."""
    command = [*ssh[:1], "-o", "ExitOnForwardFailure=yes", "-L", what, *ssh[1:], "cat"]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def remote(ssh, command):
    """Run a command there until its stdin ends."""
    line = f"PYTHONPATH={ROOT / 'src'} {shlex.join(command)} & p=$!; cat >/dev/null; kill $p"
    return subprocess.Popen([*ssh, line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def until(is_true):
    deadline_s = time.monotonic() + 20
    while not is_true():
        if time.monotonic() > deadline_s:
            sys.exit("the other side did not start")
        await asyncio.sleep(0.02)


async def serve():
    """Answer each request: 2 bytes, or 32 MiB for /big."""

    async def answer(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = bytes(BODY_BYTES) if b"/big" in head else b"ok"
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def ask(reader, writer, path=b"/"):
    writer.write(b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % path)
    head = await reader.readuntil(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while left:
        left -= len(await reader.read(min(left, 1 << 18)))


async def measure(port, runs):
    """Give the four figures of a local port."""

    async def fresh():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await ask(reader, writer)
        writer.close()

    await fresh()
    new_s = [await timed(fresh()) for _ in range(runs)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await ask(reader, writer)
    kept_s = [await timed(ask(reader, writer)) for _ in range(runs)]
    bodies_s = [await timed(ask(reader, writer, b"/big")) for _ in range(3)]
    writer.close()

    async def many():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(runs):
            await ask(reader, writer)
        writer.close()

    took_s = await timed(asyncio.gather(*(many() for _ in range(32))))
    return {
        "new_connection_ms": statistics.median(new_s) * 1000,
        "keep_alive_ms": statistics.median(kept_s) * 1000,
        "connections_32_per_s": 32 * runs / took_s,
        "body_32_mib_per_s": BODY_BYTES / (1 << 20) / statistics.median(bodies_s),
    }


async def timed(work):
    began_s = time.perf_counter()
    await work
    return time.perf_counter() - began_s


async def compare(ssh, runs):
    server = remote(ssh, [sys.executable, str(Path(__file__)), "--serve"])
    port = int(server.stdout.readline() or sys.exit("the server did not start"))
    try:
        return {"ssh_l": await through_ssh(ssh, port, runs), "tunnel": await through_agent(ssh, port, runs)}
    finally:
        server.communicate()


async def through_ssh(ssh, port, runs):
    process = forward(ssh, f"127.0.0.1:{port + 1}:127.0.0.1:{port}")
    try:
        await asyncio.sleep(2)
        return await measure(port + 1, runs)
    finally:
        process.terminate()


async def through_agent(ssh, port, runs):
    runtime = json.dumps([sys.executable, str(FAKE_RUNTIME), "{fd}"])
    with tempfile.TemporaryDirectory(prefix="hotloop-tunnel-") as name:
        agent_command = [sys.executable, "-m", "hotloop.remote_runner.agent", "--state", name, "--runtime-command"]
        agent = remote(ssh, [*agent_command, runtime])
        sock = Path(name) / "agent" / "agent.sock"
        await until(sock.exists)
        way = SystemSsh(ssh, Path(name), sock)
        async with connect(way) as session:
            await session.open(Path(name), PROJECT)
            await session.start({"address": f"http://127.0.0.1:{port}"})
            tunnel = Forward(Channels(way), PROJECT)
            tunnel.open("127.0.0.1", 0, None, is_strict=False)
            async for _, event in session.events():
                if isinstance(event, events.RuntimeStarted):
                    shown = tunnel.started(event)
                    break
            await asyncio.sleep(2)  # its own connection is made ahead
            figures = await measure(int(shown.address.rpartition(":")[2]), runs)
            await tunnel.close()
            await session.end()
        agent.communicate()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ssh", type=shlex.split, default=["ssh", "localhost"])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    figures = asyncio.run(compare(options.ssh, options.runs))
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name in figures["tunnel"]:
        print(f"{name:24}" + "".join(f"  {side} {values[name]:8.1f}" for side, values in figures.items()))


if __name__ == "__main__":
    main()
