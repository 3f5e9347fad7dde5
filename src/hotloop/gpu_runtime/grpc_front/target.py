"""Which endpoint a call is for: named by its client, looked up in the generation that serves."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from hotloop.gpu_runtime.calls import Generation


class Target:
    """Looks an endpoint up each time that it is asked, for a call may be held until there is a generation.

    Args:
        endpoint: The endpoint's name, or its path, with or without a query.
        method: As in HTTP; empty for the one that the endpoint takes.
        has_body: Whether the call has a body, which decides between POST and GET for what is no endpoint.
        active: Gives the generation that serves, None if there is none.

    Attributes:
        query: Without the question mark.
    """

    __slots__ = ("_active", "_endpoint", "_has_body", "_method", "query")

    def __init__(self, endpoint: str, method: str, *, has_body: bool, active: Callable[[], Generation | None]) -> None:
        self._endpoint, _, self.query = endpoint.partition("?")
        self._method = method.upper()
        self._has_body = has_body
        self._active = active

    @property
    def path(self) -> str:
        """The endpoint's path. A name that nobody has is a path too, so that the answer can say which there are."""
        if self._endpoint.startswith("/"):
            return self._endpoint
        active = self._active()
        spec = active.routes.named(self._endpoint) if active is not None else None
        return f"/{self._endpoint}" if spec is None else unquote(spec.path)

    @property
    def method(self) -> str:
        """The method that was asked for, or that the endpoint takes."""
        if self._method:
            return self._method
        active = self._active()
        methods = active.routes.methods(self.path) if active is not None else ()
        if not methods:
            return "POST" if self._has_body else "GET"
        return "POST" if "POST" in methods else methods[0]
