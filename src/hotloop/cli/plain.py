"""The event stream as plain lines, so that it can be read aloud, piped and copied.

Nothing is redrawn, save one line on a terminal while an environment is made.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

from hotloop import events
from hotloop.cli import environments
from hotloop.cli.harmless import coloured, harmless
from hotloop.cli.problems import hint_line, problem_lines
from hotloop.cli.spending import Spending
from hotloop.cli.updating import UpdatingLine
from hotloop.devloop import diff, wording, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABEL_WIDTH = 9
REPEATED_NOTICES = frozenset({"asked", "pin", "packages"})  # answers to what the user did, not findings


def time_of_day(at_s: float) -> str:
    """Write a moment of this machine's monotonic clock as local time, such as ``14:22:06``."""
    return time.strftime("%H:%M:%S", time.localtime(time.time() - (time.monotonic() - at_s)))


class PlainConsole(Console):
    """Writes as it is told: no markup, no guesses about numbers; a reader that is gone is an error, not an exit."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(file=out, highlight=False, emoji=False, markup=False)

    def on_broken_pipe(self) -> None:
        """Let the session end in order: by default rich would exit at once, in the middle of it."""
        raise BrokenPipeError


class Plain:
    """Turns each event into lines and prints them. Keeps only what a later line refers to."""

    def __init__(
        self,
        console: Console,
        project: Path,
        *,
        clock: Callable[[float], str] = time_of_day,
        tips: tuple[str, ...] = (),
        is_starting: bool = True,
    ) -> None:
        """Prepare.

        Args:
            console: Where the lines go.
            project: Its files are read for the code around an error.
            clock: Gives the time of day to print for a moment.
            tips: Printed once, when the first start is over.
            is_starting: The first start is yet to come: its outcome says that a generation serves.
        """
        self._console = console
        self._project = project
        self._clock = clock
        self._tips = tips
        self._is_waiting = is_starting  # for the outcome of an iteration
        self._said: set[tuple[str, str]] = set()
        self._is_noise_told = False
        self._generation: int | None = None
        self._newest = 0
        self._phase = ""
        self._start = "started"  # what the first iteration is called
        self._tests: list[events.Log] = []
        self._spending = Spending()
        self._updating = UpdatingLine(console.file, is_terminal=console.is_terminal)

    def __call__(self, event: events.Event) -> None:
        """Print what an event says, if anything."""
        if isinstance(event, events.EnvironmentProgress) and self._updating.show(environments.progress_line(event)):
            return
        self.write(self.lines(event))

    def write(self, lines: list[Text]) -> None:
        """Print lines."""
        for line in lines:
            self._updating.clear()
            self._console.print(line, soft_wrap=True)
        self._console.file.flush()  # a pipe has a buffer

    def mark(self) -> None:
        """Print a line to find again."""
        self.write([Text(f"{self._clock(time.monotonic())} {'─' * 40}", style="dim")])

    def lines(self, event: events.Event) -> list[Text]:
        """Say what an event is about; nothing in it can do anything to a terminal."""
        return [harmless(line) for line in self._lines(event)]

    def _lines(self, event: events.Event) -> list[Text]:  # noqa: C901, PLR0912  one line a case
        match event:
            case events.SessionStarted():
                return [_session(event)]
            case events.RuntimeStarted():
                return _serving(event)
            case events.IterationStarted():
                self._is_waiting = True
                self._newest = event.number
                return [self._header(event)]
            case events.ModelLoading():
                return [_labelled("loading", Text.assemble(event.model, (f"  {event.why}", "dim")), "yellow")]
            case events.Ready():
                return self._ready(event)
            case events.WorkersServing(count=count, wanted=wanted) if count == wanted:
                return [Text(f"{count} workers serve generation {event.generation}", style="dim")]
            case events.ReloadFailed():
                return self._failed(event)
            case events.ProbeReported():
                return probe_lines(event.report, self._project)
            case events.EnvironmentProgress():
                return self._progress(event)
            case events.EnvironmentReady():
                self._phase = ""
                return environments.ready_lines(event)
            case events.EnvironmentFailed():
                self._phase = ""
                return environments.failed_lines(event, self._project, self._generation)
            case events.IterationFinished():
                return self._finished(event.iteration)
            case events.BenchFinished():
                return self._bench(event)
            case events.BenchFailed():
                return _bench_failed(event)
            case events.TestsStarted() | events.Log(source="tests"):
                return self._hold_tests(event)
            case events.TestsFinished():
                return self._tested(event)
            case events.Log():
                return [log_line(event)]
            case events.RequestFinished():
                return [_request(event)]
            case events.RequestsFinished():
                return [_requests(event)]
            case events.ProcessDied():
                return _died(event)
            case events.Notice():
                return self._notice(event)
            case events.Held():
                return _held(event)
            case events.Offline():
                return [_offline(event)]
            case events.Online():
                return [_online(event)]
            case events.SyncPaused():
                return [_paused(event)]
            case events.SyncResumed():
                return [Text("resumed: saves are sent again", style="green")]
            case events.EditUndone():
                return [_undone(event)]
            case events.SessionResumed():
                self._start = "resumed"
                return [_resumed(event)]
            case events.SessionTimedOut():
                return [_timed_out(event)]
            case events.EventsDropped():
                return [Text(f"! {wording.dropped(event)}", style="yellow")]
            case events.Pinned():
                return [_pinned(event)]
            case events.RuntimeStopped(problem=events.Problem() as problem):
                return problem_lines(problem, self._project)
            case events.CostReported():
                return self._spending.lines(event)
            case events.SessionEnded():
                return [Text(event.reason, style="dim")] if event.reason else []
            case _:
                return []

    def _header(self, event: events.IterationStarted) -> Text:
        at = self._clock(event.saved_s or event.at_s)
        return Text.assemble((f"{at} ── ", "dim"), (f"#{event.number}", "bold"), f" {wording.began(event)}")

    def _progress(self, event: events.EnvironmentProgress) -> list[Text]:
        """Where nothing can be redrawn: a line a phase, and none for those that take no time."""
        phase = f"{event.phase} {event.revision}"
        if (
            phase == self._phase
            or event.phase in {"python", "install"}
            or (event.phase == "download" and not event.total)
        ):
            return []
        self._phase = phase
        return [environments.progress_line(event)]

    def _ready(self, event: events.Ready) -> list[Text]:
        self._generation = event.generation
        lines = [] if self._is_waiting else [Text(f"generation {event.generation} serves", style="green")]
        lines += [_model(model) for model in event.models]
        return lines + [_endpoint(shape) for shape in event.endpoints if event.generation == 1]

    def _failed(self, event: events.ReloadFailed) -> list[Text]:
        tail = Text(f"  {wording.still_serving(event)}", style="dim")
        return [*problem_lines(event.problem, self._project), tail]

    def _finished(self, iteration: events.Iteration) -> list[Text]:
        self._is_waiting = False
        if iteration.outcome == "superseded" and iteration.number >= self._newest:
            return [
                Text(
                    f"· {self._name_of(iteration)} {words.duration(iteration.feedback_s)}  ended before its outcome",
                    "dim",
                )
            ]
        lines = [_iteration_line(iteration, self._name_of(iteration))]
        if iteration.number == 0:
            lines += [Text(tip, style="dim") for tip in self._tips]
        return lines

    def _name_of(self, iteration: events.Iteration) -> str:
        return f"#{iteration.number}" if iteration.number else self._start

    def _hold_tests(self, event: events.TestsStarted | events.Log) -> list[Text]:
        """Keep what tests write until it is known whether they fail: of those that pass one line is enough."""
        self._tests = [] if isinstance(event, events.TestsStarted) else [*self._tests, event]
        return []

    def _tested(self, event: events.TestsFinished) -> list[Text]:
        lines, self._tests = self._tests, []
        if event.outcome == "superseded":
            return []
        shown = [] if event.outcome == "ok" else [log_line(line) for line in lines]
        return [*shown, tests_line(event)]

    def _bench(self, event: events.BenchFinished) -> list[Text]:
        lines = [bench_line(event)] if not event.repeat else []
        if event.throughput_noise_ratio is None or self._is_noise_told:
            return lines
        self._is_noise_told = True
        return [*lines, _noise_line(event.throughput_noise_ratio, event.latency_noise_ratio or 0)]

    def _notice(self, event: events.Notice) -> list[Text]:
        if (event.key, event.text) in self._said and event.key not in REPEATED_NOTICES:
            return []
        self._said.add((event.key, event.text))
        lines = [Text.assemble(("! ", "bold yellow"), event.text)]
        return lines + ([hint_line(event.hint)] if event.hint else [])


def _iteration_line(iteration: events.Iteration, name: str) -> Text:
    """One line an iteration: its outcome, time to feedback, and where that went."""
    took = words.duration(iteration.feedback_s)
    phases = (f"  {words.phases(iteration.phases_s)}", "dim")
    if iteration.outcome == "superseded":
        return Text(f"· {name} {took}  superseded by a newer save", style="dim")
    if iteration.outcome == "failed":
        return Text.assemble(("✗ ", "bold red"), (name, "bold"), f" {took}", " to the error", phases)
    took_style = (
        "bold green" if iteration.feedback_s < 1 else "bold yellow" if iteration.feedback_s < 10 else "bold red"
    )
    return Text.assemble(("✓ ", "bold green"), (name, "bold"), " ", (took, took_style), phases)


def probe_lines(report: events.ProbeReport, project: Path) -> list[Text]:
    """A probe's result: what changed in its output, or that nothing did, and its time beside the one before."""
    before = f" (was {words.duration(report.previous_took_s)})" if report.previous_took_s is not None else ""
    took = (f"  {words.duration(report.took_s)}{before}", "dim")
    if not report.is_ok:
        head = _labelled("probe", Text.assemble(report.name, ("  failed", "bold red"), took), "red")
        said = problem_lines(report.problem, project) if report.problem is not None else _outputs(report.output)
        return [head, *said]
    if report.previous_took_s is None:
        return [_labelled("probe", Text.assemble(report.name, took)), *_outputs(report.output)]
    state = ("  changed", "yellow") if report.is_changed else ("  same", "dim")
    return [_labelled("probe", Text.assemble(report.name, state, took)), *_diff(report.diff)]


