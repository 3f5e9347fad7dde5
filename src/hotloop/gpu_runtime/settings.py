"""What a runtime is told when it starts."""

from __future__ import annotations

from dataclasses import field, fields
from pathlib import Path
from typing import Any

from hotloop.frozen import frozen

PORTS_TO_TRY = 20  # beyond one that is in use


@frozen
class RuntimeConfig:
    """How to serve one app.

    Attributes:
        root: The workspace's folder.
        entry: The app's file, relative to it.
        app_name: The app's variable; empty if there is only one.
        python: The user's interpreter.
        host: Address to listen on.
        port: Port to listen on; 0 for any.
        port_is_fixed: Whether a busy port, HTTP's or gRPC's, is an error rather than a reason to take the next free one.
        grpc_port: Port to serve gRPC on, 0 for any; None to serve none.
        state: Folder for what the runtime remembers.
        shown_root: The project's folder as the user knows it.
        environment: The whole environment of the user's code.
        packages: Requirements that the app declares, for hints about missing ones.
        drain_timeout_s: How long an old generation may finish what it has.
        finishes_requests: Whether what is under way when it is stopped is answered first, as long as an old generation's;
            else it fails at once.
        hold_timeout_s: How long a request waits for something to serve it.
        probe_timeout_s: How long the probes of a generation may take in all.
        replicas: How many workers serve at a time; 0 for as many as the app says.
        keeps_locals: Whether the local variables of failures are described, for who asks.
        cors_origins: Of the pages that may read answers, such as ``http://localhost:3000``; ``*`` stands for all.
        weights: How much of the machine an API key is due beside others; 1 for those that are not named.
    """

    root: str
    entry: str
    python: str
    state: str
    app_name: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    port_is_fixed: bool = False
    grpc_port: int | None = None
    shown_root: str = ""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    packages: tuple[str, ...] = ()
    drain_timeout_s: float = 30.0
    finishes_requests: bool = False
    hold_timeout_s: float = 60.0
    probe_timeout_s: float = 300.0
    replicas: int = 0
    keeps_locals: bool = True
    cors_origins: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict[str, float], repr=False)  # its keys are secrets

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RuntimeConfig:
        """Read the fields that are known; others are of a newer agent."""
        known = {f.name for f in fields(cls)}
        given: dict[str, Any] = {name: value for name, value in data.items() if name in known}
        for name in ("packages", "cors_origins"):
            given[name] = tuple(given.get(name, ()))
        return cls(**given)

    def make_state_folder(self) -> None:
        """Make the folder for what the runtime remembers."""
        self.state_folder.mkdir(parents=True, exist_ok=True)

    @property
    def state_folder(self) -> Path:
        """The folder for what the runtime remembers."""
        return Path(self.state)
