# pyright: basic
"""Connect to a host: through jumps, with its key checked, as a user it knows. Basic type checks: paramiko has no types."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotloop.errors import DeniedError, RunnerError
from hotloop.remote_runner.ssh import known_hosts
from hotloop.remote_runner.ssh.host import SshHost
from hotloop.remote_runner.ssh.known_hosts import Verdict
from hotloop.remote_runner.ssh.login import log_in
from hotloop.remote_runner.ssh.settings import Settings, SshTarget, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramiko import Transport

MAX_JUMPS = 8
NEGOTIATION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Asker:
    """The person at the terminal. Without one, whatever has to be asked fails.

    Attributes:
        confirm: Asks a question; whether the answer is yes.
        secret: Asks for a passphrase or password; None if there is none.
    """

    confirm: Callable[[str], bool]
    secret: Callable[[str], str | None]


async def connect(target: SshTarget, name: str, asker: Asker | None = None) -> SshHost:
    """Connect and log in.

    Args:
        target: Where to.
        name: The runner's, as shown to people.
        asker: Who may be asked.

    Raises:
        DeniedError: It does not let us in, or is not who it was: trying again does not help.
        RunnerError: It can't be reached.
    """
    return await asyncio.to_thread(_connect, target, name, asker)


def _connect(target: SshTarget, name: str, asker: Asker | None) -> SshHost:
    transport, below = _reach(resolve(target), asker, 0)
    return SshHost(name, transport, below)


def _reach(settings: Settings, asker: Asker | None, depth: int) -> tuple[Transport, tuple[Any, ...]]:
    """Connect and log in; gives the connection, and what lies below it, nearest first."""
    sock, below = _open_socket(settings, asker, depth)
    try:
        transport = _negotiate(sock, settings)
        below = (sock, *below)
        try:
            _check_key(transport, settings, asker)
            log_in(transport, settings, asker)
        except BaseException:
            transport.close()
            raise
    except BaseException:
        for each in (sock, *below):
            with contextlib.suppress(OSError, EOFError):
                each.close()
        raise
    return transport, below


# --- the socket -------------------------------------------------------------------------------------------------------


def _open_socket(settings: Settings, asker: Asker | None, depth: int) -> tuple[Any, tuple[Any, ...]]:
    if settings.jumps:
        return _through_jumps(settings, asker, depth)
    if settings.proxy_command:
        import paramiko

        try:
            return paramiko.ProxyCommand(settings.proxy_command), ()
        except OSError as error:
            msg = f"The ProxyCommand of {settings.alias} does not start: {error}"
            raise RunnerError(msg, hint=f"try it in a shell: {settings.proxy_command}") from error
    return _open_tcp(settings), ()


def _through_jumps(settings: Settings, asker: Asker | None, depth: int) -> tuple[Any, tuple[Any, ...]]:
    import paramiko

    if depth >= MAX_JUMPS:
        msg = f"{settings.alias} is reached through more than {MAX_JUMPS} other hosts."
        raise RunnerError(msg, hint="look for a ProxyJump that leads to itself in ~/.ssh/config")
    *before, last = settings.jumps
    hop = resolve(last)
    if before:  # a list of jumps is one for the last of them
        hop = Settings(**{**{name: getattr(hop, name) for name in hop.__slots__}, "jumps": tuple(before)})
    transport, below = _reach(hop, asker, depth + 1)
    try:
        channel = transport.open_channel(
            "direct-tcpip", (settings.host, settings.port), ("127.0.0.1", 0), timeout=settings.connect_timeout_s
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        msg = f"{hop.alias} does not connect to {settings.host}:{settings.port}: {error}"
        hint = f"its sshd must allow forwarding (AllowTcpForwarding), and reach the port: try ssh {hop.alias}"
        raise RunnerError(msg, hint=hint) from error
    return channel, (transport, *below)


def _open_tcp(settings: Settings) -> socket.socket:
    where = f"{settings.host}:{settings.port}"
    try:
        sock = socket.create_connection((settings.host, settings.port), timeout=settings.connect_timeout_s)
    except socket.gaierror as error:
        msg = f"There is no host called {settings.host!r}: {error.strerror}"
        raise RunnerError(msg, hint="look at its spelling, at ~/.ssh/config and at the network") from error
    except TimeoutError as error:
        msg = f"{where} did not answer within {settings.connect_timeout_s:.0f} s."
        raise RunnerError(msg, hint="is it on, and does a firewall or a VPN stand between?") from error
    except ConnectionRefusedError as error:
        msg = f"{where} refuses connections."
        raise RunnerError(msg, hint="is sshd running there, and is that its port?") from error
    except OSError as error:
        far = error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
        msg = f"{where} can't be reached: {error.strerror or error}"
        raise RunnerError(msg, hint="look at the network or the VPN" if far else "") from error
    # paramiko leaves Nagle's algorithm on: a second message would wait for the first one's acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


# --- who the host is --------------------------------------------------------------------------------------------------


def _negotiate(sock: Any, settings: Settings) -> Transport:
    import paramiko

    transport = paramiko.Transport(sock)
    options = transport.get_security_options()
    known = known_hosts.known_types(known_hosts.read(settings.known_hosts), settings.key_name)
    offered = list(options.key_types)
    options.key_types = [*(name for name in known if name in offered), *(name for name in offered if name not in known)]
    try:
        transport.start_client(timeout=NEGOTIATION_TIMEOUT_S)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise _negotiation_failure(settings, error) from error
    return transport


def _negotiation_failure(settings: Settings, error: Exception) -> RunnerError:
    where = f"{settings.host}:{settings.port}"
    text = str(error) or "the connection was closed"
    if "banner" in text.lower() or isinstance(error, EOFError | ConnectionError):
        msg = f"{where} closed the connection before it said who it is."
        hint = "no SSH server may listen there, or it has too many connections (MaxStartups), or it bars this address"
        return RunnerError(msg, hint=hint)
    msg = f"{where} and this machine have no way to speak in common: {text}"
    return RunnerError(msg, hint="an old sshd there? ssh -v says what it offers")


def _check_key(transport: Transport, settings: Settings, asker: Asker | None) -> None:
    key = transport.get_remote_server_key()
    data, kind = key.asbytes(), key.get_name()
    found = known_hosts.judge(known_hosts.read(settings.known_hosts), settings.key_name, kind, data)
    shown = known_hosts.fingerprint(data)
    line = f"{found.line.file}:{found.line.number}" if found.line else ""
    match found.verdict:
        case Verdict.KNOWN:
            return
        case Verdict.UNKNOWN:
            _meet(settings, kind, data, asker)
        case Verdict.CHANGED:
            msg = f"{settings.key_name} shows another host key than before ({kind} {shown}; {line} has the old one)."
            hint = (
                "somebody may stand between. If the host was set up anew, ask its owner for the fingerprint, then: "
                f"ssh-keygen -R '{settings.key_name}'"
            )
            raise DeniedError(msg, hint=hint)
        case Verdict.REVOKED:
            msg = f"{settings.key_name} shows a host key that is revoked ({kind} {shown}; {line})."
            raise DeniedError(msg, hint="do not connect; ask its owner")
        case Verdict.NEEDS_CA:
            msg = f"{settings.key_name} is known by its authority alone ({line}), which hotloop can't check."
            hint = f"compare {shown} with its owner's, then write its key to known_hosts: ssh-keyscan {settings.host}"
            raise DeniedError(msg, hint=hint)


def _meet(settings: Settings, kind: str, data: bytes, asker: Asker | None) -> None:
    shown = known_hosts.fingerprint(data)
    if asker is None or not settings.known_hosts:
        msg = f"{settings.key_name} is not known yet ({kind} {shown})."
        raise DeniedError(msg, hint=f"connect to it once from a terminal: ssh {settings.alias}")
    question = f"{settings.key_name} is not known yet. Its key is {kind} {shown}. Is that its own?"
    if not asker.confirm(question):
        msg = f"{settings.key_name} is not known, and was not confirmed."
        raise DeniedError(msg, hint="ask its owner for the fingerprint")
    known_hosts.remember(settings.known_hosts[0], settings.key_name, kind, data)
