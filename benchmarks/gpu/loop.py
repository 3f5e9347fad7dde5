"""The whole loop on a GPU: a large model, edits of three kinds, traffic meanwhile, a killed worker; what each cost.

Every answer is compared with that of a fresh process that runs the files as they are then.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.loop_client import Edit, Loop, LoopFailed, interrupt_on_terminate
from benchmarks.projects import Project

from benchmarks import environments
from hotloop import events

HERE = Path(__file__).parent
COLD = """
import sys, time
sys.path[:0] = [{bridge!r}, {root!r}]
began = time.monotonic()
import app
import torch
llm = app.llm()
answer = app.generate(app.PROMPT, llm)
print(time.monotonic() - began, answer)
"""


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description="The whole loop on a GPU: a large model, edits, a killed worker.")
    parser.add_argument("--edits", type=int, default=15)
    run_in_folder(parser, lambda options, python, folder: run(python, folder, options.edits))


def run_in_folder(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace, Path, Path], None]) -> None:
    """Work with the options, the user's interpreter and a folder that is removed; what can't be done is a line."""
    parser.add_argument("--user-python", default="", help="interpreter that has torch and transformers")
    options = parser.parse_args()
    if os.environ.get("GPU_APP_DEVICE", "cuda") == "cuda" and not shutil.which("nvidia-smi"):
        parser.error("no NVIDIA GPU on this machine; GPU_APP_DEVICE=cpu tries it without one")
    interrupt_on_terminate()
    with tempfile.TemporaryDirectory() as folder:
        try:
            work(options, environments.user_python(options.user_python), Path(folder))
        except environments.Unavailable as error:
            parser.error(str(error))
        except LoopFailed as error:
            logs = [f"{log}:\n{log.read_text(errors='replace')[-1500:]}" for log in Path(folder).rglob("*.log")]
            sys.exit("\n".join([str(error), *logs]))


def run(python: Path, folder: Path, num_edits: int) -> None:
    """Go through all kinds of edits, then kill the active worker."""
    project = Project(folder / "project")
    project.root.mkdir()
    for name in ("app.py", "head.py"):
        shutil.copy(HERE / name, project.root)
    bridge = environments.make_bridge(folder / "bridge")
    cold_s, expected = cold(python, bridge, project)
    say("cold start of a fresh process, import to first answer, s", f"{cold_s:.1f}")
    before = gpu_mib()
    with Loop(project, python, folder / "loop") as loop:
        say("dev serve, start to ready, s", f"{loop.first_ready_s:.1f}")
        for model in loop.first.models:
            say(
                f"the model {model.name}", f"{model.action}, {model.home}, {model.size_bytes / 1e9:.2f} GB, {model.why}"
            )
        say("GPU memory: the session, then with a warm standby, MiB", f"{gpu_mib() - before}")
        compare("first answer equals a fresh process's", generate(loop, [1, 20, 300, 4000]), expected)
        traffic = Traffic(loop)
        prompts = [[1, 20, 300, 4000 + number] for number in range(num_edits)]
        edits = [loop.measure(edit_prompt(project, prompt)) for prompt in prompts]
        report("edit of the endpoint's file", edits)
        say("  the probe's tokens were there after, ms", ask(loop, "first_steps", {}))
        later = [timed(lambda: generate(loop, prompts[-1])) * 1e3 for _ in range(5)]
        say("  a later request, whole, ms", f"{statistics.median(later):.0f}")
        cold_again(python, bridge, project, loop, prompts[-1], "after those edits")
        edits = [loop.measure(edit_class(project, number)) for number in range(1, num_edits // 2 + 1)]
        report("edit of the model's class", edits)
        cold_again(python, bridge, project, loop, prompts[-1], "after those edits")
        compare("  the model over its weights has the same ones", ask(loop, "is_shared", {}), expected=True)
        edit = loop.measure(lambda: project.edit("app.py", r"^SEED = 7", "SEED = 8"))
        report("edit of what the loader reads", [edit])
        cold_again(python, bridge, project, loop, prompts[-1], "after it")
        compare("  the model over its weights has the same ones", ask(loop, "is_shared", {}), expected=True)
        say("GPU memory after all edits, MiB", f"{gpu_mib() - before}")
        killed(loop)
        spoiled(python, bridge, project, loop, prompts[-1])
        say("requests meanwhile, failed", f"{traffic.stop()}, {len(traffic.failures)} {traffic.failures[:2]}")
    time.sleep(2)
    say("GPU memory after Ctrl-C, MiB", f"{gpu_mib() - before}")


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def edit_prompt(project: Project, prompt: list[int]) -> Callable[[], float]:
    """Make a save of another prompt."""
    return lambda: project.edit("app.py", r"^PROMPT = .*$", f"PROMPT = {prompt}")


def edit_class(project: Project, number: int) -> Callable[[], float]:
    """Make a save of another method of the model's class."""
    return lambda: project.edit("head.py", r"\+ \d+\) % 32000", f"+ {number}) % 32000")


