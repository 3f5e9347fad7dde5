"""From options to a running session: what `dev serve` and `dev run` have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotloop import config
from hotloop.cli import costing, keys
from hotloop.cli.on import runner_for
from hotloop.cli.pulse import Mood
from hotloop.cli.showing import Showing
from hotloop.cli.ui import Ui, check_looks, chosen
from hotloop.devloop import control, environments, requests, tester
from hotloop.devloop.broadcast import Broadcast
from hotloop.devloop.engine import Engine
from hotloop.devloop.forward import forward_for
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.devloop.load import target
from hotloop.devloop.meter import Meter
from hotloop.devloop.options import ServeOptions
from hotloop.devloop.outputs import own_outputs
from hotloop.errors import HotloopError, UsageError
from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.app import MAX_REPLICAS
from hotloop.remote_runner import environment
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.runners import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.cli.starting import Choice
    from hotloop.devloop.pulse import Moment
    from hotloop.events import Event
    from hotloop.remote_runner.environment import UserPython
    from hotloop.remote_runner.runners import Runner
    from hotloop.remote_runner.way import Way

MIN_BENCH_S, MAX_BENCH_S = 0.1, 60.0
QUIT_CODES = (0, 128 + signal.SIGINT)  # whoever ended it sits there
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@frozen
class Served:
    """How it ended: an exit code, and when it may be asked how it went; None for not at all."""

    code: int
    moment: Moment | None


async def serve(choice: Choice, way: Way, reaching: asyncio.Task[None], checked: Callable[[], None]) -> Served:
    """Serve until stopped.

    Args:
        choice: What was typed.
        way: To the runner.
        reaching: Done when it is reached.
        checked: Called when nothing is wrong with what was typed: reaching may ask questions from then on.

    Raises:
        HotloopError: It can't be served.
    """
    options = resolve(choice)
    ui = _ui(choice, options.project)
    check_looks(ui, options.project)
    if ui is Ui.TUI:  # a second or two pass before it opens
        print(f"hotloop: starting {options.project.name}", file=sys.stderr, flush=True)
    checked()
    mood = Mood()
    code = await _serve(options, choice, ui, mood, way, reaching)
    is_to_ask = ui is Ui.PLAIN and choice.is_watching and not choice.is_once and code in QUIT_CODES
    return Served(code, mood.moment if is_to_ask else None)


def _ui(choice: Choice, project: Path) -> Ui:
    """Choose the user interface: what ends by itself, or takes no saves, has no dashboard unless it is asked for."""
    is_short = choice.is_once or choice.is_detaching or not choice.is_watching
    if choice.ui is None and is_short:
        return Ui.JSON if choice.is_json else Ui.PLAIN
    return chosen(choice.ui, choice.is_json, config.load(project).ui)


def resolve(choice: Choice) -> ServeOptions:
    """Join what was typed with the project's settings.

    Raises:
        UsageError: Something of it can't be.
    """
    project = config.find_project(choice.path)
    settings = config.load(project)
    if choice.port is not None:
        config.check_port(choice.port, "--port", "write it as --port 8000")
    if choice.grpc_port is not None:
        config.check_port(choice.grpc_port, "--grpc-port", "write it as --grpc-port 9000")
    _check_bench(choice)
    _check_replicas(choice.replicas, "--replicas", "--replicas 2")
    _check_replicas(settings.replicas, "pyproject.toml: tool.hotloop.replicas", "replicas = 2")
    if choice.is_once and choice.is_detaching:
        msg = "--once ends what --detach leaves running"
        raise UsageError(msg, hint="give one of them")
    test = _test_of(choice, settings)
    port = choice.port if choice.port is not None else settings.port
    grpc_port = choice.grpc_port if choice.grpc_port is not None else settings.grpc_port
    _check_apart(port, grpc_port)
    runner = runner_for(project, choice.on)
    location = config.locate_app(project, choice.app or settings.app)
    declared = environment.declared_packages(project / location.file)
    wanted = choice.python or (settings.python if runner.is_local else None)
    is_made = environments.is_made_by_runner(settings.environment, choice.python, is_local=runner.is_local)
    return ServeOptions(
        project=project,
        app=location,
        python=None if is_made else _python(project, wanted, runner),
        host=choice.host or settings.host or "127.0.0.1",
        port=config.DEFAULT_PORT if port is None else port,
        port_is_fixed=choice.is_port_strict,
        session_id=control.project_id(project, role="serve" if choice.is_watching else "run"),
        is_watching=choice.is_watching,
        is_once=choice.is_once,
        packages=(*declared.packages, *declared.data_packages),
        key_weights=config.read_key_weights(project, settings.key_weights),
        cors_origins=tuple(settings.cors_origins or ()),
        grpc_port=grpc_port,
        bench=choice.bench,
        bench_data=choice.bench_data,
        bench_duration_s=choice.bench_duration_s,
        test=test,
        replicas=choice.replicas or settings.replicas or 0,
        runner=runner.name,
        is_taking=choice.is_taking,
        is_detaching=choice.is_detaching,
        python_version=wanted if is_made and wanted and environments.is_version(wanted) else "",
        idle_timeout_s=settings.idle_timeout_s or 0,
        terms=costing.terms(settings, runner, choice.budget),
        passed_variables={} if runner.is_local else config.passed_variables(settings),
    )


def _python(project: Path, wanted: str | None, runner: Runner) -> UserPython:
    """Find the app's interpreter, where the runner does not make its environment."""
    if not runner.is_local and wanted is not None:  # a path of another machine: its runtime says if it is none
        return environment.UserPython(Path(wanted), "as there", f"--python on {runner.name}")
    return environment.find_python(project, wanted)


