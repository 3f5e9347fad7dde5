"""States as a session has them, to draw panels from, and two palettes: the looks of the real ones, no more."""

from __future__ import annotations

import dataclasses
import random

from hotloop import events
from hotloop.devloop.timeline import PHASES
from hotloop.tui.palette import Palette
from hotloop.tui.state import Phase, State, Trip

NOW_S = 1000.0

NIGHT = Palette(
    name="night",
    text="#c8d0e0",
    muted="#7c869c",
    strong="#e6ebf5",
    good="#73daca",
    bad="#f7768e",
    warning="#e0af68",
    code="#7aa2f7",
    model="#bb9af7",
    environment="#7dcfff",
    cold="#ff9e64",
    phases=("#7c869c", "#7dcfff", "#7aa2f7", "#bb9af7", "#e0af68", "#73daca"),
    ghost="#2b3242",
    track="#2b3242",
    panel="#171b24",
    page="#10131a",
    strip="#1f2530",
)
PAPER = Palette(
    name="paper",
    text="#22262e",
    muted="#676c79",
    strong="#101318",
    good="#0b7a63",
    bad="#c4223f",
    warning="#9a5b00",
    code="#2f5fd0",
    model="#7a3ec8",
    environment="#0b7fab",
    cold="#b4540a",
    phases=("#676c79", "#0b7fab", "#2f5fd0", "#7a3ec8", "#9a5b00", "#0b7a63"),
    ghost="#dcd9d1",
    track="#dcd9d1",
    panel="#fbfaf7",
    page="#f4f3ef",
    strip="#eceae4",
)
MONO = dataclasses.replace(NIGHT, name="mono", is_mono=True)
ASCII = dataclasses.replace(NIGHT, name="ascii", is_ascii=True, is_mono=True)

USUAL_S = dict(zip(PHASES, (0.016, 0.070, 0.030, 0.175, 0.380, 0.505), strict=True))
NOTES = dict(
    zip(
        PHASES,
        (
            "prompts.py",
            "3.1 kB, 1 round trip",
            "",
            "re-import from a standby",
            "encoder attached",
            "probe refund-policy",
        ),
        strict=True,
    )
)

ENCODER = events.ModelOutcome("encoder", "kept", "resident", "fingerprint equal", 0.003, 91_000_000)
CHAT = events.ModelOutcome("chat", "kept", "resident", "fingerprint equal", 0.011, 14_200_000_000)
RERANKER = events.ModelOutcome("reranker", "loaded", "hosted", "rank.py:14 changed", 2.4, 540_000_000)

REFUND = events.ProbeReport(
    name="refund-policy",
    is_ok=True,
    is_changed=True,
    output="You can request a refund within 14 days of delivery.\nPlease include the order number.",
    diff=(
        "- You can request a refund within 30 days of purchase.",
        "+ You can request a refund within 14 days of delivery.",
    ),
    took_s=0.212,
    compute_s=0.198,
    previous_took_s=0.244,
)
GREETING = events.ProbeReport("greeting", True, False, '"hello"', (), 0.031, 0.027, 0.030)
BROKEN_PROBE = events.ProbeReport(
    "similar",
    False,
    True,
    "",
    (),
    0.050,
    0.012,
    0.045,
    problem=events.Problem(
        "AssertionError",
        "the nearest of 'a cat' is 'a train'",
        (events.Frame("probes.py", 12, "similar", "    assert nearest == 'a kitten'", 11, 32, True),),
    ),
)

KEY_ERROR = events.Problem(
    type="KeyError",
    message="'delivery_days'",
    frames=(
        events.Frame("chat/app.py", 58, "serve", "    text = render_reply(ctx, out)", 11, 33, True),
        events.Frame("chat/render.py", 31, "render_reply", "    days = policy['delivery_days']", 11, 34, True),
    ),
    hidden_frames=14,
    hint="policy has keys: 'delivery', 'refund_days', 'region'",
    failure="5f0c2a",
)
RENDER_PY = "\n".join(
    [
        *["# filler"] * 28,
        "def render_reply(ctx, out):",
        "    policy = ctx.policy",
        "    days = policy['delivery_days']",
        "    return out.format(days=days)",
    ]
)
SHAPE_ERROR = events.Problem(
    type="RuntimeError",
    message="mat1 and mat2 shapes cannot be multiplied (32x384 and 768x256)",
    frames=(
        events.Frame("model.py", 22, "Head.forward", "        return self.out(self.norm(x))", 15, 37, True),
        events.Frame("/env/torch/nn/modules/module.py", 1751, "_wrapped_call_impl", "return self._call_impl(*args)"),
        events.Frame("/env/torch/nn/modules/linear.py", 125, "forward", "return F.linear(input, self.weight)"),
    ),
    hidden_frames=0,
    hint="self.out takes 768 features and gets 384: the encoder's width is 384",
)
OUT_OF_MEMORY = events.Problem(
    type="OutOfMemoryError",
    message="CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.06 GiB is "
    "free.",
    frames=(events.Frame("app.py", 40, "generate", "    out = chat.generate(ids)", 10, 28, True),),
    hint="",
)


