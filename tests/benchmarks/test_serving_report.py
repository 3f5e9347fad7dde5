"""What is said about the samples, what an answer is held to, and the texts."""

import os
import subprocess
import sys

import pytest
from benchmarks.serving_open_load import Arrival, OpenBurst
from benchmarks.serving_sides import NOTES, SIDES, make_check, wrong_events, wrong_vector

from benchmarks import serving_cpu, serving_options, serving_overload, serving_report, serving_texts, table


def row(rate: float, p50_ms: float = 1.0, p99_ms: float = 2.0, cpu: float = 1.0) -> dict[str, float]:
    return {"rate": rate, "p50_ms": p50_ms, "p99_ms": p99_ms, "cpu_ms_per_request": cpu, "num_answers": 1}


def test_each_figure_is_hotloop_against_the_best_variant_of_the_other():
    minilm = {
        "hotloop": {"1": row(40, p50_ms=21.0), "32": row(77, p99_ms=700, cpu=12), "128": row(70)},
        "litserve-batch": {"32": row(50, cpu=25)},
        "litserve-fast-batch": {"32": row(55, p99_ms=750, cpu=20), "128": row(35)},
        "mosec": {"32": row(44, p99_ms=100)},
    }
    echo = {
        "hotloop": {"1": row(9, p50_ms=0.4), "32": row(9000)},
        "hotloop-plain": {"1": row(9, p50_ms=0.2), "32": row(3000)},
        "mosec": {"1": row(9, p50_ms=0.4), "32": row(1000)},
        "mosec-batch": {"1": row(9, p50_ms=2.5), "32": row(4500)},
        "litserve-fast": {"32": row(450)},
        "fastapi": {"32": row(1800)},
    }
    result = {
        "minilm": minilm,
        "echo": echo,
        "sse": {"hotloop": {"16": row(80)}, "hotloop-async": {"16": row(90)}, "ray": {"16": row(60)}},
        "direct": {"rate": 80, "single_p50_ms": 20.5, "closed_loop_rate": {"32": 70.0}},
        "idle": {"hotloop": 0.002, "ray": 0.2},
        "overload": {"goodput_ratio": 0.97},
    }

    assert serving_report.figures(result) == {
        "minilm_32_vs_best_peer": 1.4,
        "minilm_128_vs_best_peer": 2.0,
        "minilm_32_vs_direct": 0.963,
        "minilm_128_vs_direct": 0.875,
        "minilm_32_vs_closed_loop": 1.1,
        "minilm_128_vs_closed_loop": None,
        "minilm_32_p99_vs_best_peer": 0.933,
        "minilm_128_p99_vs_best_peer": 1.0,
        "minilm_32_cpu_vs_litserve": 0.6,
        "minilm_1_overhead_ms": 0.5,
        "echo_32_vs_mosec": 2.0,
        "echo_32_vs_litserve": 20.0,
        "echo_32_vs_fastapi": 5.0,
        "echo_1_p50_vs_mosec": 0.5,
        "sse_vs_best_peer": 1.5,
        "idle_cpu_cores": 0.002,
        "overload_goodput_ratio": 0.97,
    }


def test_what_was_not_measured_has_no_figure_and_no_target():
    found = serving_report.figures({})

    # Of these two nothing is asked: they say how much of a miss is the serving's.
    assert set(found) - set(serving_report.TARGETS) == {"minilm_32_vs_closed_loop", "minilm_128_vs_closed_loop"}
    assert set(serving_report.TARGETS) <= set(found)
    assert set(found.values()) == {None}
    assert table.targets(found, serving_report.TARGETS) == {}


@pytest.mark.parametrize(("value", "is_reached"), [(1.399, False), (1.4, True), (1.401, True)])
def test_a_target_is_reached_at_its_limit(value, is_reached):
    reached = table.targets({"minilm_32_vs_best_peer": value}, serving_report.TARGETS)

    assert reached["minilm_32_vs_best_peer"]["ok"] is is_reached


def test_a_side_is_the_median_of_its_rounds():
    bursts = [row(10, p50_ms=3), row(30, p50_ms=1), row(20, p50_ms=2)]

    found = serving_report.medians({"ray": {32: bursts}})["ray"]["32"]

    assert (found["rate"], found["p50_ms"], found["n"], found["samples_rate"]) == (20, 2, 3, [10, 30, 20])


