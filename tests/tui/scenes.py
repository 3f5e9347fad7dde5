"""Sessions as events, one a state of the dashboard: what the goldens, the pictures and the tests of keys all play."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tui import panel_states as known

from hotloop import events
from hotloop.clock import ClockPair
from hotloop.devloop.history import History, make_folder
from hotloop.devloop.timeline import PHASES
from hotloop.gpu_runtime.user_env.describing import HIDDEN_NAME
from hotloop.tui.app import Dashboard
from hotloop.tui.looks import Looks
from hotloop.variables import KeptFailure, Locals, Variable, VariableFrame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOON_S = 1_795_000_000.0 - 1_795_000_000.0 % 86400 + 43200  # a day's noon in UTC, seconds since 1970
BEGAN_S = 10_000.0  # of the session, monotonic
NOW_S = BEGAN_S + 3870.0

CHAT = replace(known.CHAT, name="chat", why="fingerprint equal")
ENCODER = known.ENCODER
ENDPOINTS = (
    events.EndpointShape("chat", "/v1/chat", ("POST",), (("prompt", "str"), ("max_tokens", "int")), "str", True, True),
    events.EndpointShape("embed", "/embed", ("POST",), (("text", "str"),), "list[float]", True, False),
)
USUAL_S = (0.018, 0.064, 0.031, 0.187, 0.380, 0.512)


BY_ITSELF = ("shown", "touched", "lines")  # what the dashboard says without being asked to


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> ClockPair:
        return ClockPair(self.now_s, NOON_S + self.now_s - BEGAN_S)


class ScriptedFeed:
    """Gives the events of a scene, then those that a test adds; notes what is asked."""

    def __init__(self, script: list[events.Event]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {"lines": {"lines": [], "is_cut": False}}
        self.is_read = asyncio.Event()
        self._queue: asyncio.Queue[events.Event | None] = asyncio.Queue()
        for event in script:
            self._queue.put_nowait(event)

    async def events(self) -> AsyncIterator[events.Event]:
        while True:
            if self._queue.empty():
                self.is_read.set()
            event = await self._queue.get()
            if event is None:
                return
            yield event

    def add(self, *more: events.Event) -> None:
        self.is_read.clear()
        for event in more:
            self._queue.put_nowait(event)

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def ask(self, name: str, /, **fields: Any) -> dict[str, Any]:
        self.asked.append((name, fields))
        answer = self.answers.get(name, {})
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def was_asked(self, name: str) -> bool:
        return any(asked == name for asked, _ in self.asked)


@dataclass(frozen=True)
class Scene:
    """A state, and how to get there.

    Attributes:
        script: What happened.
        past: What the history holds: iterations of earlier sessions.
        now_s: When it is looked at.
        keys: What is pressed then.
        answers: What the session answers to requests.
    """

    script: list[events.Event]
    past: list[events.Iteration] = field(default_factory=list)
    now_s: float = NOW_S
    keys: tuple[str, ...] = ()
    answers: dict[str, Any] = field(default_factory=dict)


# --- pieces -------------------------------------------------------------------------------------------------------------


def session(runner: str = "gpu-01") -> list[events.Event]:
    return [
        events.SessionStarted(BEGAN_S + 1.9, "app.py:serve", "/home/ada/chat-demo", runner, "3.12.4", 412),
        events.LinkMeasured(BEGAN_S + 2, 0.012),
        events.RuntimeStarted(BEGAN_S + 2.7, "http://127.0.0.1:8000", 4711, "3.12.4"),
        events.ReloadStarted(BEGAN_S + 2.8, 1, "zygote"),
    ]


def started(runner: str = "gpu-01", took_s: float = 38.0) -> list[events.Event]:
    ready_s = BEGAN_S + took_s - 0.6
    models = (replace(ENCODER, action="loaded", why="first load"), replace(CHAT, action="loaded", why="first load"))
    phases = dict(zip(PHASES, (0.0, 1.9, 0.8, 4.2, took_s - 7.5, 0.6), strict=True))
    first = iteration(0, phases_s=phases, at_s=BEGAN_S, cause="cold", paths=(), models=models, start="zygote")
    return [
        *session(runner),
        events.Ready(ready_s, 1, 1, BEGAN_S + 7, "zygote", models, ENDPOINTS, ("refund-policy", "greeting")),
        events.ProbeReported(
            ready_s + 0.6, 0, 1, replace(known.REFUND, is_changed=False, diff=(), previous_took_s=None)
        ),
        events.IterationFinished(ready_s + 0.6, first),
        events.StandbyReady(ready_s + 1),
    ]


def iteration(
    number: int,
    *,
    phases_s: dict[str, float] | None = None,
    at_s: float,
    cause: str = "code",
    outcome: str = "ok",
    paths: tuple[str, ...] = ("prompts.py",),
    models: tuple[events.ModelOutcome, ...] = (ENCODER, CHAT),
    probes: tuple[events.ProbeReport, ...] = (known.REFUND, known.GREETING),
    problem: events.Problem | None = None,
    start: str = "standby",
) -> events.Iteration:
    phases_s = phases_s if phases_s is not None else dict(zip(PHASES, USUAL_S, strict=True))
    whole_s = sum(phases_s.values())
    is_ready = outcome == "ok" or bool(problem is None)
    return events.Iteration(
        number=number,
        outcome=outcome,
        saved_at_s=NOON_S + at_s - BEGAN_S,
        is_save_estimated=False,
        revision=number + 1,
        generation=number + 1 if is_ready else None,
        paths=paths,
        size_bytes=3100 if paths else 6_800_000,
        feedback_s=whole_s,
        ready_s=whole_s - phases_s.get("first_output", 0.0),
        phases_s=phases_s,
        start=start,
        models=models if is_ready else (),
        probes=probes if is_ready else (),
        problem=problem,
        cause=cause,
    )


def past(count: int = 40, seed: int = 5, until_s: float = BEGAN_S - 600) -> list[events.Iteration]:
    """Iterations of this morning."""
    chance = random.Random(seed)
    made = [
        iteration(
            0,
            phases_s={"sync": 2.0, "reload": 4.0, "warmup": 31.0, "first_output": 1.0},
            at_s=until_s - 9000,
            cause="cold",
        )
    ]
    made += [_any(number, until_s - (count - number) * 80, chance) for number in range(1, count)]
    return made


def _any(number: int, at_s: float, chance: random.Random) -> events.Iteration:
    cause = chance.choices(("code", "model", "environment"), (78, 17, 5))[0]
    factor = chance.uniform(0.6, 1.4) * {"code": 0.7, "model": 4.0, "environment": 9.0}[cause]
    phases = {name: took_s * factor for name, took_s in zip(PHASES, USUAL_S, strict=True)}
    if cause == "environment":
        phases = {
            **{n: phases[n] for n in PHASES[:2]},
            "environment": 6.1 * chance.uniform(0.7, 1.5),
            **{n: phases[n] for n in PHASES[2:]},
        }
    loaded = (ENCODER, replace(CHAT, action="loaded", why="load.py:14 changed", took_s=2.9))
    if chance.random() < 0.12:
        short = {name: phases[name] for name in PHASES[:4]}
        return iteration(
            number, phases_s=short, at_s=at_s, outcome="failed", problem=known.KEY_ERROR, paths=("chat/render.py",)
        )
    return iteration(
        number, phases_s=phases, at_s=at_s, cause=cause, models=loaded if cause == "model" else (ENCODER, CHAT)
    )


def edits(until: int = 42, seed: int = 11) -> list[events.Event]:
    """The edits of a session before the last one, with what the log says between them."""
    chance = random.Random(seed)
    made: list[events.Event] = []
    for number in range(1, until):
        at_s = BEGAN_S + 60 + number * 88
        each = _any(number, at_s, chance)
        end_s = at_s + each.feedback_s
        made.append(events.IterationStarted(at_s + 0.02, number, each.paths, saved_s=at_s))
        if each.generation is not None:
            made.append(
                events.Ready(
                    end_s - 0.5,
                    each.revision,
                    each.generation,
                    end_s - 0.7,
                    "standby",
                    each.models,
                    ENDPOINTS,
                    ("refund-policy", "greeting"),
                )
            )
        else:
            made.append(events.ReloadFailed(end_s, each.revision, known.KEY_ERROR, 1))
        made.append(events.IterationFinished(end_s, each))
        made += lines(end_s + 3, 2, chance)
    return made


def lines(at_s: float, count: int, chance: random.Random) -> list[events.Event]:
    made: list[events.Event] = []
    for number in range(count):
        took_s = chance.uniform(0.18, 0.9)
        made.append(
            events.Log(
                at_s + number,
                42,
                "stdout",
                f"step batch={chance.randint(6, 18)} prefill=2 decode=9 {chance.uniform(1.5, 2):.1f}k tok/s",
            )
        )
        made.append(events.RequestFinished(at_s + number + 0.4, 42, "POST", "/v1/chat", 200, took_s))
    return made


def samples(until_s: float, count: int = 40, seed: int = 3) -> list[events.Event]:
    """The runtime's last seconds."""
    chance = random.Random(seed)
    made: list[events.Event] = []
    for number in range(count):
        chat = events.EndpointSample(
            "/v1/chat", chance.uniform(18, 26), chance.randint(0, 4), chance.randint(8, 14), 0.041, 0.31, 0.52,
            {str(size): max(1, int(24 - abs(size - 8) * 3 * chance.uniform(0.7, 1.3))) for size in range(1, 17)},
            chance.uniform(1500, 1950) + number * 4,
        )  # fmt: skip
        embed = events.EndpointSample("/embed", 4.0, 0, 1, 0.004, 0.012, 0.020, {"1": 3, "2": 1})
        gpu = events.GpuSample("H100 80GB", 52_300_000_000, 80_000_000_000, 0.98, 0.47, 410.0, 700.0)
        made.append(events.RuntimeSampled(until_s - count + number, 1.0, (chat, embed), 2_400_000_000, (gpu,)))
    return made


