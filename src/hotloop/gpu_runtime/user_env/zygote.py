# pyright: basic
# (the user's modules have no types here)
"""The process that workers are forked from: third-party modules imported, one thread, no CUDA, no project code.

One that has more modules is forked from it as well, so that those it has are not imported once more.

Its rules are asserted before each fork, because breaking one hangs every child: a single 64x64 product in the zygote made
each child hang in its first parallel operation. A module that breaks a rule when it is imported is named, and the runtime
starts another zygote without it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import io
import os
import select
import signal
import sys
from dataclasses import dataclass, field
from typing import Any, cast

from hotloop.gpu_runtime.user_env import host, wire, worker
from hotloop.gpu_runtime.user_env.fingerprint.record import Record
from hotloop.gpu_runtime.user_env.rehearse import record_model, rehearse
from hotloop.gpu_runtime.user_env.vault import cuda

# One OpenBLAS thread starts per core when numpy is imported, unless this is set before; see `_give_back_threads`.
_OURS = {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
# GNU's OpenMP, which torch's CPU build has, spins 5 to 10 ms after the last operation of a call before it sleeps, on all
# cores but one: the answer has to wait for a core. 30,000 turns are about 1 ms, far more than lies between two operations.
_SPIN = {"GOMP_SPINCOUNT": "30000"}
_SPIN_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

REHEARSALS = 12  # CPython 3.11 specialises a function's instructions at its eighth call


@dataclass
class Clean:
    """What a fresh start has, to be given to each child: environment, and the threads that were kept at one.

    Attributes:
        modules: What a zygote has before it imports anything because it was learned.
    """

    environment: dict[str, str]
    modules: frozenset[str]
    torch_threads: int = 0
    openblas_threads: int = 0
    preset: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> dict[str, str]:
        """What is set while libraries are imported, and in no child: they read it then."""
        chosen = self.environment.keys() | self.preset.keys()
        return {**_OURS, **({} if chosen & set(_SPIN_CHOSEN) else _SPIN)}


class Tainted(Exception):
    """A module can't be in a zygote: importing it started a thread or touched the GPU."""


def main(control_fd: int) -> None:
    """Serve the runtime until it closes the link. Never returns in a child."""
    link = wire.link_from_fd(control_fd)
    start = link.receive().header
    modules = frozenset(sys.modules)
    clean = Clean(start["environment"], modules, openblas_threads=len(os.sched_getaffinity(0)), preset=start["preset"])
    _set_environment({**clean.environment, **clean.preset, **clean.ours})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.dont_write_bytecode = False
    rehearsed = record_model() if start["modules"] else None  # before there are thousands of modules to look at
    left_out = _preload(start["modules"], clean)
    for _ in range(REHEARSALS if rehearsed and not left_out else 0):
        rehearse(rehearsed)
    _begin(link, clean, rehearsed, left_out)


def _succeed(link: wire.Link, modules: list[str], clean: Clean, rehearsed: Record | None) -> None:
    """Import what the zygote that this was forked from lacks, and serve in its place."""
    _begin(link, clean, rehearsed, _preload(modules, clean))


def _begin(link: wire.Link, clean: Clean, rehearsed: Record | None, left_out: dict[str, Any]) -> None:
    if left_out:
        link.send({"kind": "tainted", **left_out})
        return
    gc.collect()
    gc.freeze()
    brought = {name.partition(".")[0] for name in sys.modules} - clean.modules
    link.send({"kind": "up", "brought": sorted(brought)})
    _serve(link, clean, rehearsed)


