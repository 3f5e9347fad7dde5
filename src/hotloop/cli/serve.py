"""`dev serve`: the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotloop.cli.on import On
from hotloop.cli.ui import Wanted

Project = Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")]
App = Annotated[
    str | None, typer.Option("--app", metavar="FILE[:NAME]", help="The app, if the project has more than one.")
]
Python = Annotated[
    str | None,
    typer.Option("--python", metavar="PATH", help="Interpreter of the app; else the active environment or .venv."),
]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; else 127.0.0.1.")]
Port = Annotated[
    int | None, typer.Option("--port", help="Port to listen on, 0 for any; else 8000. In use: the next free one.")
]
StrictPort = Annotated[
    bool, typer.Option("--strict-port", help="Fail if a port is in use, instead of taking the next free one.")
]
GrpcPort = Annotated[
    int | None, typer.Option("--grpc-port", help="Serve the endpoints by gRPC too, on this port, 0 for any free one.")
]
Replicas = Annotated[
    int | None,
    typer.Option(
        "--replicas",
        metavar="N",
        help="Workers that serve at a time; else what pyproject.toml or the app says, or one.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print each event as a JSON object, one a line, and nothing else.")]


def serve(
    path: Project = Path(),
    app: App = None,
    python: Python = None,
    host: Host = None,
    port: Port = None,
    grpc_port: GrpcPort = None,
    strict_port: StrictPort = False,
    replicas: Replicas = None,
    on: On = None,
    ui: Wanted = None,
    json: Json = False,
    once: Annotated[
        bool, typer.Option("--once", help="Start, try the probes, stop; exit 1 if anything failed.")
    ] = False,
    take: Annotated[
        bool, typer.Option("--take", help="Take the session from another client that holds it, which then ends.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start, try the probes, then leave it running without a client.")
    ] = False,
    test: Annotated[
        str | None,
        typer.Option(
            "--test",
            metavar="COMMAND",
            help='After each reload, run tests on the runner: "pytest -q tests"; "" for none, whatever pyproject.toml says.',
        ),
    ] = None,
    bench: Annotated[
        str, typer.Option("--bench", metavar="ENDPOINT", help="After each reload, send it a short load and compare.")
    ] = "",
    bench_data: Annotated[
        str,
        typer.Option(
            "--bench-data", metavar="JSON", help="Arguments of that load's requests; else those of a pinned request."
        ),
    ] = "",
    bench_duration: Annotated[
        float, typer.Option("--bench-duration", metavar="S", help="How long that load takes, seconds.")
    ] = 2.0,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", metavar="DOLLARS", help="What the session may cost: it warns, or ends by budget_stops."
        ),
    ] = None,
) -> None:
    """Serve the app and reload it after each save, with the models kept in memory."""
    from hotloop.cli.starting import Choice, serve

    choice = Choice(
        path,
        app,
        python,
        host,
        port,
        grpc_port=grpc_port,
        is_json=json,
        ui=ui,
        is_once=once,
        is_taking=take,
        is_detaching=detach,
        test=test,
        bench=bench,
        bench_data=bench_data,
        bench_duration_s=bench_duration,
        replicas=replicas,
        on=on,
        is_port_strict=strict_port,
        budget=budget,
    )
    raise typer.Exit(serve(choice))
