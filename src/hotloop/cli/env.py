"""`hotloop env`: the environments that hotloop made on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hotloop.remote_runner.environments.store import About, Store

env = typer.Typer(no_args_is_help=True, help="List or remove the environments that hotloop made for apps.")


@env.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array and nothing else.")] = False,
) -> None:
    """List the environments on this machine, the one used longest ago first."""
    store = _store()
    kept = store.all()
    if json:
        import dataclasses
        import json as encoder

        print(encoder.dumps([{**dataclasses.asdict(each), "is_in_use": store.is_in_use(each.digest)} for each in kept]))
        return
    for each in kept:
        print(_line(each, is_in_use=store.is_in_use(each.digest)))
    if not kept:
        print(f"no environments in {store.folder}")


@env.command()
def prune(
    days: Annotated[float, typer.Option("--days", min=0, help="Remove what was not used for so many days.")] = 30,
    locks: Annotated[
        bool,
        typer.Option("--locks", help="Forget what requests were resolved to as well, so that they are resolved anew."),
    ] = False,
) -> None:
    """Remove environments that no session uses and that were not used for long."""
    from hotloop.devloop import words

    store = _store()
    removed = store.prune(max_unused_s=days * 86400)
    for each in removed:
        print(f"removed {_line(each, is_in_use=False)}")
    if locks:
        store.forget_locks()
    total = words.size(sum(each.size_bytes for each in removed))
    print(f"{words.count(len(removed), 'environment')} removed, {total}; {len(store.all())} left")


def _store() -> Store:
    from hotloop.devloop import control
    from hotloop.remote_runner.environments.store import Store

    store = Store(control.state_folder())
    store.open()
    return store


def _line(about: About, *, is_in_use: bool) -> str:
    from hotloop.devloop import words

    used = "in use" if is_in_use else f"used {words.duration(max(time.time() - about.used_at_s, 0))} ago"
    packages = words.count(len(about.packages), "package")
    return f"{about.digest[:12]}  {words.size(about.size_bytes):>7}  Python {about.python}  {packages} from {about.source}  {used}"
