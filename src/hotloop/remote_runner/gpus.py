"""Memory that processes hold on this machine's NVIDIA GPUs, as the driver's own program tells it."""

from __future__ import annotations

import shutil
import subprocess

from hotloop.remote_runner.processes import children_by_parent

TIMEOUT_S = 3.0


def memory_by_process() -> dict[int, int]:
    """Bytes by process id, summed over all GPUs; empty without a GPU or its program. Blocks."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, "--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found: dict[int, int] = {}
    for line in done.stdout.splitlines():
        pid, _, mebibytes = (part.strip() for part in line.partition(","))
        if pid.isdigit() and mebibytes.isdigit():
            found[int(pid)] = found.get(int(pid), 0) + (int(mebibytes) << 20)
    return found


def memory_below(root: int | None, by_process: dict[int, int]) -> int:
    """Bytes that a process and all below it hold."""
    if root is None or not by_process:
        return 0
    children, waiting, total = children_by_parent(), [root], 0
    while waiting:
        pid = waiting.pop()
        total += by_process.get(pid, 0)
        waiting += children.get(pid, [])
    return total