def _test_of(choice: Choice, settings: config.Settings) -> str:
    """What runs after each reload; nothing where no save is served."""
    if choice.is_once and choice.test:
        msg = "--once ends when the probes ran, before --test would begin"
        raise UsageError(msg, hint=f"run them afterwards: dev exec -- {choice.test}")
    if choice.is_once or choice.is_detaching or not choice.is_watching:
        return ""
    test = settings.test or "" if choice.test is None else choice.test
    if test:
        tester.parse(test, "--test" if choice.test is not None else "pyproject.toml: tool.hotloop.test")
    return test


def _tester_for(options: ServeOptions, way: Way) -> tester.Tester | None:
    if not options.test:
        return None
    environment = dict(os.environ) if options.runner == LOCAL else options.passed_variables
    command = tester.parse(options.test, "--test")
    return tester.Tester(Channels(way), options.session_id, command, environment, options.project)


def _check_apart(port: int | None, grpc_port: int | None) -> None:
    if grpc_port and grpc_port == port:
        msg = f"--grpc-port is {grpc_port}, which HTTP has: each needs a port of its own"
        raise UsageError(msg, hint="choose another for one of them; 0 is any free one")


def _check_bench(choice: Choice) -> None:
    if not MIN_BENCH_S <= choice.bench_duration_s <= MAX_BENCH_S:
        msg = f"--bench-duration is {choice.bench_duration_s:g}, seconds from {MIN_BENCH_S:g} to {MAX_BENCH_S:g} were expected"
        raise UsageError(msg, hint="dev bench ENDPOINT --duration takes longer")
    if choice.bench_data:
        target.json_content(choice.bench_data, "--bench-data")
    if choice.bench_data and not choice.bench:
        msg = "--bench-data says what a bench sends, and there is none"
        raise UsageError(msg, hint="name the endpoint too: --bench embed")
    if choice.bench and choice.is_once:
        msg = "--once ends when the probes ran, before --bench would begin"
        raise UsageError(msg, hint="give one of them; dev bench measures what a running dev serve serves")


def _check_replicas(replicas: int | None, what: str, example: str) -> None:
    if replicas is not None and not 1 <= replicas <= MAX_REPLICAS:
        msg = f"{what} is {replicas}, a number of workers from 1 to {MAX_REPLICAS} was expected"
        raise UsageError(msg, hint=f"write it as {example}")