def phases(took_s: dict[str, float], *, live: str = "", usual_s: dict[str, float] = USUAL_S) -> tuple[Phase, ...]:
    """Phases that took so long; `live` is under way, those after it are to come."""
    return tuple(
        Phase(
            name,
            None if name == live or name not in took_s else took_s[name],
            usual_s.get(name),
            is_live=name == live,
            note=NOTES.get(name, ""),
        )
        for name in (*PHASES[:2], "environment", *PHASES[2:])
        if name != "environment" or name in took_s or name == live
    )


TOOK_S = dict(zip(PHASES, (0.018, 0.064, 0.031, 0.187, 0.540, 0.512), strict=True))


def history(num: int = 45, seed: int = 11) -> tuple[Trip, ...]:
    """So many finished iterations, the first start among them."""
    chance = random.Random(seed)
    made = [trip(0, cause="cold", began_s=0.0, feedback_s=64.0)]
    for number in range(1, num):
        cause = chance.choices(("code", "model", "environment"), (75, 20, 5))[0]
        base_s = {"code": 0.65, "model": 5.2, "environment": 14.0}[cause]
        outcome = chance.choices(("ok", "failed", "superseded"), (86, 11, 3))[0]
        made.append(
            trip(
                number,
                cause=cause,
                outcome=outcome,
                began_s=number * 20.0,
                feedback_s=base_s * chance.uniform(0.5, 1.7),
            )
        )
    return tuple(made)


def trip(number: int, *, cause: str = "code", outcome: str = "ok", began_s: float = 900.0, feedback_s: float) -> Trip:
    """One finished iteration, its phases as long as usual in relation to each other."""
    share = feedback_s / sum(TOOK_S.values())
    return Trip(
        number,
        outcome,
        cause,
        began_s,
        paths=("prompts.py",) if number else (),
        phases=phases({name: took * share for name, took in TOOK_S.items()}),
        feedback_s=feedback_s,
        expected_s=1.3,
        models=(ENCODER, CHAT),
        probes=(GREETING,),
        why="all models kept: only chat/ changed",
        generation=number + 1 if outcome == "ok" else None,
    )


LIVE_TRIP = dataclasses.replace(
    trip(45, began_s=998.0, feedback_s=sum(TOOK_S.values())),
    size_bytes=3100,
    phases=phases(TOOK_S),
    models=(ENCODER, CHAT, RERANKER),
    probes=(REFUND, GREETING),
    cause="model",
    why="rank.py:14 changed, which the loader of reranker reads",
)
WORKING_TRIP = dataclasses.replace(
    LIVE_TRIP,
    number=46,
    outcome="running",
    cause="code",
    began_s=NOW_S - 0.610,
    phases=phases(dict(list(TOOK_S.items())[:4]), live="warmup"),
    feedback_s=None,
    models=(),
    probes=(),
    why="",
)
FAILED_TRIP = dataclasses.replace(
    WORKING_TRIP,
    outcome="failed",
    began_s=990.0,
    phases=phases({**dict(list(TOOK_S.items())[:3]), "reload": 0.297}),
    paths=("chat/render.py",),
    feedback_s=0.410,
    problem=KEY_ERROR,
)