def test_overload_counts_as_good_only_what_came_while_it_lasted():
    arrivals = [Arrival(200, 1.0, 0.5), Arrival(200, 1.0, 9.0), Arrival(429, 1.5, 0.004), Arrival(0, 1.5, 5.0)]
    burst = OpenBurst(began_s=0.0, ended_s=10.0, num_due=4, arrivals=arrivals)
    late = OpenBurst(began_s=0.0, ended_s=9.999, num_due=4, arrivals=arrivals)

    found = serving_overload.figures(burst, capacity=0.4)

    assert (found["goodput"], found["goodput_ratio"], found["refused_ratio"]) == (0.2, 0.5, 0.25)
    assert (found["statuses"], found["refused_p99_ms"]) == ({"200": 2, "429": 1, "0": 1}, 4.0)
    assert late.num_good_within() == 1


SIDE = {(side.workload, side.name): side for sides in SIDES.values() for side in sides}
STREAM = "".join(f'data: {{"i":{number}}}\n\n' for number in range(200)).encode()


@pytest.mark.parametrize(
    ("key", "answer", "is_right"),
    [
        (("echo", "mosec"), b'{"n": 3}', True),
        (("echo", "mosec"), b'{"n": 4}', False),
        (("echo", "mosec"), b"<html>", False),
        (("minilm", "ray"), b"[0.5, 0.25]", True),
        (("minilm", "ray"), b"[[0.5, 0.25]]", False),
        (("minilm", "bentoml"), b"[[0.5, 0.25]]", True),
        (("minilm", "bentoml"), b"{}", False),
        (("sse", "ray"), STREAM, True),
    ],
)
def test_answers_are_held_to_what_was_asked(key, answer, is_right):
    problem = make_check(SIDE[key], ["cat"], [[0.5, 0.25]])(0, answer)

    assert (problem == "") is is_right


@pytest.mark.parametrize(("apart", "is_right"), [(0.0009, True), (0.001, True), (0.0011, False), (-0.0011, False)])
def test_a_vector_may_differ_in_its_last_digits(apart, is_right):
    assert (wrong_vector([apart], [0.0]) == "") is is_right


@pytest.mark.parametrize(
    "stream",
    [
        STREAM.replace(b'data: {"i":199}\n\n', b""),
        STREAM + b'data: {"i":200}\n\n',
        STREAM.replace(b'"i":7}', b'"i":8}'),
        STREAM + b"data: [DONE]\n\n",
        b"",
    ],
)
def test_a_stream_that_lacks_or_adds_an_item_is_wrong(stream):
    assert wrong_events(stream)


def test_carriage_returns_and_event_names_do_not_matter():
    assert wrong_events(STREAM.replace(b"\n", b"\r\n").replace(b"data", b"event: message\r\ndata")) == ""


def test_every_side_has_a_note_and_a_name_of_its_own():
    assert {side.name for side in SIDE.values()} == set(NOTES)
    assert len(SIDE) == sum(len(sides) for sides in SIDES.values())


def test_texts_are_the_same_in_every_run_and_of_the_length_that_is_said():
    texts = serving_texts.make_texts()
    lengths = [len(text.split()) for text in texts]

    assert texts == serving_texts.make_texts()
    assert len(texts) == len(set(texts)) == 256
    assert 3 <= min(lengths) < 6
    assert max(lengths) == 60
    assert 20 < sum(lengths) / 256 < 24


BURN = "import time\nwhile time.process_time() < 0.2: pass\n"


def test_processor_time_includes_a_child_that_ended():
    code = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\nprint('done', flush=True)\ninput()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "done\n"
        used_s = serving_cpu.trees_s([process.pid])
        own_parent = serving_cpu.parent(process.pid)
        process.communicate("\n")

    assert used_s >= 0.19
    assert own_parent == os.getpid()
    assert (serving_cpu.trees_s([process.pid]), serving_cpu.started(process.pid)) == (0, 0)


def test_a_process_under_two_roots_counts_once():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as child:
        members = serving_cpu.members([os.getpid(), child.pid])
        alone = serving_cpu.members([child.pid])
        child.communicate("\n")

    assert alone == {child.pid}
    assert {os.getpid(), child.pid} <= members


@pytest.mark.parametrize(
    "arguments",
    [["--only", "minlm"], ["--rounds", "0"], ["--clients", "1,0"], ["--seconds", "0"], ["--seconds", "3600.1"]],
)
def test_wrong_options_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        serving_options.parse(arguments)

    assert refused.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_the_edges_of_the_options_are_taken():
    options = serving_options.parse(["--rounds", "1", "--clients", "1,128", "--seconds", "3600", "--peers", "ray"])

    assert (options.rounds, options.clients, options.seconds, options.peers) == (1, (1, 128), 3600, ("ray",))
