"""Which endpoint a request is for: exact paths, and answers that help when there is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from urllib.parse import unquote

from hotloop.gpu_runtime.answers import error_body
from hotloop.gpu_runtime.endpoints import EndpointSpec

MAX_COMPARED = 200  # characters; comparing grows with the square


class Routes:
    """The paths of one generation."""

    def __init__(self, endpoints: Iterable[EndpointSpec] = ()) -> None:
        self._by_path: dict[str, dict[str, EndpointSpec]] = {}
        self._by_name: dict[str, EndpointSpec] = {}
        for spec in endpoints:
            self._by_name[spec.name] = spec
            by_method = self._by_path.setdefault(unquote(spec.path), {})  # as the path of a request is
            by_method.update(dict.fromkeys(spec.methods, spec))
            if "GET" in spec.methods:
                by_method.setdefault("HEAD", spec)

    def __contains__(self, path: str) -> bool:
        return path in self._by_path

    def find(self, method: str, path: str) -> EndpointSpec | None:
        """Give the endpoint, None if there is none for this path and method."""
        by_method = self._by_path.get(path)
        return None if by_method is None else by_method.get(method)

    def named(self, name: str) -> EndpointSpec | None:
        """Give the endpoint of that name, None if there is none."""
        return self._by_name.get(name)

    @property
    def specs(self) -> tuple[EndpointSpec, ...]:
        """Every endpoint."""
        return tuple(self._by_name.values())

    def methods(self, path: str) -> tuple[str, ...]:
        """Give the methods of a path, as its endpoints name them; empty if there is no such path."""
        return tuple(self._by_path.get(path, ()))

    def allowed(self, path: str) -> str:
        """Give the methods of a path as the ``Allow`` header says them; empty if there is no such path."""
        return ", ".join(sorted(self._by_path.get(path, ())))

    def listing(self) -> list[str]:
        """Give every endpoint as people write it: ``POST /embed``."""
        specs = {id(spec): spec for by_method in self._by_path.values() for spec in by_method.values()}
        return [f"{'|'.join(spec.methods)} {spec.path}" for spec in specs.values()]

    def not_found_body(self, path: str) -> bytes:
        """Say that there is no such path, and which there are."""
        close = difflib.get_close_matches(path[:MAX_COMPARED], self._by_path, n=1, cutoff=0.5)
        listing = self.listing()
        offer = f"The app has {', '.join(listing)}." if listing else "The app has no endpoints."
        hint = f"Did you mean {close[0]}? {offer}" if close else offer
        return error_body("NotFound", f"No endpoint at {path[:MAX_COMPARED]}.", hint, endpoints=listing)

    def not_allowed_body(self, method: str, path: str) -> bytes:
        """Say which methods a path has."""
        allowed = self.allowed(path)
        return error_body("MethodNotAllowed", f"{path} does not take {method}.", f"It takes {allowed}.")