def costs(session_s: float = 3870.0, idle: float = 0.0) -> list[events.Event]:
    return [events.CostReported(BEGAN_S + 3, 2.41, "table of 2026-11", 2.41 * session_s / 3600, idle, 0.047, 0.36)]


def warm() -> list[events.Event]:
    """An hour of work."""
    return [*started(), *edits(), *costs()]


SAVED_S = NOW_S - 10.0
WARMUP_S = dict(zip(PHASES, (0.018, 0.064, 0.031, 0.187, 0.540, 0.512), strict=True))


def good(number: int = 42, at_s: float = SAVED_S) -> list[events.Event]:
    whole_s = sum(WARMUP_S.values())
    each = iteration(number, phases_s=WARMUP_S, at_s=at_s)
    return [
        events.IterationStarted(at_s + 0.02, number, ("prompts.py",), saved_s=at_s),
        events.ReloadStarted(at_s + 0.113, each.revision, "standby"),
        events.Ready(
            at_s + 0.84,
            each.revision,
            number + 1,
            at_s + 0.3,
            "standby",
            each.models,
            ENDPOINTS,
            ("refund-policy", "greeting"),
        ),
        events.ProbeReported(at_s + whole_s, number, number + 1, known.REFUND),
        events.ProbeReported(at_s + whole_s, number, number + 1, known.GREETING),
        events.IterationFinished(at_s + whole_s, each),
        *lines(at_s + 3, 3, random.Random(2)),
    ]