def tests_line(event: events.TestsFinished) -> Text:
    """How the tests of an iteration went: how many failed, and where the first one did."""
    took = (f"  {words.duration(event.took_s)}", "dim")
    num_run = (event.num_passed or 0) + (event.num_failed or 0)
    if event.outcome == "ok":
        passed = f"  {num_run:,} passed" if event.num_passed is not None else "  passed"
        return Text.assemble(("✓ ", "bold green"), ("tests", "bold"), passed, took)
    if event.outcome == "broken":
        why = f"exit code {event.exit_code}" if event.exit_code is not None else "the runner did not run them"
        return Text.assemble(("✗ ", "bold red"), ("tests", "bold"), f"  could not run ({why})", took)
    if event.num_failed is None:
        return Text.assemble(("✗ ", "bold red"), ("tests", "bold"), f"  failed (exit code {event.exit_code})", took)
    line = Text.assemble(("✗ ", "bold red"), ("tests", "bold"), f"  {event.num_failed:,} failed of {num_run:,}", took)
    for test in event.failed[:1]:
        place = f"{test.file}:{test.line} " if test.line else ""
        line.append(f"  {place}{test.name.rpartition('::')[2]}", style="bold")
    return line


def bench_line(event: events.BenchFinished) -> Text:
    """A bench in one line: throughput and p99, and what became of them; an arrow where that is more than noise."""
    line = Text.assemble(
        f"{event.endpoint}  {words.rate(event.requests_per_s)}",
        *_change(event.throughput, event.throughput_noise_ratio, is_more_better=True),
        f"  p99 {words.duration(event.p99_s)}",
        *_change(event.latency, event.latency_noise_ratio, is_more_better=False),
    )
    about = f"  {words.count(event.requests, 'request')}, {event.connections} at a time"
    if event.previous is not None:
        how = "against" if event.throughput is not None else "too few to compare with"
        about += f", {how} generation {event.previous}"
    line.append(about, style="dim")
    if event.errors:
        line.append("  " + ", ".join(f"{count:,} {what}" for what, count in event.errors.items()), style="bold red")
    return _labelled("bench", line)


