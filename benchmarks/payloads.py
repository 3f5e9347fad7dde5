"""Large arrays in and out: milliseconds and CPU per request, with payloads lent in shared memory and without.

    python -m benchmarks.payloads [--json] [--rounds 5] [--user-python PATH]

Both sides serve the same app at the same time and are asked in turn. CPU is that of the front and its worker, from the
kernel's accounts; the client's is not in it. The array comes in, or goes out, or does both, as .npy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import environments, loop_client, memory, servers, stats
from hotloop import events

APP = """
import numpy
import hotloop
from numpy.typing import NDArray

app = hotloop.App("payloads")
READY = numpy.zeros(1 << 24, numpy.float32)


@app.endpoint
def into(array: NDArray[numpy.float32]) -> int:
    return len(array)


@app.endpoint
def out(count: int) -> NDArray[numpy.float32]:
    return READY[:count]


@app.endpoint
def both(array: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
    return array
"""
SIZES_MB = (0.064, 0.256, 1, 8, 64)
BYTES_PER_ROUND = 100_000_000
MAX_REQUESTS = 100
READY_S = 60
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Served:
    """One side: where it listens and which process is its front."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """What the front and all below it have used."""
        return sum(_cpu_s(pid) for pid in memory.tree(self.pid))


@dataclass
class Figures:
    """Samples of one size and direction on one side."""

    took_s: list[float] = field(default_factory=list[float])
    cpu_s: list[float] = field(default_factory=list[float])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object on stdout instead of the table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--user-python", default="")
    options = parser.parse_args()
    python = environments.user_python(options.user_python)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        sides = {
            name: stack.enter_context(served(Path(folder) / name, python, lending))
            for name, lending in (("socket", "off"), ("lent", "on"))
        }
        rows = measure(sides, options.rounds)
    if options.json:
        json.dump({"machine": stats.machine(), "rows": rows}, sys.stdout, indent=1)
        print()
    else:
        write(rows)


@contextlib.contextmanager
def served(folder: Path, python: Path, lending: str) -> Iterator[Served]:
    """Serve the app from a state folder of its own."""
    folder.mkdir()
    (folder / "app").mkdir()
    (folder / "app" / "app.py").write_text(APP)
    command = [
        loop_client.dev_command(),
        "serve",
        str(folder / "app"),
        "--json",
        "--port",
        "0",
        "--python",
        str(python),
    ]
    environment = {
        **environments.clean_environment(),
        "HOTLOOP_STATE_DIR": str(folder / "state"),
        "HOTLOOP_LENDING": lending,
    }
    log = folder / "log"
    process = servers.start(command, folder, environment, log)
    try:
        yield _started(log)
    finally:
        servers.stop(process, patience_s=30)


def _started(log: Path) -> Served:
    found: dict[type, events.Event] = {}

    def is_ready() -> bool:
        for line in log.read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError):
                event = events.from_json(json.loads(line))
                found[type(event)] = event
        return events.StandbyReady in found

    servers.wait_until(is_ready, READY_S, "the app is ready")
    started = found[events.RuntimeStarted]
    assert isinstance(started, events.RuntimeStarted)
    return Served(int(started.address.rsplit(":", 1)[1]), started.pid)


def measure(sides: dict[str, Served], rounds: int) -> list[dict[str, object]]:
    """Ask both sides in turn; one row a size and direction."""
    rows: list[dict[str, object]] = []
    for size_mb in SIZES_MB:
        count = int(size_mb * 250_000)
        body = npy_of(count)
        for name, path, sent in (("in", "/into", body), ("out", f"/out?count={count}", b""), ("both", "/both", body)):
            figures = {side: Figures() for side in sides}
            for number in range(rounds + 1):
                for side, one in sides.items():
                    took_s, cpu_s = ask(one, path, sent, max(3, min(MAX_REQUESTS, BYTES_PER_ROUND // len(body))))
                    if number:  # the first round is to warm up
                        figures[side].took_s += took_s
                        figures[side].cpu_s.append(cpu_s)
            rows.append(_row(size_mb, name, figures))
            print(f"{size_mb:g} MB {name}", file=sys.stderr, flush=True)
    return rows


def _row(size_mb: float, direction: str, figures: dict[str, Figures]) -> dict[str, object]:
    row: dict[str, object] = {"size_mb": size_mb, "direction": direction}
    for side, one in figures.items():
        row[f"{side}_ms"] = round(statistics.median(one.took_s) * 1000, 3)
        row[f"{side}_cpu_ms"] = round(statistics.median(one.cpu_s) * 1000, 3)
    return row


def write(rows: list[dict[str, object]]) -> None:
    """Print the table."""
    print(f"{'MB':>6} {'':5} {'socket ms':>10} {'lent ms':>10} {'ratio':>6} {'socket CPU ms':>14} {'lent CPU ms':>12}")
    for row in rows:
        socket_ms, lent_ms = float(str(row["socket_ms"])), float(str(row["lent_ms"]))
        print(
            f"{row['size_mb']:>6} {row['direction']:5} {socket_ms:>10.2f} {lent_ms:>10.2f} {socket_ms / lent_ms:>6.1f} "
            f"{row['socket_cpu_ms']:>14} {row['lent_cpu_ms']:>12}"
        )


def ask(side: Served, path: str, body: bytes, count: int) -> tuple[list[float], float]:
    """Send a request several times, one after the other; gives the times and the CPU of one."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\naccept: application/x-npy, application/json\r\n"
        f"content-type: application/x-npy\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    took_s: list[float] = []
    sink = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", side.port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before_s = side.cpu_s()
        for _ in range(count):
            began_s = time.perf_counter()
            sock.sendall(head)
            sock.sendall(body)
            _read(sock, sink)
            took_s.append(time.perf_counter() - began_s)
        return took_s, (side.cpu_s() - before_s) / count


def _read(sock: socket.socket, sink: bytearray) -> None:
    """Read one answer, and throw it away."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head:
        msg = f"the answer is {head[:200]!r} {body[:500]!r}"
        raise ValueError(msg)
    left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
    while left:
        left -= sock.recv_into(sink, min(left, len(sink)))


def npy_of(count: int) -> bytes:
    """An array of so many float32 in numpy's own format; this interpreter need not have numpy."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count},), }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(4 * count)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


if __name__ == "__main__":
    main()
