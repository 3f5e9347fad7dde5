"""The public names, and nothing else. Importing this needs the standard library alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.app import App, Batch
    from hotloop.gpu_runtime.user_env.batch import DONE, Done
    from hotloop.gpu_runtime.user_env.client.aio import AsyncClient
    from hotloop.gpu_runtime.user_env.client.blocking import Client
    from hotloop.gpu_runtime.user_env.client.failure import ClientError
    from hotloop.gpu_runtime.user_env.client.retry import Retries
    from hotloop.gpu_runtime.user_env.gauges import gauge

__all__ = ["DONE", "App", "AsyncClient", "Batch", "Client", "ClientError", "Done", "Retries", "__version__", "gauge"]

__version__ = "0.1.0"


_HOMES = {
    "DONE": "batch",
    "App": "app",
    "AsyncClient": "client.aio",
    "Batch": "app",
    "Client": "client.blocking",
    "ClientError": "client.failure",
    "Done": "batch",
    "Retries": "client.retry",
    "gauge": "gauges",
}


def __getattr__(name: str) -> object:
    """Import the public names when they are first used, so that the command line starts fast."""
    home = _HOMES.get(name)
    if home is not None:
        from importlib import import_module

        return getattr(import_module(f"hotloop.gpu_runtime.user_env.{home}"), name)
    msg = f"module 'hotloop' has no attribute {name!r}"
    raise AttributeError(msg)