def failed(problem: events.Problem, *, serving: int | None = 43, number: int = 43) -> list[events.Event]:
    at_s = NOW_S - 3.0
    phases = dict(zip(PHASES[:4], (0.018, 0.064, 0.031, 0.297), strict=True))
    each = iteration(number, phases_s=phases, at_s=at_s, outcome="failed", problem=problem, paths=("chat/render.py",))
    return [
        events.IterationStarted(at_s + 0.02, number, each.paths, saved_s=at_s),
        events.ReloadStarted(at_s + 0.113, each.revision, "standby"),
        events.ReloadFailed(at_s + 0.41, each.revision, problem, serving),
        events.IterationFinished(at_s + 0.41, each),
    ]


# --- scenes -------------------------------------------------------------------------------------------------------------


def _reloading() -> list[events.Event]:
    at_s = NOW_S - 0.61
    return [
        *warm(),
        *samples(NOW_S),
        events.IterationStarted(at_s + 0.02, 42, ("prompts.py",), at_s),
        events.ReloadStarted(at_s + 0.113, 43, "standby"),
        events.ModelLoading(at_s + 0.3, 43, "chat", "load.py:14 changed"),
    ]


def _cold() -> list[events.Event]:
    at_s = BEGAN_S + 7.0
    return [
        *session(),
        *costs(24),
        events.ModelLoading(at_s, 1, "encoder", "first load"),
        events.ModelLoading(at_s + 1.5, 1, "chat", "first load"),
        events.ModelProgress(BEGAN_S + 24, 1, "chat", 8_900_000_000),
    ]


