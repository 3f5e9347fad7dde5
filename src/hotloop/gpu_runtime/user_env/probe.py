# pyright: basic
# (runs the user's probes)
"""Run the app's probes in the worker that they test, through the served address, as any client would."""

from __future__ import annotations

import inspect
import json
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hotloop.gpu_runtime.user_env import values
from hotloop.gpu_runtime.user_env.client import address
from hotloop.gpu_runtime.user_env.client.blocking import Client
from hotloop.gpu_runtime.user_env.client.calling import Calling, Heard, Options
from hotloop.gpu_runtime.user_env.client.connection import Pool
from hotloop.gpu_runtime.user_env.client.endpoints import Catalog, Endpoint, chosen
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.client.request import PROBE_HEADER
from hotloop.gpu_runtime.user_env.client.retry import NEVER, chance
from hotloop.gpu_runtime.user_env.resolve import Plan


class ProbeClient(Client):
    """What a probe gets: `hotloop.Client` over the run's own connections, which counts what the endpoints took.

    A probe tells what the app does now, so nothing is sent again.

    Attributes:
        compute_s: Time that the endpoints took, as they reported it, seconds.
    """

    def __init__(self, pool: Pool, probe: str, catalog: Catalog) -> None:
        self.compute_s = 0.0
        self._pool = pool
        self._options = Options(retries=NEVER, headers=(f"{PROBE_HEADER}: {probe}",))
        self._calling = Calling(pool.address, catalog, time.monotonic, chance)

    def _heard(self, heard: Heard) -> None:
        self.compute_s += float(heard.headers.get("x-hotloop-compute-ms") or 0) / 1000


class ProbeRunner:
    """Runs all probes of a plan, one after the other, in a thread beside the worker's own.

    Args:
        plan: The app, whose endpoints a probe's client can call.
        models: By name.
        tell: Gets a ``probed`` frame for each result, then ``probes_done``.
        describe: Makes a problem of what a probe raised, given that and the probe's name.
        address: Where the app is served, as a URL.
    """

    def __init__(
        self,
        plan: Plan,
        models: dict[str, Any],
        tell: Callable[..., None],
        describe: Callable[..., dict[str, Any]],
        address: str,
    ) -> None:
        self._address = address
        self._plan = plan
        self._models = models
        self._tell = tell
        self._describe = describe
        self._catalog = Catalog([Endpoint(e.spec.name, e.spec.path, chosen(e.methods)) for e in plan.endpoints])
        self._first: queue.SimpleQueue[str] | None = None

    def prepare(self) -> None:
        """Have a thread and a connection ready for the first run, which follows at once."""
        if self._plan.probes:
            self._first = queue.SimpleQueue()
            threading.Thread(target=self._wait, args=(self._first,), name="probes", daemon=True).start()

    def start(self, only: str = "") -> None:
        """Begin to run the probes, or the one of a name."""
        first, self._first = self._first, None
        if first is not None:
            first.put(only)
            return
        threading.Thread(target=lambda: self.run(self._pool(), only), name="probes", daemon=True).start()

    def _wait(self, told: queue.SimpleQueue[str]) -> None:
        pool = self._pool()
        with suppress(ClientError):  # the request tries again, and has a place to say it
            pool.open_one()
        only = told.get()
        self.run(pool, only)

    def _pool(self) -> Pool:
        return Pool(address.parse(self._address))

    def run(self, pool: Pool, only: str = "") -> None:
        """Run the probes in this thread, or the one of a name, then close the connections."""
        for probe in self._plan.probes:
            if only in {"", probe.spec.name}:
                self._tell(self._try(probe.spec, pool))
        self._tell({"kind": "probes_done"})
        pool.close()

    def _try(self, spec: Any, pool: Pool) -> dict[str, Any]:
        client = ProbeClient(pool, spec.name, self._catalog)
        available = {**self._models, "client": client}
        began_s = time.perf_counter()
        output, trouble = "", None
        try:
            result = spec.function(**{name: available[name] for name in spec.parameters if name in available})
            if inspect.iscoroutine(result):
                import asyncio

                result = asyncio.run(result)
            output = _as_text(result)
        except BaseException as error:  # noqa: BLE001  whatever a probe raises is its result
            trouble = self._describe(error, name=spec.name)
        return {
            "kind": "probed", "name": spec.name, "is_ok": trouble is None, "output": output, "problem": trouble,
            "took_s": time.perf_counter() - began_s, "compute_s": client.compute_s,
        }  # fmt: skip


def _as_text(result: Any) -> str:
    if inspect.isgenerator(result):
        result = list(result)
    try:
        _, body = values.encode(result, "application/json")
        return json.dumps(json.loads(body), sort_keys=True, ensure_ascii=False)
    except Exception:  # noqa: BLE001  anything can be shown by its repr
        return repr(result)
