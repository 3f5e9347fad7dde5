"""What a session of `dev serve` is to serve and how: what its command line and settings come to."""

from __future__ import annotations

import os
from dataclasses import field
from typing import TYPE_CHECKING, Any

from hotloop.devloop import environments
from hotloop.devloop.load.job import DURATION_S
from hotloop.devloop.tariff import Terms
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.config import AppLocation
    from hotloop.remote_runner.environment import UserPython

LOOPBACK = "127.0.0.1"


@frozen
class ServeOptions:
    """What to serve and how.

    Attributes:
        project: The project's folder, absolute.
        python: The interpreter that runs the app; None to have the runner make its environment.
        port_is_fixed: Whether a port in use is an error; else the next free one is taken, and said.
        cors_origins: Of the pages that may read answers; ``*`` stands for all.
        grpc_port: Port to serve gRPC on, 0 for any; None to serve none.
        is_watching: False for `dev run`: saves change nothing.
        is_once: Stop after the first outcome.
        packages: Requirements that the app declares.
        key_weights: How much of the machine an API key is due; 1 for those that are not named.
        bench: An endpoint to send a short load after each reload; empty: none.
        bench_data: Arguments of that load's requests, JSON; empty: as in a pinned request.
        bench_duration_s: How long it is sent.
        test: A command that runs after each reload that went well; empty: none.
        replicas: How many workers serve at a time; 0 for as many as the app says.
        runner: The name of where it runs.
        is_taking: Take the session from another client that holds it.
        is_detaching: Leave it running after the first outcome.
        idle_timeout_s: How long it runs without a client; 0 for as long as the runner says.
        passed_variables: What the app gets of this machine's variables on another; values are secrets.
        python_version: Of an environment that the runner makes; empty to take what the project says.
        terms: What the runner costs, as far as that is known, and what the session may.
    """

    project: Path
    app: AppLocation
    python: UserPython | None
    host: str
    port: int
    port_is_fixed: bool
    session_id: str
    is_watching: bool = True
    is_once: bool = False
    packages: tuple[str, ...] = ()
    key_weights: dict[str, float] = field(default_factory=dict[str, float], repr=False)
    cors_origins: tuple[str, ...] = ()
    grpc_port: int | None = None
    bench: str = ""
    bench_data: str = ""
    bench_duration_s: float = DURATION_S
    test: str = ""
    replicas: int = 0
    runner: str = "local"
    is_taking: bool = False
    is_detaching: bool = False
    idle_timeout_s: float = 0.0
    python_version: str = ""
    terms: Terms = field(default_factory=Terms)
    passed_variables: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def runtime_config(self, *, is_forwarded: bool) -> dict[str, Any]:
        """What the runtime is told; the agent adds where the workspace is.

        Args:
            is_forwarded: This machine listens in its place and connects to it: it listens to nobody else.
        """
        grpc_port = 0 if is_forwarded and self.grpc_port is not None else self.grpc_port
        return {
            "entry": self.app.file,
            "app_name": self.app.name,
            **environments.told(self),
            "host": LOOPBACK if is_forwarded else self.host,
            "port": 0 if is_forwarded else self.port,
            "port_is_fixed": self.port_is_fixed,
            "grpc_port": grpc_port,
            "shown_root": str(self.project),
            "environment": dict(os.environ) if self.runner == "local" else None,
            "passed_variables": self.passed_variables,
            "packages": list(self.packages),
            "weights": self.key_weights,
            "cors_origins": list(self.cors_origins),
            "replicas": self.replicas,
            "finishes_requests": not self.is_watching,
            "keeps_locals": self.is_watching,  # what is served without a watcher is used by others: their data
        }