SCENES: dict[str, Scene] = {
    "start": Scene([], now_s=BEGAN_S),
    "cold": Scene(_cold(), past(), BEGAN_S + 24.1),
    "environment": Scene(
        [
            *session()[:1],
            events.EnvironmentProgress(BEGAN_S + 8, 1, "requirements.txt", "download", 2, 5, 2_600_000_000, ("torch", "nvidia-cublas")),
        ],
        past(),
        BEGAN_S + 20,
    ),
    "ready": Scene([*started(), *costs(260)], past(), BEGAN_S + 260),
    "reloading": Scene(_reloading(), past()),
    "live": Scene([*warm(), *good(), *samples(NOW_S)], past()),
    "failed": Scene([*warm(), *good(42, SAVED_S - 30), *failed(known.KEY_ERROR), *samples(NOW_S)], past()),
    "nothing": Scene([*session(), *failed(known.SHAPE_ERROR, serving=None, number=0)[2:]], past(0)[:0], BEGAN_S + 30),
    "memory": Scene([*warm(), *good(42, SAVED_S - 30), *failed(known.OUT_OF_MEMORY, serving=None), *samples(NOW_S)], past()),
    "offline": Scene([*warm(), *good(42, SAVED_S - 40), *samples(NOW_S - 14), events.Offline(NOW_S - 14, 0, "no heartbeat for 6 s"), events.Offline(NOW_S - 5, 2, "no heartbeat for 6 s")], past()),
    "degraded": Scene([*warm(), *good(), *samples(NOW_S), events.RequestsFinished(NOW_S - 2, 1.0, 80, {"200": 61, "429": 19}, 0.2, 0.8, 1.2)], past()),
    "workers": Scene([*warm(), *good(), *samples(NOW_S), events.WorkersServing(NOW_S - 2, 43, 1, 2, is_growing=True)], past()),
    "paused": Scene([*warm(), *good(42, SAVED_S - 30), *samples(NOW_S), events.SyncPaused(NOW_S - 9, 0), events.SyncPaused(NOW_S - 2, 3)], past()),
    "idle": Scene([*started(), *edits(), *costs(idle=0.48), *good(42, NOW_S - 740)[:-6]], past()),
    "ended": Scene([*warm(), *good(), events.SessionEnded(NOW_S - 1, "stopped in another terminal")], past()),
}  # fmt: skip


def pressed(scene: str, *keys: str) -> Scene:
    return replace(SCENES[scene], keys=keys)


SCENES |= {
    "logs": pressed("live", "2"),
    "runtime": pressed("live", "3"),
    "iterations": pressed("live", "4"),
    "metrics": pressed("live", "5"),
    "why": pressed("live", "w"),
    "diff": pressed("live", "d"),
    "help": pressed("live", "question_mark"),
    "quit": pressed("live", "q"),
    "restart": pressed("live", "R"),
    "probes": pressed("live", "p"),
}


_OLDER = KeptFailure("older", "call", "IndexError", "chat/prompts.py:9", age_s=74)
_NEWEST = KeptFailure(known.KEY_ERROR.failure, "probe", "KeyError", "chat/render.py:31", "refund-policy", 2.4)
_FRAMES = (
    VariableFrame(
        "chat/render.py", 31, "render_reply", "days = policy['delivery_days']",
        (
            Variable("policy", "dict of 3: {'delivery': 2, 'refund_days': 30, 'region': 'eu'}"),
            Variable("prompt", "'When does my order come, and what do I do if it does not? It was ordered on the second of the month, to an address that is not mine, and'… (612 characters)"),
            Variable("ids", "Tensor [1, 512] int64 cuda:0"),
            Variable("api_key", HIDDEN_NAME, is_hidden=True),
        ),
        num_more=3,
    ),
    VariableFrame("app.py", 18, "chat", "return render_reply(prompt, policies[region])", (Variable("region", "'eu'"), Variable("chat", "chat.model.Chat"))),
)  # fmt: skip
LOCALS = events.to_json(Locals(replace(_NEWEST, frames=_FRAMES), (_NEWEST, _OLDER)))
SCENES["locals"] = replace(pressed("failed", "i"), answers={"locals": LOCALS})

# --- playing ------------------------------------------------------------------------------------------------------------


def project_of(scene: Scene, folder: Path) -> Path:
    """Make a project with the scene's history in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if scene.past:
        history = History(make_folder(folder) / "history.db")
        for each in scene.past:
            history.add("morning", each)
        history.close()
    (folder / "chat").mkdir(exist_ok=True)
    (folder / "chat" / "render.py").write_text(known.RENDER_PY)
    return folder


def dashboard(scene: Scene, folder: Path, looks: Looks = Looks(), **more: Any) -> Dashboard:  # noqa: B008  frozen
    """Make the dashboard of a scene; play it with `play`."""
    project = project_of(scene, folder / "chat-demo")
    script = [
        replace(event, project=str(project)) if isinstance(event, events.SessionStarted) else event
        for event in scene.script
    ]
    feed = ScriptedFeed(script)
    feed.answers.update(scene.answers)
    return Dashboard(feed, project=project, chosen=looks, read_clock=Clock(scene.now_s), **more)


async def play(app: Dashboard, pilot: Any, scene: Scene) -> None:
    """Have all events taken and all keys pressed, and what follows painted."""
    await settled(app, pilot)
    for key in scene.keys:
        await pilot.press(key)
    await settled(app, pilot)


async def settled(app: Dashboard, pilot: Any) -> None:
    """Wait until what was told is on the screen."""
    async with asyncio.timeout(30):
        await app.feed.is_read.wait()
        while app.is_busy:
            await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()


def grid(app: Dashboard) -> str:
    """Give the screen as text, without the air at the ends of its lines."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
