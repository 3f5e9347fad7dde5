"""`dev bench`: load on one endpoint, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.cli.bench_report import Comparison, Row
    from hotloop.devloop.load.runs import Load, Timing
    from hotloop.devloop.load.target import Target
    from hotloop.gpu_runtime.user_env.client.request import Content

DEFAULT_CONNECTIONS = (1, 8, 32)
MAX_CONNECTIONS = 10_000
MAX_RATE = 1_000_000
MAX_DURATION_S = 86_400
SPARE_FILES = 64  # descriptors that are not connections
_START_HINT = """start it in another terminal, or name a server: dev bench embed --url URL --data '{"text": "a cat"}'"""


@frozen
class Choice:
    """What was typed."""

    endpoint: str
    url: str
    compare: str
    project: Path
    data: str
    file: Path | None
    lines: Path | None
    headers: tuple[str, ...]
    loads: tuple[Load, ...]
    timing: Timing
    num_rounds: int
    is_json: bool


def bench(
    endpoint: Annotated[str, typer.Argument(help="Its name, or its path with the slash.", metavar="ENDPOINT")],
    url: Annotated[str, typer.Option("--url", help="Address of the server.", show_default="dev serve's")] = "",
    data: Annotated[str, typer.Option("--data", metavar="JSON", help="Arguments of each request, an object.")] = "",
    file: Annotated[Path | None, typer.Option("--file", help="Body of each request, sent as it is.")] = None,
    lines: Annotated[
        Path | None, typer.Option("--lines", help="Arguments of the requests, one JSON object a line, sent in turn.")
    ] = None,
    connections: Annotated[
        list[int] | None,
        typer.Option("-c", "--connections", help="Clients that each send when they have an answer.", metavar="N"),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option("--rate", help="Requests a second, whatever the answers take.", metavar="R"),
    ] = None,
    arrivals: Annotated[
        str, typer.Option("--arrivals", help="How --rate spreads them: poisson or constant.")
    ] = "poisson",
    duration: Annotated[float, typer.Option("--duration", metavar="S", help="Seconds of each run that count.")] = 5.0,
    warmup: Annotated[float, typer.Option("--warmup", metavar="S", help="Seconds before that do not.")] = 1.0,
    compare: Annotated[
        str,
        typer.Option(
            "--compare",
            metavar="REVISION|URL",
            help="A revision of git, which is served meanwhile, or another server: rounds in turn, and ratios to it.",
        ),
    ] = "",
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="Rounds of --compare.")] = 6,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="Sent with each request.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    project: Annotated[
        Path, typer.Option("--project", help="Whose dev serve is meant.", show_default="this folder")
    ] = Path(),
) -> None:
    """Send load to an endpoint and print throughput, latency and errors.

    -c and --rate may be given several times: each is a run. Without either: -c 1 -c 8 -c 32.
    """
    from hotloop.devloop.load.runs import Timing

    choice = Choice(
        endpoint, url, compare, project, data, file, lines, _headers(header or []),
        _loads(connections or [], rate or [], arrivals),
        Timing(_number("--duration", duration, 0.01, MAX_DURATION_S), _number("--warmup", warmup, 0, MAX_DURATION_S)),
        int(_number("--rounds", rounds, 2, 1000)), json,
    )  # fmt: skip
    raise typer.Exit(_bench(choice))


def _bench(choice: Choice) -> int:
    from contextlib import ExitStack

    from hotloop.cli import bench_sides as sides

    contents = _contents(choice)
    if not choice.compare:
        return _measure(choice, _target(choice, choice.url or sides.must_run(choice.project, _START_HINT), contents))
    if sides.is_address(choice.compare):
        ours = _target(choice, choice.url or sides.must_run(choice.project, _START_HINT), contents)
        return _compare(choice, ours, _target(choice, choice.compare, contents))
    revisions = sides.find_revisions(choice.project, choice.compare)
    with ExitStack() as stack:
        ours, theirs = (_target(choice, url, contents) for url in revisions.serve(stack, _say, choice.url))
        return _compare(choice, ours, theirs, revision=revisions.commit)


def _measure(choice: Choice, ours: Target) -> int:
    from hotloop.cli import bench_report
    from hotloop.devloop.load import runs

    rows: list[Row] = []
    described: list[dict[str, Any]] = []
    try:
        for load in choice.loads:
            _say(f"{ours.endpoint.path} at {ours.address.url}, {load.name}, {choice.timing.duration_s:g} s")
            rows.append(bench_report.Row(load.name, runs.run(ours, load, choice.timing)))
            described.append(bench_report.as_json(load, rows[-1].tally))
    except KeyboardInterrupt:
        _print_begun(choice, rows, [])
        raise
    return _print(choice, ours, rows, [], described)


def _compare(choice: Choice, ours: Target, theirs: Target, **more: Any) -> int:
    from hotloop.cli import bench_report
    from hotloop.devloop.load import runs

    found: list[Comparison] = []
    then = f", the revision {more['revision'][:10]}" if more else ""
    _say(f"A is {ours.address.url}, B is {theirs.address.url}{then}")
    try:
        for load in choice.loads:

            def begun(number: int, name: str = load.name) -> None:
                _say(f"{name}, round {number + 1} of {choice.num_rounds}")

            rounds = runs.compare(ours, theirs, load, choice.timing, choice.num_rounds, begun)
            found.append(bench_report.Comparison(load, rounds, ("A", "B")))
    except KeyboardInterrupt:
        _print_begun(choice, _rows(found), found)
        raise
    described = [bench_report.comparison_json(comparison) for comparison in found]
    return _print(choice, ours, _rows(found), found, described, compared_with=theirs.address.url, **more)


def _rows(found: list[Comparison]) -> list[Row]:
    return [row for comparison in found for row in comparison.rows()]


def _print_begun(choice: Choice, rows: list[Row], comparisons: list[Comparison]) -> None:
    """Show the loads that were over when the rest was called off; half an object would be no JSON."""
    from hotloop.cli import bench_report

    if rows and not choice.is_json:
        bench_report.show(rows, comparisons)


def _print(
    choice: Choice,
    ours: Target,
    rows: list[Row],
    comparisons: list[Comparison],
    described: list[dict[str, Any]],
    **more: Any,
) -> int:
    import json

    from hotloop.cli import bench_report

    if choice.is_json:
        head = {"schema": 1, "endpoint": ours.endpoint.path, "url": ours.address.url, **more}
        typer.echo(json.dumps({**head, "runs": described}))
    else:
        bench_report.show(rows, comparisons)
    return 0 if all(row.tally.num_done for row in rows) else 1


def _say(text: str) -> None:
    typer.echo(f"hotloop: {text}", err=True)


# --- what was typed -------------------------------------------------------------------------------------------------


def _loads(connections: list[int], rates: list[float], arrivals: str) -> tuple[Load, ...]:
    from hotloop.devloop.load.arrivals import Arrivals
    from hotloop.devloop.load.runs import Load
    from hotloop.errors import UsageError

    if arrivals not in set(Arrivals):
        msg = f"--arrivals is {arrivals!r}, poisson or constant was expected"
        raise UsageError(msg, hint="poisson is how independent users come; constant is a metronome")
    nums = connections or ([] if rates else list(DEFAULT_CONNECTIONS))
    for num in nums:
        _number("-c", num, 1, MAX_CONNECTIONS)
    for rate in rates:
        _number("--rate", rate, 0.001, MAX_RATE)
    _allow_files(max(nums, default=0))
    return (*[Load(num) for num in nums], *[Load(0, rate, Arrivals(arrivals)) for rate in rates])


def _number(option: str, value: float, low: float, high: float) -> float:
    from hotloop.errors import UsageError

    if not low <= value <= high:
        msg = f"{option} is {value:g}, a number from {low:g} to {high:g} was expected"
        raise UsageError(msg, hint="see dev bench --help")
    return value


def _allow_files(num: int) -> None:
    """Raise the limit of open files as far as it goes.

    Raises:
        UsageError: That is not far enough.
    """
    import resource

    from hotloop.errors import UsageError

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num + SPARE_FILES
    if hard != resource.RLIM_INFINITY and wanted > hard:
        msg = f"-c is {num}, and this machine lets a process open {hard} files"
        raise UsageError(msg, hint=f"give -c {hard - SPARE_FILES} or fewer, or raise the limit: ulimit -n {wanted}")
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _headers(given: list[str]) -> tuple[str, ...]:
    from hotloop.errors import UsageError
    from hotloop.gpu_runtime.user_env.client import request

    found: list[str] = []
    for line in given:
        name, colon, value = line.partition(":")
        try:
            if not colon:
                msg = f"the header {name!r} has no value"
                raise ValueError(msg)
            found.append(request.header(name.strip(), value.strip()))
        except ValueError as error:
            raise UsageError(str(error), hint="write it as: --header 'x-api-key: secret'") from None
    return tuple(found)


def _contents(choice: Choice) -> list[Content]:
    from hotloop.devloop.load import target
    from hotloop.errors import UsageError

    given = [name for name in ("data", "file", "lines") if getattr(choice, name)]
    if len(given) > 1:
        msg = f"--{given[0]} and --{given[1]} both say what the requests carry"
        raise UsageError(msg, hint="give one of them")
    if choice.file is not None:
        return [target.file_content(choice.file)]
    if choice.lines is not None:
        return target.line_contents(choice.lines)
    return [target.json_content(choice.data or "{}", "--data")]


def _target(choice: Choice, url: str, contents: list[Content]) -> Target:
    from hotloop.devloop.load import target

    found = target.find(url, choice.endpoint, contents, choice.headers)
    target.check(found)
    return found