def _noise_line(throughput_ratio: float, latency_ratio: float) -> Text:
    about = f"noise: the same code differs by up to {throughput_ratio * 100:.0f} % in throughput, {latency_ratio * 100:.0f} % in p99"
    return _labelled("bench", Text(about, style="dim"))


def _change(change: events.Change | None, noise_ratio: float | None, *, is_more_better: bool) -> list[tuple[str, str]]:
    if change is None:
        return []
    shown = f"{(change.ratio - 1) * 100:+.1f} %"
    if not change.is_clear:
        return [(f" {shown} within noise" if noise_ratio is not None else f" {shown}, noise not known yet", "dim")]
    is_more = change.ratio > 1
    return [(f" {'▲' if is_more else '▼'} {shown}", "bold green" if is_more == is_more_better else "bold red")]


def _bench_failed(event: events.BenchFailed) -> list[Text]:
    line = _labelled("bench", Text.assemble(event.endpoint, ("  failed  ", "bold red"), event.problem.message), "red")
    return [line, *([hint_line(event.problem.hint)] if event.problem.hint else [])]


def _outputs(output: str) -> list[Text]:
    return [Text(f"    {line}") for line in diff.preview(output)]


def _diff(lines: tuple[str, ...]) -> list[Text]:
    """Mark the words that changed where a removed line stands beside an added one."""
    shown: list[Text] = []
    rest = list(lines)
    while rest:
        line = rest.pop(0)
        if line.startswith("- ") and rest and rest[0].startswith("+ "):
            left, right = diff.words(line[2:], rest.pop(0)[2:])
            shown += [_marked("- ", left, "red"), _marked("+ ", right, "green")]
        else:
            style = "red" if line.startswith("-") else "green" if line.startswith("+") else "dim"
            shown.append(Text(f"    {line}", style=style))
    return shown


