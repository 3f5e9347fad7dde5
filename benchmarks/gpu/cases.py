"""Ways of using a GPU through saves, a killed worker and two replicas: each answer is compared with a fresh process's.

Usage: python -m benchmarks.gpu.cases [--user-python PYTHON]   (GPU_APP_DEVICE=cpu tries it without a GPU)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu.loop import ask, ask_lines, fresh, gpu_mib, report, run_in_folder, say
from benchmarks.loop_client import Loop
from benchmarks.projects import Project

from benchmarks import environments

HERE = Path(__file__).parent
CASES = ("draw", "eager", "compiled", "graphed", "quantised", "shared", "in_the_loop")
COLD = """
import asyncio, inspect, json, sys
sys.path[:0] = [{bridge!r}, {root!r}]
import app
net = app.net()
models = {{"net": net, "tied": app.tied(net), "int8": app.int8()}}
answers = {{}}
for case in {cases!r}:
    function = getattr(app, case)
    got = function(**{{name: models[name] for name in inspect.signature(function).parameters}})
    answers[case] = asyncio.run(got) if inspect.iscoroutine(got) else got
answers["batched"] = app.batched([1, 2, 3], net)
answers["streamed"] = list(app.streamed(3, net))
print(json.dumps(answers))
"""
NEAR = 2e-3  # a batch of another size is another product: as far as float32's TF32 goes


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description="Ways of using a GPU through saves, a killed worker, two replicas.")
    run_in_folder(parser, lambda _, python, folder: run(python, folder))


def run(python: Path, folder: Path) -> None:
    """Serve the app, edit it, kill its worker, serve it by two."""
    project = Project(folder / "project")
    project.root.mkdir()
    shutil.copy(HERE / "cases_app.py", project.root / "app.py")
    shutil.copy(HERE / "layers.py", project.root)
    bridge = environments.make_bridge(folder / "bridge")
    before = gpu_mib()
    with Loop(project, python, folder / "loop") as loop:
        check("as first served", python, bridge, project, loop)
        for scale in (2.0, 3.0, 4.0):
            edit = loop.measure(lambda scale=scale: project.edit("app.py", r"^SCALE = .*$", f"SCALE = {scale}"))
            check(f"after SCALE = {scale}", python, bridge, project, loop)
        report("the last of these edits", [edit])
        edit = loop.measure(lambda: project.edit("layers.py", r"\+ self\.shift$", "- self.shift"))
        report("edit of the model's class", [edit])
        check("after it", python, bridge, project, loop)
        refused(loop)
        os.kill(ask(loop, "pid", {}), signal.SIGKILL)
        check("after its worker was killed", python, bridge, project, loop)
        say("GPU memory, MiB", f"{gpu_mib() - before}")
    with Loop(project, python, folder / "two", options=("--replicas", "2")) as loop:
        with ThreadPoolExecutor(16) as pool:
            workers = set(pool.map(lambda _: ask(loop, "pid", {}), range(200)))
        say("two replicas: workers that answered; GPU memory, MiB", f"{len(workers)}; {gpu_mib() - before}")
        check("by two", python, bridge, project, loop, leave_out=("draw",))
        loop.measure(lambda: project.edit("app.py", r"^SCALE = .*$", "SCALE = 5.0"))
        check("by two, after SCALE = 5.0", python, bridge, project, loop, leave_out=("draw",))


def check(when: str, python: Path, bridge: Path, project: Project, loop: Loop, leave_out: tuple[str, ...] = ()) -> None:
    """Ask each endpoint and say which answers are not a fresh process's."""
    code = COLD.format(bridge=str(bridge), root=str(project.root), cases=CASES)
    expected = json.loads(fresh(python, project, code))
    got = {case: answer(loop, case) for case in CASES}
    with ThreadPoolExecutor(3) as pool:
        got["batched"] = list(pool.map(lambda number: ask(loop, "batched", {"number": number}), (1, 2, 3)))
    got["streamed"] = ask_lines(loop, "streamed", {"count": 3})
    again = {case: answer(loop, case) for case in CASES if case != "draw"}
    wrong = [
        f"{case}: {got[case]}, then {again.get(case)}, not {expected[case]}"
        for case in expected
        if case not in leave_out
        and not (is_near(got[case], expected[case]) and is_near(again.get(case, got[case]), expected[case]))
    ]
    say(f"{when}: answers that are a fresh process's", f"{len(expected) - len(wrong)} of {len(expected)}")
    for line in wrong:
        say("  WRONG", line)


def answer(loop: Loop, case: str) -> Any:
    """What an endpoint says, or how it fails."""
    try:
        return ask(loop, case, {})
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error.read().decode(errors='replace')[:300]}"


def is_near(got: Any, expected: Any) -> bool:
    """Whether two answers are the same but for rounding."""
    if not isinstance(expected, list) or not isinstance(got, list):
        return got == expected
    return len(got) == len(expected) and all(
        abs(float(one) - float(other)) <= NEAR for one, other in zip(got, expected, strict=True)
    )


def refused(loop: Loop) -> None:
    """Ask for more memory than there is: that request fails, its worker stays."""
    before = ask(loop, "pid", {})
    said = answer(loop, "too_large")
    after = ask(loop, "pid", {})
    say("a request for more memory than there is", str(said)[:160])
    say("  the next is answered by", "the same process" if after == before else "a new process")


if __name__ == "__main__":
    main()
