"""`dev run`: the same app, served without a watcher."""

from __future__ import annotations

from pathlib import Path

import typer

from hotloop.cli.on import On
from hotloop.cli.serve import App, GrpcPort, Host, Json, Port, Project, Python, Replicas, StrictPort


def run(
    path: Project = Path(),
    app: App = None,
    python: Python = None,
    host: Host = None,
    port: Port = None,
    grpc_port: GrpcPort = None,
    strict_port: StrictPort = False,
    replicas: Replicas = None,
    on: On = None,
    json: Json = False,
) -> None:
    """Serve the app as it is now, until Ctrl-C. Saves change nothing."""
    from hotloop.cli.starting import Choice, serve

    choice = Choice(
        path,
        app,
        python,
        host,
        port,
        grpc_port=grpc_port,
        is_json=json,
        is_watching=False,
        replicas=replicas,
        is_port_strict=strict_port,
        on=on,
    )
    raise typer.Exit(serve(choice))
