"""`hotloop runner`: names for the machines that apps run on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hotloop.remote_runner.runners import Runner

runner = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Name the machines that apps run on, and look after them."
)
Name = Annotated[str, typer.Argument(help="The runner's name, or a host.")]
STOP_TIMEOUT_S = 60.0  # longer than the sessions' runtimes may take to drain


@runner.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    target: Annotated[str, typer.Argument(help="user@host, ssh://user@host:port or docker://IMAGE.")],
    python: Annotated[str, typer.Option("--python", help="Interpreter for hotloop's own environment there.")] = "",
    state: Annotated[str, typer.Option("--state", help="Folder there for workspaces and logs.")] = "",
    cache: Annotated[str, typer.Option("--cache", help="Folder there for what can be made again.")] = "",
    engine: Annotated[str, typer.Option("--engine", help="Address of the Docker engine.")] = "",
    gpus: Annotated[str, typer.Option("--gpus", help="As for docker run --gpus.")] = "",
    price: Annotated[float | None, typer.Option("--price", help="What an hour of it costs, US dollars.")] = None,
    provider: Annotated[str, typer.Option("--provider", help="Whose list prices hold there, such as runpod.")] = "",
) -> None:
    """Give a machine a name; nothing is connected yet."""
    from hotloop.remote_runner import runners

    told = {
        "target": target, "python": python, "state": state, "cache": cache, "engine": engine, "gpus": gpus,
        "provider": provider, "price": price,
    }  # fmt: skip
    known = runners.load()
    found = runners.from_table(name, {key: value for key, value in told.items() if value not in {"", None}}, "runner")
    verb = "changed" if name in known else "added"
    runners.save({**known, name: found})
    typer.echo(f"{verb} {name}; try it: dev runner doctor {name}", err=True)


@runner.command("list")
def list_() -> None:
    """List the runners that have a name."""
    from hotloop.remote_runner import runners

    known = runners.load()
    width = max(map(len, [runners.LOCAL, *known]))
    typer.echo(f"{runners.LOCAL:<{width}}  this machine")
    for name, found in sorted(known.items()):
        typer.echo(f"{name:<{width}}  {found.target or found.dockerfile}")


@runner.command()
def show(name: Name) -> None:
    """Show what is known of a runner, ssh's own settings included."""
    from hotloop.remote_runner.ssh.settings import resolve
    from hotloop.remote_runner.ssh.target import parse

    found = _find(name)
    for key, value in found.told().items():
        typer.echo(f"{key:<12}{value}")
    if found.is_local or found.is_container:
        return
    resolved = resolve(parse(found.target))
    typer.echo(f"{'address':<12}{resolved.user}@{resolved.host}:{resolved.port}")
    for label, values in (
        ("identity", [str(path) for path in resolved.identity_files if path.exists()]),
        ("through", [jump.shown for jump in resolved.jumps]),
        ("known hosts", [str(path) for path in resolved.user_known_hosts if path.exists()]),
    ):
        if values:
            typer.echo(f"{label:<12}{', '.join(values)}")


@runner.command()
def remove(name: Annotated[str, typer.Argument(help="The runner's name.")]) -> None:
    """Forget a runner's name; what runs there goes on."""
    from hotloop.errors import UsageError
    from hotloop.remote_runner import runners

    known = runners.load()
    if name not in known:
        msg = f"no runner is called {name!r}"
        raise UsageError(msg, hint=f"the names are: {', '.join(sorted(known)) or 'none yet'}")
    del known[name]
    runners.save(known)
    typer.echo(f"removed {name}", err=True)


@runner.command()
def doctor(name: Name) -> None:
    """Try a runner step by step, and say what to do about what fails."""
    from hotloop.cli.doctor import examine

    raise typer.Exit(examine(_find(name)))


@runner.command()
def stop(name: Name) -> None:
    """End hotloop there: all sessions and their models, and a container."""
    import asyncio

    found = _find(name)
    ended = asyncio.run(_stop(found))  # first: clients bring back a container that is only gone
    if found.is_container:
        from hotloop.remote_runner import runners
        from hotloop.remote_runner.docker.way import stop as stop_container

        was_there = stop_container(runners.container_of(found, Path.cwd()), project=Path.cwd())
        typer.echo(
            f"removed the container of {name}" if was_there else f"{name} has no container of this project", err=True
        )
        return
    typer.echo(f"{name}: {ended}", err=True)


@runner.command()
def upgrade(name: Name) -> None:
    """Have a runner use this version of hotloop; sessions that run with another one there are ended."""
    import asyncio

    from hotloop import __version__
    from hotloop.cli.on import way_to
    from hotloop.remote_runner import onlooker

    found = _find(name)

    async def replace() -> int:
        await _stop(found)
        way = way_to(found, Path.cwd())
        try:
            return int((await onlooker.ask(way, "status"))["pid"])
        finally:
            await way.close()

    pid = asyncio.run(replace())
    typer.echo(f"{name} runs hotloop {__version__} (pid {pid})", err=True)


async def _stop(runner: Runner) -> str:
    """End the agent, if one runs, and wait until it is gone; says what was ended."""
    import asyncio

    from hotloop.cli.on import way_to
    from hotloop.errors import RunnerError
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.way import NoAgentError
    from hotloop.remote_runner.who import who_am_i

    way, projects = way_to(runner, Path.cwd(), is_starting=False), None
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            while True:
                try:
                    sessions = (await onlooker.ask(way, "status"))["sessions"]
                    projects = [session["project"] for session in sessions] if projects is None else projects
                    await onlooker.ask(way, "shutdown", who=who_am_i())
                except NoAgentError:
                    break
                except RunnerError:
                    if projects is None:  # else it ended while it was asked
                        raise
                await asyncio.sleep(0.1)
    except TimeoutError:
        msg = f"The agent on {way.name} was told to end and still runs after {STOP_TIMEOUT_S:.0f} s."
        raise RunnerError(msg, hint="its log there says more") from None
    finally:
        await way.close()
    if projects is None:
        return "no agent runs"
    return "ended the agent" + (f", and the session of {', '.join(projects)}" if projects else "")


def _find(name: str) -> Runner:
    from hotloop.cli.on import runner_for

    return runner_for(Path.cwd(), name)