def _marked(sign: str, pieces: tuple[tuple[str, bool], ...], color: str) -> Text:
    line = Text.assemble("    ", (sign, color))
    for text, is_changed in pieces:
        line.append(text, style=f"bold {color} underline" if is_changed else color)
    return line


def _labelled(label: str, text: Text, style: str = "dim") -> Text:
    return Text.assemble("  ", (f"{label:<{LABEL_WIDTH}}", style), text)


def _session(event: events.SessionStarted) -> Text:
    app = f"{event.app}  " if event.app else ""  # seen through the agent, which does not know
    return Text.assemble((app, "bold"), (wording.session(event), "dim"))


def _model(model: events.ModelOutcome) -> Text:
    size = wording.model_size(model)
    if model.action == "kept":
        return _labelled("kept", Text.assemble(model.name, (f"{size}  {model.why}", "dim")), "green")
    took = words.duration(model.took_s)
    label, style = ("loaded", "yellow") if model.action == "loaded" else ("failed", "red")
    return _labelled(label, Text.assemble(model.name, (f"{size}  {took}  {model.why}", "dim")), style)


def _endpoint(shape: events.EndpointShape) -> Text:
    parameters = ", ".join(f"{name}: {kind}" for name, kind in shape.parameters)
    traits = [name for name, has in (("batched", shape.is_batched), ("streams", shape.is_stream)) if has]
    about = (
        f"({parameters})"
        + (f" → {shape.returns}" if shape.returns else "")
        + (f"  {', '.join(traits)}" if traits else "")
    )
    return _labelled("/".join(shape.methods), Text.assemble((shape.path, "bold"), (f"  {about}", "dim")))


def log_line(event: events.Log) -> Text:
    """A line that the app wrote, behind the generation that wrote it."""
    mark = f"{event.source} │ " if event.source else f"g{event.generation} │ " if event.generation else "   │ "
    return Text.assemble((mark, "dim"), coloured(event.text))


def _request(event: events.RequestFinished) -> Text:
    by = f" g{event.generation}" if event.generation else ""
    return Text(f"{wording.request(event)}{by}", style=_status_style(event))


def _requests(event: events.RequestsFinished) -> Text:
    return Text(wording.requests(event), style=_status_style(event))


def _status_style(event: events.RequestFinished | events.RequestsFinished) -> str:
    worst = wording.worst_status(event)
    return "red" if worst >= 500 else "yellow" if worst >= 400 else "dim"


def _died(event: events.ProcessDied) -> list[Text]:
    line = Text.assemble(("✗ ", "bold red"), wording.died(event))
    return [line, hint_line(event.hint)] if event.hint else [line]


def _serving(event: events.RuntimeStarted) -> list[Text]:
    lines = [Text.assemble(("serving   ", "dim"), (event.address, "bold cyan"))]
    if event.grpc_address:
        lines.append(Text.assemble(("gRPC      ", "dim"), (event.grpc_address, "bold cyan")))
    return lines


def _held(event: events.Held) -> list[Text]:
    if not event.reason:
        return [Text(wording.HELD_NO_LONGER, style="green")]
    lines = [Text.assemble(("‖ ", "bold yellow"), f"waiting: {event.reason}")]
    return lines + ([hint_line(event.hint)] if event.hint else [])


def _offline(event: events.Offline) -> Text:
    why = (f"  {event.reason}", "dim") if event.reason else ""
    return Text.assemble(("‖ ", "bold yellow"), wording.offline(event), why)


def _online(event: events.Online) -> Text:
    return Text.assemble(("online ", "green"), (f"again after {words.duration(event.offline_s)}", "dim"))


def _paused(event: events.SyncPaused) -> Text:
    return Text.assemble(("‖ ", "bold yellow"), wording.paused(event), ("  space and Enter: send them", "dim"))


def _undone(event: events.EditUndone) -> Text:
    about = "  the files here stay as they are; saving one sends it again"
    return Text.assemble(("undone ", "cyan"), f"#{event.undone} on the runner", (about, "dim"))


def _resumed(event: events.SessionResumed) -> Text:
    missed = wording.missed(event.missed)
    return Text.assemble(
        ("resumed   ", "dim"), wording.resumed(event), (f"; meanwhile {missed}" if missed else "", "dim")
    )


def _timed_out(event: events.SessionTimedOut) -> Text:
    return Text.assemble(("! ", "bold yellow"), wording.timed_out(event))


def _pinned(event: events.Pinned) -> Text:
    if event.is_pinned:
        return Text.assemble(("pinned ", "cyan"), event.name, ("  sent again after every reload", "dim"))
    return Text.assemble(("unpinned ", "cyan"), event.name)