def sample(at_s: float, rate: float, *, busy: bool = True) -> events.RuntimeSampled:
    """One second of a runtime with a batched and a streaming endpoint on one GPU."""
    sizes = {str(size): int(24 / (1 + abs(size - 9))) for size in range(1, 17)} if busy else {}
    return events.RuntimeSampled(
        at_s=at_s,
        interval_s=1.0,
        endpoints=(
            events.EndpointSample("/embed", rate, 2, 8, 0.041, 0.021, 0.066, sizes),
            events.EndpointSample("/chat", rate / 40, 0, 3, 0.002, 0.61, 1.9, {}, items_per_s=rate * 2.3),
        ),
        memory_bytes=18_300_000_000,
        gpus=(
            events.GpuSample(
                "NVIDIA H100 80GB HBM3",
                52_300_000_000,
                80_000_000_000,
                busy_ratio=1.0,
                sm_ratio=0.47,
                power_w=410.0,
                power_limit_w=700.0,
            ),
        ),
    )


ENDPOINTS = (
    events.EndpointShape("embed", "/embed", ("POST",), (("text", "str"),), "list[float]", True, False),
    events.EndpointShape("chat", "/chat", ("POST",), (("prompt", "str"), ("max_tokens", "int")), "str", False, True),
)
COST = events.CostReported(NOW_S, 2.41, "table of 2026-11", 2.57, 0.48, per_1k_requests=0.047)


def live() -> State:
    """A session of some hours that serves."""
    chance = random.Random(9)
    return State(
        app="chat-demo",
        project="/home/ada/chat",
        runner="ssh://gpu-01",
        address="http://127.0.0.1:8000",
        python="3.12.4",
        num_files=42,
        began_s=-2800.0,
        status="live",
        serving=45,
        trips=(*history(), LIVE_TRIP),
        models=(ENCODER, CHAT, RERANKER),
        endpoints=ENDPOINTS,
        probes=(REFUND, GREETING),
        samples=tuple(sample(940.0 + i, 600 + 150 * chance.random() + i) for i in range(60)),
        sampled_at_s=999.5,
        cost=COST,
        link=events.LinkMeasured(NOW_S, 0.012),
    )


def working() -> State:
    """A reload is under way."""
    return dataclasses.replace(live(), status="reloading", trips=(*history(), LIVE_TRIP, WORKING_TRIP))


def failed(problem: events.Problem = KEY_ERROR) -> State:
    """The newest save raised."""
    last = dataclasses.replace(FAILED_TRIP, problem=problem)
    return dataclasses.replace(live(), status="failed", trips=(*history(), LIVE_TRIP, last))


def offline() -> State:
    """The runner has not answered for 14 s."""
    return dataclasses.replace(
        live(),
        status="offline",
        offline=events.Offline(988.0, 2, "no route to host"),
        offline_since_s=986.0,
        sampled_at_s=986.0,
        queued=2,
    )


def cold() -> State:
    """The first start loads a large model."""
    first = Trip(
        0,
        "running",
        "cold",
        NOW_S - 24.1,
        phases=phases(
            {"detect": 0.0, "sync": 1.9, "apply": 0.8, "reload": 3.2},
            live="warmup",
            usual_s={"sync": 2.0, "reload": 3.0, "warmup": 52.0, "first_output": 0.62},
        ),
        expected_s=59.0,
    )
    return dataclasses.replace(
        live(), status="cold", serving=None, trips=(first,), models=(CHAT,), endpoints=(), probes=(), samples=(),
        sampled_at_s=None, cost=None, loading=events.ModelProgress(NOW_S - 0.2, 1, "chat", 8_900_000_000),
    )  # fmt: skip


def empty() -> State:
    """It serves, and nothing was saved yet."""
    return dataclasses.replace(live(), status="ready", serving=0, trips=history(1), probes=())


STATES = {
    "live": live, "working": working, "failed": failed, "offline": offline, "cold": cold, "empty": empty,
    "nothing": State,
}  # fmt: skip


def out_of_memory() -> State:
    """The newest save asked for more memory than there was."""
    return dataclasses.replace(failed(OUT_OF_MEMORY), serving=None)


def building() -> State:
    """The first start makes an environment."""
    first = Trip(
        0, "running", "cold", NOW_S - 12.0, phases=phases({"detect": 0.0, "sync": 1.9}, live="environment"),
    )  # fmt: skip
    progress = events.EnvironmentProgress(
        NOW_S, 1, "requirements.txt", "download", 2, 7, 2_400_000_000, ("torch", "nvidia-cudnn-cu12")
    )
    return dataclasses.replace(cold(), trips=(first,), loading=None, environment=progress)


STATES |= {"oom": out_of_memory, "building": building}