def _serve(link: wire.Link, clean: Clean, rehearsed: Record | None) -> None:
    children: dict[int, tuple[int, dict[str, Any]]] = {}  # pidfd: (pid, who it is)
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    while True:
        for fd, _ in poll.poll() if not link.has_message else [(link.fileno(), 0)]:
            if fd != link.fileno():
                poll.unregister(fd)
                pid, who = children.pop(fd)
                os.close(fd)
                link.send({"kind": "exited", **who, "status": os.waitpid(pid, 0)[1]})
                continue
            try:
                message = link.receive()
            except wire.LinkClosed:
                return
            pid = _fork(message, clean, rehearsed, [link.fileno(), *children])
            pidfd = os.pidfd_open(pid)
            who = {"role": message.header["role"], "number": message.header["number"]}
            children[pidfd] = (pid, who)
            poll.register(pidfd, select.POLLIN)
            link.send({"kind": "forked", **who, "pid": pid})


def _fork(message: wire.Message, clean: Clean, rehearsed: Record | None, to_close: list[int]) -> int:
    _assert_forkable()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        for fd in message.fds:
            os.close(fd)
        return pid
    try:
        link_fd, stdout, stderr = message.fds
        _leave(stdout, stderr, to_close)
        link = wire.link_from_fd(link_fd)
        match message.header["role"]:
            case "zygote":
                _succeed(link, message.header["modules"], clean, rehearsed)
            case "host":
                _become_fresh(clean)
                host.main(link, message.header)
            case _:
                _become_fresh(clean)
                worker.main(link, message.header, rehearsed)
    except BaseException:  # noqa: BLE001  a child must never run the zygote's loop
        import traceback

        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def _leave(stdout: int, stderr: int, to_close: list[int]) -> None:
    """Have nothing in common any more with the process that this was forked from."""
    os.setsid()
    for fd in to_close:
        os.close(fd)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)


def _become_fresh(clean: Clean) -> None:
    """Make the process look like a fresh start of Python in the project."""
    for stream in (sys.stdout, sys.stderr):
        cast("io.TextIOWrapper", stream).reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Variables that a library set while it was imported stay, as they would after a fresh import.
    kept = {k: v for k, v in os.environ.items() if k not in clean.ours and k not in clean.preset}
    _set_environment({**kept, **clean.environment})
    _give_back_threads(clean)
    _reseed()


def _set_environment(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _preload(modules: list[str], clean: Clean) -> dict[str, Any]:
    """Import what was learned, in the order in which a worker imported it.

    Returns:
        Nothing if all is well, else the module that broke a rule and why.
    """
    for name in modules:
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001, S112  the app's own import will say it, with the user's line
            continue
        _hold_torch_to_one_thread(clean)
        why = _rule_broken()
        if why:
            return {"module": name, "why": why}
    return {}


def _hold_torch_to_one_thread(clean: Clean) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and not clean.torch_threads and hasattr(torch, "set_num_threads"):
        clean.torch_threads = torch.get_num_threads()
        torch.set_num_threads(1)


def _rule_broken() -> str:
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208  a count is all that is wanted
        return "starts a thread when it is imported"
    if cuda.is_in_use():
        return "touches the GPU when it is imported"
    return ""


def _assert_forkable() -> None:
    why = _rule_broken()
    if why:
        msg = f"something in the zygote {why}"
        raise Tainted(msg)


def _give_back_threads(clean: Clean) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and clean.torch_threads:
        torch.set_num_threads(clean.torch_threads)
    if "numpy" in sys.modules and "OPENBLAS_NUM_THREADS" not in clean.environment:
        _set_openblas_threads(clean.openblas_threads)


def _set_openblas_threads(count: int) -> None:
    """Undo the limit of one that numpy was imported with; the names are those of numpy's own builds of OpenBLAS."""
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
        libraries = {line.split()[-1] for line in maps if "openblas" in line}
    for library in libraries:
        loaded = ctypes.CDLL(library)
        for name in ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads"):
            if hasattr(loaded, name):
                getattr(loaded, name)(count)
                break


def _reseed() -> None:
    """Give the child random numbers of its own, as two fresh starts have (``random`` does it by itself)."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "seed"):
        torch.default_generator.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None and hasattr(numpy_random, "seed"):
        fresh = numpy_random.MT19937(numpy_random.SeedSequence())
        numpy_random.set_state(fresh.state)  # `seed` would leave what a project's own seed leaves
