# pyright: basic
# The arguments are whatever the user calls an endpoint with.
"""A call from its name to its answer, as steps that somebody else carries out: what both clients have in common.

`steps` is a generator. It yields an `Exchange` and is sent what was heard, or a `ClientError` is thrown into it; it
yields a `Pause`, after which it goes on. What it returns is the answer of the endpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.client import address, endpoints, request, retry
from hotloop.gpu_runtime.user_env.client.address import Address
from hotloop.gpu_runtime.user_env.client.connection import TIMEOUT_S
from hotloop.gpu_runtime.user_env.client.endpoints import Catalog, Endpoint
from hotloop.gpu_runtime.user_env.client.failure import ClientError, refused

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.app import App

DEADLINE_HEADER = "x-hotloop-deadline-ms"
_LISTING = Endpoint("/", "/", "GET")


@dataclass(frozen=True, slots=True)
class Options:
    """How calls are made.

    Attributes:
        timeout_s: The longest silence of the server.
        deadline_s: How long a call may take, repetitions included. None: no limit but the silence.
        retries: How often a call is sent again.
        is_idempotent: Whether calls may run twice, so that one which may have run is sent again, too.
        headers: Lines for each request.
    """

    timeout_s: float = TIMEOUT_S
    deadline_s: float | None = None
    retries: retry.Retries = retry.DEFAULT
    is_idempotent: bool = False
    headers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("timeout_s", self.timeout_s), ("deadline_s", self.deadline_s)):
            if value is not None and not 0 < value <= 1e6:
                msg = f"{name}={value!r}: expected seconds, more than 0"
                raise ValueError(msg)

    def changed(self, *, timeout_s: float | None, deadline_s: float | None, idempotent: bool | None) -> Options:
        """Give the options of one call: what is None stays."""
        given = {"timeout_s": timeout_s, "deadline_s": deadline_s, "is_idempotent": idempotent}
        changed = {key: value for key, value in given.items() if value is not None}
        return replace(self, **changed) if changed else self


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a request and wait for its answer.

    Attributes:
        data: The whole request.
        give_up_at_s: The moment of the deadline, by the clock; infinite if there is none.
    """

    data: bytes
    timeout_s: float
    give_up_at_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer.

    Attributes:
        headers: Names in lower case.
        body: All of it; of a stream, empty.
        stream: Gives the stream's items; None if it is none.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    stream: Any = None


@dataclass(frozen=True, slots=True)
class Called:
    """What a call came to."""

    endpoint: Endpoint
    heard: Heard


Steps = Generator[Exchange | Pause, Any, Called]


@dataclass(frozen=True, slots=True)
class Calling:
    """Makes the steps of calls to one server.

    Attributes:
        clock: Gives seconds, monotonic.
        chance: Gives a random number from 0 up to 1.
    """

    address: Address
    catalog: Catalog
    clock: Callable[[], float]
    chance: Callable[[], float]

    def check_attribute(self, client: object, name: str) -> None:
        """See whether a client's attribute can be an endpoint.

        Raises:
            AttributeError: It can't.
        """
        if name.startswith("_"):
            msg = f"{type(client).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        if self.catalog.is_fixed and self.catalog.find(name) is None:
            msg = f"the app has no endpoint {name!r}; it has: {self.catalog.known()}"
            raise AttributeError(msg)

    def steps(self, name: str, arguments: Mapping[str, Any], options: Options) -> Steps:
        """Call an endpoint.

        Raises:
            ClientError: It gave no result.
            TypeError: An argument can't be sent.
        """
        give_up_at_s = math.inf if options.deadline_s is None else self.clock() + options.deadline_s
        endpoint = self.catalog.find(name)
        if endpoint is None:
            endpoint = yield from self._look_up(name, options, give_up_at_s)
        content = request.encode(endpoint.method, arguments, can_be_raw=self.catalog.can_be_raw(endpoint))
        try:
            heard = yield from self._repeat(endpoint, content, options, give_up_at_s)
        except ClientError as error:
            if error.status != 415 or not content.is_raw:
                raise
            self.catalog.takes_json_only(endpoint)
            content = request.encode(endpoint.method, arguments, can_be_raw=False)
            heard = yield from self._repeat(endpoint, content, options, give_up_at_s)
        return Called(endpoint, heard)

    def _look_up(self, name: str, options: Options, give_up_at_s: float) -> Generator[Exchange | Pause, Any, Endpoint]:
        """Ask the server what it serves: a reload may have brought the endpoint since."""
        if not self.catalog.is_fixed:
            heard = yield from self._repeat(_LISTING, request.Content("", "", b""), options, give_up_at_s)
            self.catalog.replace(endpoints.listed(heard.body))
            found = self.catalog.find(name)
            if found is not None:
                return found
        message = f"{self.address.url} has no endpoint {name!r}"
        raise ClientError(0, "NoEndpoint", message, hint=f"it has: {self.catalog.known()}")

    def _repeat(
        self, endpoint: Endpoint, content: request.Content, options: Options, give_up_at_s: float
    ) -> Generator[Exchange | Pause, Any, Heard]:
        """Send a request, again if it may be, until it has an answer."""
        num_sent = 0
        is_idempotent = options.is_idempotent or endpoint.method == "GET"
        while True:
            num_sent += 1
            try:
                return self._checked((yield self._exchange(endpoint, content, options, give_up_at_s)))
            except ClientError as error:
                remaining_s = min(give_up_at_s - self.clock(), options.timeout_s)
                pause_s = retry.pause_s(
                    options.retries, error, num_sent, remaining_s, self.chance(), is_idempotent=is_idempotent
                )
                if pause_s is None:
                    raise
            yield Pause(pause_s)

    def _checked(self, heard: Heard) -> Heard:
        if 200 <= heard.status < 300:
            return heard
        raise refused(heard.status, heard.headers, heard.body)

    def _exchange(
        self, endpoint: Endpoint, content: request.Content, options: Options, give_up_at_s: float
    ) -> Exchange:
        accept = request.ACCEPT_ARRAY if endpoint.returns_array else request.ACCEPT
        headers = [f"accept: {accept}", *options.headers]
        if give_up_at_s != math.inf:
            remaining_ms = int((give_up_at_s - self.clock()) * 1000)
            if remaining_ms <= 0:
                raise deadline_passed(options.deadline_s or 0)
            headers.append(f"{DEADLINE_HEADER}: {remaining_ms}")
        data = request.write(self.address, endpoint.method, endpoint.path, content, headers)
        return Exchange(data, options.timeout_s, give_up_at_s)


def calling_to(url: str, app: App | None) -> Calling:
    """Prepare calls to a server.

    Raises:
        ValueError: The address is none.
        TypeError: The app is none.
    """
    return Calling(
        address.parse(url), Catalog(None if app is None else endpoints.of_app(app)), time.monotonic, retry.chance
    )


def deadline_passed(deadline_s: float) -> ClientError:
    """Say that a call was given up before it was sent."""
    return ClientError(0, "DeadlinePassed", f"the call was not done in {deadline_s:g} s", may_have_run=True)
