"""Where a server is: its URL taken apart, and the proxy on the way, if there is one."""

from __future__ import annotations

import os
from urllib.parse import SplitResult, urlsplit

from hotloop.frozen import frozen

_PORTS = {"http": 80, "https": 443}


@frozen
class Proxy:
    """An HTTP proxy from the environment.

    Attributes:
        authorization: The value of Proxy-Authorization, or an empty string.
    """

    host: str
    port: int
    authorization: str = ""


@frozen
class Address:
    """A server.

    Attributes:
        url: As people write it, without a slash at its end.
        host: A name or address, without brackets.
        prefix: What comes before each path, such as ``/models``; usually empty.
        authority: Host and port as the Host header says them.
        proxy: None: the connection is direct.
    """

    url: str
    host: str
    port: int
    prefix: str
    authority: str
    is_tls: bool
    proxy: Proxy | None

    def target(self, path: str) -> str:
        """Write a path as the request line has it: through a proxy, and without TLS, the whole URL."""
        if self.proxy is not None and not self.is_tls:
            return f"http://{self.authority}{self.prefix}{path}"
        return f"{self.prefix}{path}"


def parse(url: str) -> Address:
    """Take a server's URL apart.

    Raises:
        ValueError: It is no URL of a server.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(_expected(url, str(error))) from None
    if parts.scheme not in _PORTS or not host or any(c <= " " for c in url):
        raise ValueError(_expected(url))
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(_expected(url, "it holds a query, a fragment or a password; a key belongs into headers="))
    return _address(parts, host, port or _PORTS[parts.scheme])


def _address(parts: SplitResult, host: str, port: int) -> Address:
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    prefix = parts.path.rstrip("/")
    url = f"{parts.scheme}://{authority}{prefix}"
    proxy = None if is_loopback(host) else _proxy_for(parts.scheme, host, port)
    return Address(url, host, port, prefix, authority, parts.scheme == "https", proxy)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: no proxy can reach it."""
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or host.startswith("127.")


def _expected(url: str, why: str = "") -> str:
    more = f": {why}" if why else ""
    return f"{url!r} is no address of a server, one such as http://127.0.0.1:8000 was expected{more}"


def _proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # spares the import of urllib.request, which is slow
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    given = proxies.get(scheme) or proxies.get("all")
    if not given or proxy_bypass(f"{host}:{port}"):
        return None
    return _parsed_proxy(scheme, given)


def _parsed_proxy(scheme: str, given: str) -> Proxy:
    parts = urlsplit(given if "://" in given else f"http://{given}")
    if parts.scheme != "http" or not parts.hostname:
        msg = f"the environment's {scheme}_proxy is {given!r}, an address such as http://proxy:3128 was expected"
        raise ValueError(msg)
    return Proxy(parts.hostname, parts.port or 80, _authorization(parts))


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    from base64 import b64encode
    from urllib.parse import unquote

    secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(secret.encode()).decode('ascii')}"
