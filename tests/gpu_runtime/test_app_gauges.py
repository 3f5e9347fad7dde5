"""Figures of the app's own, from `hotloop.gauge` to the samples and to /metrics."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from hotloop import events
from hotloop.events import GaugeSample
from hotloop.gpu_runtime.app_gauges import AppGauges
from hotloop.gpu_runtime.user_env import gauges
from tests.gpu_runtime.driver import RuntimeDriver

APP = """
import hotloop

app = hotloop.App("engine")


class Engine:
    def __init__(self):
        self.pages = 0
        hotloop.gauge("hosted pages", 1, 8)

    def take(self, n):
        self.pages += n
        hotloop.gauge("hosted pages", self.pages, 8)
        return self.pages


@app.model(hosted=True)
def engine():
    return Engine()


@app.endpoint
def take(n: int, engine) -> int:
    hotloop.gauge("kv pages", n, 64)
    hotloop.gauge("running", n)
    return engine.take(n)
"""


def sampled(driver: RuntimeDriver, name: str, value: float | None) -> events.RuntimeSampled:
    while True:
        sample = driver.wait_for(events.RuntimeSampled)
        if {each.name: each.value for each in sample.gauges}.get(name) == value:
            return sample


def test_an_apps_figures_are_in_samples_and_metrics_and_end_with_the_process_that_told_them(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_for(events.Ready)
        driver.call("take", n=3)
        sample = sampled(driver, "kv pages", 3)
        scraped = driver.get("/metrics").body.decode()
        driver.wait_reload(driver.save({"app.py": APP + "\n# edited\n"}))
        after = sampled(driver, "kv pages", None)

    assert set(sample.gauges) == {
        GaugeSample("kv pages", 3.0, 64.0),
        GaugeSample("running", 3.0),
        GaugeSample("hosted pages", 3.0, 8.0),
    }
    assert 'hotloop_app_gauge{name="kv pages"} 3\n' in scraped
    assert 'hotloop_app_gauge_limit{name="kv pages"} 64\n' in scraped
    assert 'hotloop_app_gauge_limit{name="running"}' not in scraped
    assert after.gauges == (GaugeSample("hosted pages", 3.0, 8.0),)


def test_figures_of_several_workers_are_summed():
    kept = AppGauges()
    for process, value in ((1, 3), (2, 4), (3, 100)):
        kept.heard(process, {"name": "kv pages", "value": value, "limit": 10})
        kept.heard(process, {"name": "half known", "value": value, "limit": 10 if process == 1 else None})
    kept.forget(3)

    assert kept.of([1, 2, 3]) == (GaugeSample("kv pages", 7, 20), GaugeSample("half known", 7))
    assert kept.of([]) == ()


SCRIPT = """
import json
import hotloop
from hotloop.gpu_runtime.user_env import gauges

hotloop.gauge("not served", float("nan"))
told = []
gauges.connect(told.append)
for value in (1, 1, 2):
    hotloop.gauge("kv pages", value, 8)
refused = []
for given in {wrong}:
    try:
        hotloop.gauge(*given)
    except ValueError as error:
        refused.append(str(error))
for number in range(gauges.MAX_GAUGES):
    try:
        hotloop.gauge(f"g{{number}}", 0)
    except ValueError as error:
        refused.append(str(error))
print(json.dumps([told[:3], refused]))
"""


def test_only_news_are_told_and_what_is_no_figure_is_refused():
    wrong = [("", 1), ("x" * (gauges.MAX_NAME + 1), 1), ("a\n", 1), ("kv", math.inf), ("kv", 1, 0)]
    script = SCRIPT.format(wrong=repr(wrong).replace("inf", "float('inf')"))

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    told, refused = json.loads(done.stdout)
    assert [(each["value"], each["limit"]) for each in told[:2]] == [(1, 8), (2, 8)]
    assert refused[3] == "gauge 'kv': a finite value and a limit above 0 were expected, not inf of None"
    assert refused[4] == "gauge 'kv': a finite value and a limit above 0 were expected, not 1.0 of 0.0"
    assert all("1 to 32 printable characters" in each for each in refused[:3])
    assert refused[5:] == ["gauge 'g31': there are 32 others already"]


@pytest.mark.parametrize("wrong", ["three", None])
def test_a_figure_that_is_no_number_is_pythons_own_error(wrong: object, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gauges, "_tell", print)
    with pytest.raises((TypeError, ValueError)):
        gauges.gauge("kv", wrong)  # pyright: ignore[reportArgumentType]