async def _serve(
    options: ServeOptions, choice: Choice, ui: Ui, mood: Mood, way: Way, reaching: asyncio.Task[None]
) -> int:
    state = control.state_folder()
    ignore = Ignore(options.project, own_outputs(options.project))
    _check_app(options, ignore)
    index = Index(options.project, ignore)
    index.load(options.project / ".hotloop" / "index.json")
    async with connect(way) as agent:

        async def answer(request: object) -> dict[str, Any]:
            return await requests.answer(engine, request)

        broadcast = Broadcast(answer)
        sinks: list[Callable[[Event], None]] = [broadcast, mood]
        engine = Engine(
            options, agent, index, ignore, sinks, forward_for(way, options.session_id), _tester_for(options, way)
        )
        engine.look()
        await reaching
        takes_saves = options.is_watching and not (options.is_once or options.is_detaching)
        showing = Showing(options.project, ui, is_watching=takes_saves)
        sinks += [*showing.sinks, Meter(options.terms, engine.say, engine.stop).take]
        signals = _Signals(engine, showing)
        socket = control.control_path(state, options.session_id)
        async with control.listening(socket, answer, broadcast.watch, is_taking=choice.is_taking):
            signals.open()
            try:
                await showing.begin(engine, socket, lambda line: _typed(engine, showing, line))
                _say_unset(engine, options)
                await _say_missing(engine, options)
                return await engine.run()
            finally:
                await broadcast.close()
                await showing.finish()
                signals.close()


def _check_app(options: ServeOptions, ignore: Ignore) -> None:
    """Refuse an app whose own file would not be sent: there would be nothing to import."""
    file = options.app.file
    if ignore.is_ignored(file):
        msg = f"{file} has the app, and is not synced: {ignore.explain(file)}"
        raise UsageError(msg, hint=f"take it out of that rule, or write to .hotloopignore: !/{file}")
    if not os.access(options.project / file, os.R_OK):
        msg = f"{file} has the app, and can't be read"
        raise UsageError(msg, hint="look at its owner and permissions")


class _Signals:
    """Ctrl-C ends the session cleanly, a second one at once: the agent then finishes alone."""

    def __init__(self, engine: Engine, showing: Showing) -> None:
        self._engine = engine
        self._showing = showing
        self._loop = asyncio.get_running_loop()
        self._is_stopping = False

    def open(self) -> None:
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self._take, number)

    def close(self) -> None:
        for number in SIGNALS:
            self._loop.remove_signal_handler(number)

    def _take(self, number: signal.Signals) -> None:
        # A terminal that goes away says so twice, by its shell and by the kernel: nobody there is in a hurry.
        is_second, self._is_stopping = self._is_stopping and number != signal.SIGHUP, True
        self._engine.stop("", 128 + number)
        if is_second:
            self._showing.take_back()
        else:
            self._showing.dismiss()
        said = (
            "stopped at once; the runner ends the app's processes"
            if is_second
            else "stopping; once more to stop at once"
        )
        with contextlib.suppress(OSError):  # the terminal may be gone: that is what SIGHUP says
            print(f"hotloop: {said}", file=sys.stderr, flush=True)
        if is_second:
            os._exit(128 + number)


async def _press(engine: Engine, showing: Showing, name: str) -> None:
    showing.write(await keys.press(name, lambda each: requests.answer(engine, {"name": each})))


def _typed(engine: Engine, showing: Showing, line: str) -> None:
    if line in keys.KEYS:
        engine.do(_press(engine, showing, keys.KEYS[line]))
    else:
        print(f"hotloop: no key is called {line!r}. {keys.TIP}", file=sys.stderr, flush=True)


def _say_unset(engine: Engine, options: ServeOptions) -> None:
    """Name the variables that the app on another machine is to get from here, and that are not set here."""
    if options.runner == LOCAL:
        return
    wanted = config.load(options.project).pass_env or ()
    unset = [name for name in wanted if name not in options.passed_variables]
    if unset:
        hint = f"export {unset[0]}=... in this terminal and start again"
        engine.notice("variables", f"pass_env names {', '.join(unset)}, not set here: the app goes without", hint)


async def _say_missing(engine: Engine, options: ServeOptions) -> None:
    """Name what the app declares and its environment lacks, with the command that installs it."""
    if options.python is None or options.runner != LOCAL:
        return
    declared = environment.declared_packages(options.project / options.app.file)
    wanted = (*declared.packages, *declared.data_packages)
    try:
        missing = await asyncio.to_thread(environment.missing_packages, options.python.path, wanted)
    except HotloopError as error:
        engine.notice("missing", error.message, error.hint)
        return
    if missing:
        lacking = [
            tuple(name for name in group if name in missing) for group in (declared.packages, declared.data_packages)
        ]
        commands = environment.install_command(options.python.path, *lacking)
        hint = " && ".join(" ".join(command) for command in commands)
        engine.notice("missing", f"the environment lacks {', '.join(missing)}", hint)
