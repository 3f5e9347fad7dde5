"""`dev version`."""

from __future__ import annotations

import platform

import typer

from hotloop import __version__


def version() -> None:
    """Print the version of hotloop and of the Python that runs it."""
    typer.echo(f"hotloop {__version__}, Python {platform.python_version()}")