def report(what: str, edits: list[Edit]) -> None:
    """Say what some edits cost."""
    ready = [edit.ready_s * 1e3 for edit in edits]
    overhead = [(edit.feedback_s or 0) * 1e3 - edit.compute_s * 1e3 for edit in edits]
    compute = [edit.compute_s * 1e3 for edit in edits]
    actions = sorted({f"{model.action} ({model.why})" for edit in edits for model in edit.models})
    starts = sorted({edit.start for edit in edits})
    say(f"{what}: ready, ms, median of {len(edits)} (max)", f"{statistics.median(ready):.1f} ({max(ready):.1f})")
    say("  save to first output over the probe's compute, ms", f"{statistics.median(overhead):.1f}")
    say("  the probe's compute, ms: first, median", f"{compute[0]:.0f}, {statistics.median(compute):.0f}")
    say("  the model; started from", f"{'; '.join(actions)}; {', '.join(starts)}")


def killed(loop: Loop) -> None:
    """Kill the active worker and time the next answer."""
    mark = loop._mark()  # noqa: SLF001
    pid = ask(loop, "pid", {})
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    generate(loop, [1, 2, 3])
    took = time.monotonic() - began
    ready = loop.wait_for(events.Ready, after=mark)
    say(
        "active worker killed: next answer, ms; the model",
        f"{took * 1e3:.0f}; {', '.join(model.action for model in ready.event.models)}",
    )


def spoiled(python: Path, bridge: Path, project: Project, loop: Loop, prompt: list[int]) -> None:
    """Write to the weights: first where that is not allowed, then where it is; neither may reach the next generation."""
    before, pid = generate(loop, prompt), ask(loop, "pid", {})
    try:
        said = f"allowed: {ask(loop, 'spoil', {})}"
    except urllib.error.HTTPError as error:
        said = f"refused: {error.read().decode(errors='replace')[:300]}"
    say("a write to the shared weights", said)
    compare("  the answer after it is the one before it", generate(loop, prompt), before)
    say("  by", "the same process" if ask(loop, "pid", {}) == pid else "a new process")
    edit = loop.measure(lambda: project.edit("app.py", r"^@app.model$", "@app.model(mutable=True)"))
    report("weights declared as mutable", [edit])
    say("  a write to them", ask(loop, "spoil", {}))
    say("  the answer after it", "changed" if generate(loop, prompt) != before else "NOT changed")
    loop.measure(edit_prompt(project, [1, 2]))
    compare("  after the next save it is again", generate(loop, prompt), before)


class Traffic:
    """Requests one after the other, from a thread, until stopped."""

    def __init__(self, loop: Loop) -> None:
        self.failures: list[str] = []
        self._loop, self._count, self._is_over = loop, 0, threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """End and count."""
        self._is_over.set()
        self._thread.join(30)
        return self._count

    def _send(self) -> None:
        while not self._is_over.wait(0.05):
            try:
                generate(self._loop, [5, 6, 7])
                self._count += 1
            except Exception as error:  # noqa: BLE001 (any failure counts)
                self.failures.append(f"{type(error).__name__}: {error}")


def generate(loop: Loop, prompt: list[int]) -> list[int]:
    """What the served app answers."""
    return ask(loop, "generate", {"prompt": prompt})


def ask(loop: Loop, endpoint: str, arguments: dict[str, Any]) -> Any:
    """Call an endpoint."""
    return ask_lines(loop, endpoint, arguments, accept="application/json")[0]


def ask_lines(loop: Loop, endpoint: str, arguments: dict[str, Any], accept: str = "application/x-ndjson") -> list[Any]:
    """Call an endpoint and read each line of its answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{loop.port}/{endpoint}",
        json.dumps(arguments).encode(),
        {"content-type": "application/json", "accept": accept},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return [json.loads(line) for line in response]


def cold(python: Path, bridge: Path, project: Project) -> tuple[float, list[int]]:
    """Run the files in a fresh process; seconds and the answer."""
    took, _, answer = fresh(python, project, COLD.format(bridge=str(bridge), root=str(project.root))).partition(" ")
    return float(took), json.loads(answer)


def fresh(python: Path, project: Project, code: str) -> str:
    """Run code in a fresh process in the project's folder; the last line that it prints."""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, cwd=project.root)
    if done.returncode:
        sys.exit(f"the fresh process failed: {done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


def cold_again(python: Path, bridge: Path, project: Project, loop: Loop, prompt: list[int], when: str) -> None:
    compare(f"  {when} the answer equals a fresh process's", generate(loop, prompt), cold(python, bridge, project)[1])


def compare(what: str, got: object, expected: object) -> None:
    say(what, "yes" if got == expected else f"NO: {got}, not {expected}")


def gpu_mib() -> int:
    """Memory in use on the first GPU; 0 without one."""
    if not shutil.which("nvidia-smi"):
        return 0
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])


def say(what: str, value: Any) -> None:
    print(f"{what:<72} {value}", flush=True)


if __name__ == "__main__":
    main()
