"""What the first part of a request must be like, before any of its body is taken. Knows no socket and no parser."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote

from hotloop.gpu_runtime.limits import Limits, RefusedError

Fields = list[tuple[bytes, bytes]]  # names in lower case

_MIN_HEAD_BYTES = len("  HTTP/1.1\r\n\r\n")
_VERSIONS = frozenset({"1.1", "1.0"})
# A name or an address, and a port: RFC 3986's authority without the user's part.
_AUTHORITY = rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?"
_HOST = re.compile(_AUTHORITY)
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^@/?#]*@)?" + _AUTHORITY + rb"(?:[/?#].*)?", re.DOTALL)
MAX_HOST_BYTES = 300  # a name has 253 at most
_HOST_HINT = "Send it once, such as Host: localhost:8000."


def check_head(method: bytes, target: bytes, version: str, headers: Fields, limits: Limits) -> bool:
    """Refuse what can be refused before the body comes.

    Returns:
        Whether the client waits for ``100 Continue``.

    Raises:
        RefusedError: The request is not handed on.
    """
    if version not in _VERSIONS:
        raise _wrong_version(version)
    num_bytes = len(method) + len(target) + _MIN_HEAD_BYTES
    num_hosts, owes_continue = 0, False
    for name, value in headers:
        num_bytes += len(name) + len(value) + 4
        check = _CHECKS.get(name)
        if check is not None:
            check(value, version, limits)
            num_hosts += name == b"host"
            owes_continue |= name == b"expect"
    if num_bytes > limits.max_head_bytes:
        raise head_too_large(limits)
    if num_hosts != 1 and (num_hosts or version == "1.1"):
        msg = f"A request has one Host header, this one has {num_hosts}."
        raise RefusedError(400, msg, _HOST_HINT)
    if not target.startswith(b"/"):
        _check_target(method, target)
    return owes_continue and version != "1.0"  # which knows no answer before the answer


def check_body_size(size: int, limits: Limits) -> None:
    """Refuse a body that is too large."""
    if size > limits.max_body_bytes:
        msg = f"The request's body is larger than {limits.max_body_bytes} bytes."
        raise RefusedError(413, msg, "Send it in parts.")


def head_too_large(limits: Limits) -> RefusedError:
    """Say that the headers are."""
    return RefusedError(431, f"The request's headers are larger than {limits.max_head_bytes} bytes.")


def split_target(target: bytes) -> tuple[str, str]:
    """Split a request's target into its decoded path and its query as sent."""
    text = target.decode("utf-8", "replace")
    if not text.startswith("/") and "://" in text:
        text = _from_absolute(text)
    path, _, query = text.partition("#")[0].partition("?")
    return (unquote(path) if "%" in path else path), query


def _from_absolute(text: str) -> str:
    """Take the scheme and the authority off: what is left begins with a slash or is only a query."""
    rest = text.split("://", 1)[1]
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    return rest[end:] if rest[end : end + 1] == "/" else f"/{rest[end:]}"


def _wrong_version(version: str) -> RefusedError:
    if version == "0.9":  # what the parser makes of a request line that names none
        return RefusedError(400, "The request line names no version of HTTP, or 0.9.", "Send HTTP/1.1.")
    return RefusedError(505, f"The server speaks HTTP/1.1, not HTTP/{version}.")


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _check_host(value: bytes, _: str, __: Limits) -> None:
    if len(value) > MAX_HOST_BYTES or not _is_host(value):
        msg = f"Host is {_shown(value)}, which is no name and port."
        raise RefusedError(400, msg, _HOST_HINT)


def _check_length(value: bytes, _: str, limits: Limits) -> None:
    check_body_size(int(value), limits)


def _check_framing(_: bytes, version: str, __: Limits) -> None:
    if version == "1.0":  # RFC 9112, 6.1: whoever forwarded it may have cut it elsewhere
        msg = "HTTP/1.0 has no Transfer-Encoding."
        raise RefusedError(400, msg, "Send HTTP/1.1, or Content-Length.")


def _check_expectation(value: bytes, _: str, __: Limits) -> None:
    if value.lower() != b"100-continue":
        msg = f"The server can't do what is expected: {_shown(value)}."
        raise RefusedError(417, msg)


def _check_encoding(value: bytes, _: str, __: Limits) -> None:
    """Refuse a compressed body: a few bytes of it may stand for gigabytes."""
    if value.strip().lower() not in {b"", b"identity"}:
        msg = f"The request's body has Content-Encoding {_shown(value)}, which is not taken."
        raise RefusedError(415, msg, "Send it as it is, without Content-Encoding.")


def _check_target(method: bytes, target: bytes) -> None:
    """Take the forms of a target that are no path: each belongs to some methods only."""
    is_known = method == b"OPTIONS" if target == b"*" else method == b"CONNECT" or _ABSOLUTE.fullmatch(target)
    if not is_known:
        msg = f"The target {_shown(target)} is none for {method.decode('latin-1')}: expected a path."
        raise RefusedError(400, msg)


def _shown(value: bytes) -> str:
    return repr(value[:40].decode("latin-1"))


_CHECKS: dict[bytes, Callable[[bytes, str, Limits], None]] = {
    b"host": _check_host,
    b"content-length": _check_length,
    b"transfer-encoding": _check_framing,
    b"expect": _check_expectation,
    b"content-encoding": _check_encoding,
}
