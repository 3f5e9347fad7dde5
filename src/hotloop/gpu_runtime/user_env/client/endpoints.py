# pyright: basic
# The annotations are the user's.
"""What a server serves, by name: from its own listing, or from the app."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.client.failure import ClientError

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.app import App, EndpointSpec
    from hotloop.gpu_runtime.user_env.client.result import Build


@frozen
class Endpoint:
    """A served function, as a client sees it.

    Attributes:
        method: The one that the client uses.
        build: Makes of a JSON value what the endpoint says that it returns; None leaves JSON as it is.
        returns_array: Whether that is an array, which has a quicker form than JSON.
    """

    name: str
    path: str
    method: str = "POST"
    build: Build | None = None
    returns_array: bool = False


class Catalog:
    """The endpoints that are known, and which of them take JSON only.

    Attributes:
        is_fixed: Whether they are known from the app, so that the server is not asked.
    """

    def __init__(self, endpoints: Iterable[Endpoint] | None = None) -> None:
        self.is_fixed = endpoints is not None
        self._by_name = {endpoint.name: endpoint for endpoint in endpoints or ()}
        self._takes_json_only: set[str] = set()

    def find(self, name: str) -> Endpoint | None:
        """Give an endpoint by its name, or by its path if that begins with a slash; None if it is not known."""
        found = self._by_name.get(name)
        if found is None and name.startswith("/"):
            return next((each for each in self._by_name.values() if each.path == name), Endpoint(name, name))
        return found

    def known(self) -> str:
        """List the names as people read them."""
        return ", ".join(sorted(self._by_name)) or "none"

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        """Take what the server says now."""
        self._by_name = {endpoint.name: endpoint for endpoint in endpoints}
        self._takes_json_only = set()

    def can_be_raw(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint may take an argument as the body, as it is."""
        return endpoint.path not in self._takes_json_only

    def takes_json_only(self, endpoint: Endpoint) -> None:
        """Remember that an endpoint refused a body that was no JSON."""
        self._takes_json_only.add(endpoint.path)


def listed(body: bytes) -> list[Endpoint]:
    """Read a server's own listing: ``{"endpoints": ["POST /embed"]}``.

    An endpoint's name is its path; one that is longer, such as ``/v1/embed``, is also known as ``v1_embed``.

    Raises:
        ClientError: It is none.
    """
    try:
        lines = json.loads(body)["endpoints"]
        pairs = [line.split(" ", 1) for line in lines]
        return [endpoint for methods, path in pairs for endpoint in _of_path(path, methods.split("|"))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "call by path: client.call('/embed', {...}), or give the client the app"
        raise ClientError(200, "NoListing", "the server does not list its endpoints at /", hint=hint) from None


def _of_path(path: str, methods: list[str]) -> list[Endpoint]:
    plain = path.strip("/")
    names = dict.fromkeys((plain, "".join(c if c.isalnum() else "_" for c in plain)))
    return [Endpoint(name, path, chosen(methods)) for name in names]


def chosen(methods: typing.Sequence[str]) -> str:
    """Choose the method for a call: POST if it can be, for its body has room."""
    return "POST" if not methods or "POST" in methods else methods[0]


def of_app(app: App) -> list[Endpoint]:
    """Give an app's endpoints, with the types that they return.

    Raises:
        TypeError: It is no app.
    """
    endpoints: Mapping[str, Any] | None = getattr(app, "endpoints", None)
    if not isinstance(endpoints, dict):
        msg = f"app={app!r:.60}: expected a hotloop.App"
        raise TypeError(msg)
    return [_typed(spec) for spec in endpoints.values()]


def _typed(spec: EndpointSpec) -> Endpoint:
    from hotloop.gpu_runtime.user_env import arrays, decode, hints
    from hotloop.gpu_runtime.user_env.annotations import Annotations

    hint = _one_result(spec, hints.strip(Annotations(spec.function, spec.signature).of_return()))
    try:
        build = None if hint is Any else decode.decoder(hint)
    except hints.UnknownType:
        build = None  # the endpoint may return what JSON can't say; its JSON is what the caller gets
    is_array = arrays.is_array_type(typing.get_origin(hint) or hint)
    return Endpoint(spec.name, spec.path, chosen(spec.methods), build, is_array and not spec.is_stream)


def _one_result(spec: EndpointSpec, hint: Any) -> Any:
    """What one caller gets: an item of the stream, one entry of a batch, or the result."""
    if not spec.is_stream and spec.batch is None:
        return hint
    arguments = typing.get_args(hint)
    entry = arguments[0] if arguments else Any
    if not spec.is_stream or spec.batch is None:
        return entry
    from hotloop.gpu_runtime.user_env.batch import item_of_step

    return item_of_step(entry)
