"""The public names, and nothing else. Importing this needs the standard library alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.app import App, Batch

__all__ = ["App", "Batch", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the public names when they are first used, so that the command line starts fast."""
    if name in {"App", "Batch"}:
        from hotloop.gpu_runtime.user_env import app

        return getattr(app, name)
    msg = f"module 'hotloop' has no attribute {name!r}"
    raise AttributeError(msg)
