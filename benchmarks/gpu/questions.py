"""The questions that only a GPU answers, each asked in processes of its own.

A worker is made by fork from a process that has imported torch and never touched CUDA, as the zygote does it.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from hotloop.gpu_runtime import nvml
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.vault import arena, cuda
from hotloop.gpu_runtime.user_env.vault.attaching import attach
from hotloop.gpu_runtime.user_env.vault.packing import pack

GIB = 1 << 30
TIMEOUT_S = 90
PROJECT = Project("/nonexistent")


class Worker:
    """A forked process that does one thing, reports, and stays until told to go."""

    def __init__(self, work: Callable[..., Any], *fds: int) -> None:
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            self.ours.close()
            _serve(theirs, work, fds)
        theirs.close()
        self.fds: list[int] = []

    def result(self) -> Any:
        self.ours.settimeout(TIMEOUT_S)
        size, self.fds, _, _ = socket.recv_fds(self.ours, 8, 16)
        data = b""
        while len(data) < int.from_bytes(size, "little"):
            data += self.ours.recv(1 << 20)
        kind, value = pickle.loads(data)
        if kind == "error":
            raise RuntimeError(value)
        return value

    def end(self, sig: int = signal.SIGKILL) -> None:
        os.kill(self.pid, sig)
        os.waitpid(self.pid, 0)
        self.ours.close()


def _serve(sock: socket.socket, work: Callable[..., Any], given: tuple[int, ...]) -> None:
    fds: list[int] = []
    try:
        result = "ok", work(*given, fds) if given else work(fds)
    except BaseException:  # noqa: BLE001
        result = "error", traceback.format_exc().strip().splitlines()[-1]
    data = pickle.dumps(result)
    socket.send_fds(sock, [len(data).to_bytes(8, "little")], fds)
    sock.sendall(data)
    sock.recv(1)
    os._exit(0)


def used_mib() -> int:
    """Memory in use on the first GPU, all processes together."""
    out = subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return int(out.split()[0])


def until(condition: Callable[[], bool], limit_s: float = 10) -> float:
    """Seconds until something holds; the limit if it never did."""
    start = time.monotonic()
    while not condition() and time.monotonic() - start < limit_s:
        time.sleep(0.01)
    return time.monotonic() - start


def say(question: str, answer: str) -> None:
    print(f"{question:<72} {answer}", flush=True)


def ask(question: str, work: Callable[[], str]) -> None:
    try:
        say(question, work())
    except Exception as error:  # noqa: BLE001 (the other questions still count)
        say(question, f"ERROR {type(error).__name__}: {error}")


# --- 1: does a descriptor alone keep memory? -------------------------------------------------------------------------


def export_block(fds: list[int]) -> str:
    torch.cuda.init()
    torch.zeros(1, device="cuda")
    handle, size = cuda.allocate(0, GIB)
    address = cuda.map_block(handle, 0, size)
    storage = torch._C._construct_storage_from_data_pointer(address, torch.device("cuda", 0), size)  # noqa: SLF001
    torch.empty(0, dtype=torch.uint8, device="cuda").set_(storage).fill_(7)
    torch.cuda.synchronize()
    fds.append(cuda.export_fd(handle))
    return "ok"


def import_block(fd: int, _: list[int]) -> tuple[int, float]:
    torch.cuda.init()
    torch.zeros(1, device="cuda")
    start = time.monotonic()
    mapped = cuda.open_blocks([cuda.Block(0, GIB)], [fd])
    took = time.monotonic() - start
    storage = mapped.storage(arena.Slot(1, 0, GIB), is_shared=True)
    tensor = torch.empty(0, dtype=torch.uint8, device="cuda").set_(storage)
    return int(tensor.min().item() + tensor.max().item()) // 2, took


def descriptor_keeps_memory() -> str:
    before = used_mib()
    maker = Worker(export_block)
    maker.result()
    maker.end()
    time.sleep(1)
    held = used_mib() - before
    reader = Worker(import_block, maker.fds[0])
    value, took = reader.result()
    reader.end()
    os.close(maker.fds[0])
    freed = until(lambda: used_mib() - before < 100)
    verdict = "yes" if value == 7 and held > 900 else "NO"
    return f"{verdict}: {held} MiB held by a descriptor, read back {value}, import+map {took * 1e3:.1f} ms, freed in {freed:.2f} s"


# --- 2: what does a context cost in a forked worker? -------------------------------------------------------------------


def make_context(_: list[int]) -> tuple[float, float]:
    start = time.monotonic()
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()
    context = time.monotonic() - start
    start = time.monotonic()
    a = torch.randn(512, 512, device="cuda")
    (a @ a).sum().item()
    return context, time.monotonic() - start


def context_in_a_fork() -> str:
    before = used_mib()
    worker = Worker(make_context)
    context, product = worker.result()
    cost = used_mib() - before
    worker.end()
    return f"yes: context {context * 1e3:.0f} ms, first product {product * 1e3:.0f} ms, {cost} MiB"


# --- 3 and 4: a model through the vault ---------------------------------------------------------------------------------


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.TransformerEncoderLayer(1024, 16, 4096, batch_first=True) for _ in range(12)]
    return torch.nn.Sequential(*layers).half().eval()


def answer(network: torch.nn.Module) -> tuple[Any, float]:
    x = torch.ones(1, 16, 1024, device="cuda", dtype=torch.float16)
    start = time.monotonic()
    with torch.inference_mode():
        result = network(x).float().cpu()
    return result, time.monotonic() - start


def store_model(fds: list[int]) -> tuple[bytes, int, float, Any]:
    network = model().cuda()
    result, _ = answer(network)
    start = time.monotonic()
    packed = pack(network, PROJECT)
    fds.extend(packed.fds)
    return packed.header, packed.size_bytes, time.monotonic() - start, result


def through_the_vault() -> str:
    before = used_mib()
    maker = Worker(store_model)
    header, size, packing, expected = maker.result()
    maker.end()

    def use(*given: Any) -> tuple[float, float, float, float, Any, str]:
        start = time.monotonic()
        torch.zeros(1, device="cuda")
        context = time.monotonic() - start
        start = time.monotonic()
        network = attach(header, maker.fds, PROJECT)
        attaching = time.monotonic() - start
        start = time.monotonic()
        cuda.warm_up([cuda.Block(0, 0)])
        warming = time.monotonic() - start
        result, first = answer(network)
        _, second = answer(network)
        network.zero_grad()
        return context, attaching, warming, first, second, result

    workers = [Worker(use) for _ in range(2)]
    results = [worker.result() for worker in workers]
    shared = used_mib() - before
    for worker in workers:
        worker.end()
    returned = until(lambda: used_mib() - before - size // (1 << 20) < 100)
    context, attaching, warming, first, second, got = results[0]
    verdict = "yes" if torch.equal(got, expected) and torch.equal(results[1][5], expected) else "NO"
    for fd in maker.fds:
        os.close(fd)
    return (
        f"{verdict}: {size >> 20} MiB, pack {packing * 1e3:.0f} ms, context {context * 1e3:.0f} ms, attach {attaching * 1e3:.1f} ms, "
        f"warm-up {warming * 1e3:.0f} ms, first call {first * 1e3:.0f} ms, then {second * 1e3:.1f} ms; two workers use {shared} MiB; "
        f"memory of killed workers back in {returned:.2f} s"
    )


def autograd_on_attached(_: list[int]) -> str:
    handle, size = cuda.allocate(0, 1 << 21)
    address = cuda.map_block(handle, 0, size) if torch.zeros(1, device="cuda").is_cuda else 0
    storage = torch._C._construct_storage_from_data_pointer(address, torch.device("cuda", 0), size)  # noqa: SLF001
    weight = torch.nn.Parameter(torch.empty(0, device="cuda").set_(storage, 0, (256, 256), (256, 1)).fill_(1.0))
    (weight @ weight).sum().backward()
    torch.cuda.empty_cache()
    weight.record_stream(torch.cuda.current_stream()) if os.environ.get("TRY_RECORD_STREAM") else None
    return f"yes: data_ptr matches: {weight.data_ptr() == address}, gradient {weight.grad.mean().item():.0f}"


def training_works() -> str:
    def work(fds: list[int]) -> str:
        torch.cuda.init()
        torch.zeros(1, device="cuda")
        return autograd_on_attached(fds)

    worker = Worker(work)
    said = worker.result()
    worker.end()
    return said


# --- 5: what happens to a write to weights that are mapped for reading? --------------------------------------------------


def write_to_weights(header: bytes, fds: list[int]) -> str:
    torch.zeros(1, device="cuda")
    network = attach(header, fds, PROJECT)
    x = torch.ones(4, 16, 1024, device="cuda", dtype=torch.float16)
    read = network(x).float().sum().item() if hasattr(network, "forward") else 0.0
    with torch.no_grad():
        try:
            next(network.parameters()).add_(1)
            torch.cuda.synchronize()
        except Exception as error:  # noqa: BLE001 (which one it is, is the question)
            first = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        else:
            return "NO: it was written"
    try:
        torch.zeros(1, device="cuda").item()
    except Exception as error:  # noqa: BLE001
        return f"refused ({first}); the context is then dead ({type(error).__name__}); read before: {read:.0f}"
    return f"refused ({first}); the context lives on"


def read_only_weights() -> str:
    maker = Worker(store_model)
    header, _, _, expected = maker.result()
    maker.end()
    writer = Worker(lambda _: write_to_weights(header, maker.fds))
    said = writer.result()
    writer.end()

    def use(_: list[int]) -> Any:
        torch.zeros(1, device="cuda")
        return answer(attach(header, maker.fds, PROJECT))[0]

    reader = Worker(use)
    is_whole = torch.equal(reader.result(), expected)
    reader.end()
    for fd in maker.fds:
        os.close(fd)
    return f"{said}; another process reads them {'unchanged' if is_whole else 'CHANGED'} afterwards"


# --- 7: how long after a kill is the memory back? -----------------------------------------------------------------------


def fill(_: list[int]) -> int:
    return torch.zeros(2 * GIB, dtype=torch.uint8, device="cuda").numel()


def memory_after_kill() -> str:
    before = used_mib()
    worker = Worker(fill)
    worker.result()
    worker.end()
    took = until(lambda: used_mib() - before < 100)
    return f"{took:.2f} s after SIGKILL of a worker with 2 GiB"


# --- 8: does the driver's library tell what the dashboard shows, without a context, and how fast? --------------------------


def compute_for(seconds: float, _: list[int]) -> str:
    matrix = torch.rand(8192, 8192, device="cuda", dtype=torch.bfloat16)
    held = torch.zeros(2 * GIB, dtype=torch.uint8, device="cuda")
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        matrix @ matrix
        torch.cuda.synchronize()
    return f"{held.numel()}"


def _holders() -> str:
    command = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def figures_by_nvml() -> str:
    start = time.monotonic()
    library = nvml.open_library(os.environ.get("CUDA_VISIBLE_DEVICES"))
    opened_ms = (time.monotonic() - start) * 1e3
    if library is None:
        return f"NO: {nvml.LIBRARY} can't be opened"
    idle = library.read()[0]
    worker = Worker(lambda _: compute_for(6.0, _))
    time.sleep(4)  # its context takes a moment
    library.read()  # SM activity is a difference of two samples
    time.sleep(1)
    start = time.monotonic()
    busy = library.read([worker.pid])[0]
    read_ms = (time.monotonic() - start) * 1e3
    smi_mib, has_context = used_mib(), str(os.getpid()) in _holders().split()
    worker.result()
    worker.end()
    library.close()
    agrees = "as nvidia-smi" if abs(busy.memory_used_bytes / 2**20 - smi_mib) < 64 else f"nvidia-smi: {smi_mib} MiB"
    return (
        f"opened in {opened_ms:.0f} ms, read in {read_ms:.1f} ms, own context: {'YES' if has_context else 'none'}; "
        f"{busy.name}, {busy.memory_used_bytes >> 20} MiB used ({agrees}), held by the worker: {busy.app_bytes}, "
        f"SM active {busy.sm_ratio} (idle {idle.sm_ratio}), busy {busy.busy_ratio}, "
        f"{busy.power_w} W of {busy.power_limit_w} W (idle {idle.power_w})"
    )


def main() -> None:
    """Ask everything."""
    assert not torch.cuda.is_initialized(), "the parent must not touch CUDA"
    say("question", "answer")
    ask("1. does a descriptor alone keep GPU memory, its creator dead?", descriptor_keeps_memory)
    ask("2. can a fork of a process with torch make a context, at what cost?", context_in_a_fork)
    ask("3. does a model come back equal through the vault, in two workers?", through_the_vault)
    ask("4. do autograd and the allocator accept such memory?", training_works)
    ask("5. is a write to shared weights refused, and are they whole afterwards?", read_only_weights)
    ask("7. how long is memory held after a worker is killed?", memory_after_kill)
    ask("8. does NVML tell memory, SM activity and power, without a context?", figures_by_nvml)


if __name__ == "__main__":
    main()
