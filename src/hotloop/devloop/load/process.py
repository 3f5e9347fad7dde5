"""A bench in a process of its own: the loop that waits for saves must not send load too.

A job comes on stdin, its result goes to stdout. When stdin ends, whoever asked is gone, and so is this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from hotloop.devloop.load import runs, target
from hotloop.devloop.load.figures import Figures, changes
from hotloop.devloop.load.job import NUM_CONNECTIONS, Job, Result
from hotloop.errors import HotloopError
from hotloop.events import Problem
from hotloop.gpu_runtime.user_env.client import address as addresses
from hotloop.gpu_runtime.user_env.client.endpoints import Endpoint

WARMUP_S = 0.3
NUM_PARTS = 8
ANSWER_TIMEOUT_S = 5.0  # of the request that is tried first, and of those under way when the time is over


def main() -> None:
    """Carry out the job on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the whole group: end without a word
    job = Job.from_line(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    sys.stdout.buffer.write(carry_out(job).to_line())
    sys.stdout.buffer.flush()


def _end_with_the_asker() -> None:
    os.read(0, 1)  # nothing more is sent, so it ends; stdin's own lock would be in the way of our end
    os._exit(1)


def carry_out(job: Job) -> Result:
    """Try one request, then send load. Takes as long as a bench, and `ANSWER_TIMEOUT_S` twice at most."""
    found = target.Target(addresses.parse(job.url), Endpoint(job.path, job.path), (job.request,))
    try:
        target.check(found, timeout_s=ANSWER_TIMEOUT_S)
    except HotloopError as error:
        return Result(problem=Problem("BenchRefused", error.message, hint=error.hint))
    timing = runs.Timing(job.duration_s, WARMUP_S, ANSWER_TIMEOUT_S)
    tally = runs.run_parted(found, runs.Load(NUM_CONNECTIONS), timing, NUM_PARTS)
    if not tally.num_done or not tally.latency.num:
        return Result(problem=_nothing_done(job, tally.errors()))
    figures = Figures(
        tally.num_requests, tally.requests_per_s, tally.latency.percentile_s(0.5), tally.latency.percentile_s(0.99),
        tally.errors(), tuple(tally.rates_per_s()), tuple(tally.p99s_s()),
    )  # fmt: skip
    return Result(figures, *changes(figures, job.before, job.noise))


def _nothing_done(job: Job, errors: dict[str, int]) -> Problem:
    path, hint = job.path, "give it more time: --bench-duration 20"
    if errors:
        said = ", ".join(f"{count:,} {what}" for what, count in errors.items())
        return Problem("BenchFailed", f"{path} answered no request of a bench well: {said}", hint=hint)
    message = f"no call of {path} began and was over within the {job.duration_s:g} s of a bench"
    return Problem("TooSlow", message, hint=hint)


if __name__ == "__main__":
    main()
