"""What can go wrong on the way to a host by SSH, and what to do about it. Does no I/O."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from hotloop.errors import DeniedError, RunnerError
from hotloop.remote_runner.ssh.known_hosts import Line, Verdict, fingerprint, type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.remote_runner.ssh.settings import HostSettings

_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}


def unreachable(settings: HostSettings, error: OSError) -> RunnerError:
    """Say why no connection came about."""
    shown, place = settings.target.shown, settings.place
    if isinstance(error, socket.gaierror):
        msg = f"{settings.host} is no host that this machine knows: {error.strerror}."
        return RunnerError(
            msg, hint=f"correct it, name it with hotloop runner add, or give it a HostName in ~/.ssh/config ({shown})"
        )
    if isinstance(error, ConnectionRefusedError):
        msg = f"{place} refuses connections: no SSH server listens there."
        return RunnerError(msg, hint="start sshd there, or name its port: ssh://user@host:port")
    if isinstance(error, TimeoutError):
        msg = f"{place} does not answer within {settings.connect_timeout_s:.0f} s."
        return RunnerError(msg, hint="is the machine up, and does a firewall or a VPN stand in between?")
    if error.errno in _NO_ROUTE:
        msg = f"No network leads to {place}: {error.strerror}."
        return RunnerError(msg, hint="connect to its network or VPN first")
    return RunnerError(
        f"{place} can't be reached: {error.strerror or error}.", hint=f"try: {settings.target.command()}"
    )


def jump_refused(via: HostSettings, settings: HostSettings, why: str) -> RunnerError:
    """Say that a host in between does not pass connections on."""
    msg = f"{via.target.shown} does not lead on to {settings.place}: {why}."
    hint = f"it needs AllowTcpForwarding yes in its sshd_config, and a route to {settings.host}"
    return RunnerError(msg, hint=hint)


def proxy_failed(settings: HostSettings, why: str) -> RunnerError:
    """Say that the command that was to make the connection did not."""
    msg = f"The ProxyCommand for {settings.target.shown} made no connection: {why}."
    return RunnerError(msg, hint=f"run it by hand: {settings.proxy_command}")


def no_conversation(settings: HostSettings, error: BaseException) -> RunnerError:
    """Say why host and client did not come to terms before any key was shown."""
    said = str(error)
    if "incompatible" in said.lower() or "no acceptable" in said.lower():
        msg = f"{settings.place} and hotloop have no algorithm in common: {said}"
        return RunnerError(msg, hint="update the SSH server there")
    if "protocol version" in said.lower() or "Invalid banner" in said:
        return RunnerError(
            f"{settings.place} is no SSH server: {said}.", hint="name its SSH port: ssh://user@host:port"
        )
    msg = f"{settings.place} closed the connection before it said who it is."
    return RunnerError(
        msg, hint="it may have too many connections (MaxStartups) or block this address: wait, then retry"
    )


def lost_in_authentication(settings: HostSettings, tried: Sequence[str], error: BaseException) -> RunnerError:
    """Say that the host hung up while keys were tried."""
    msg = f"{settings.place} closed the connection while {settings.user} logged in, after {_listed(tried)}: {error}"
    hint = "it allows few tries: name the one key with IdentityFile and set IdentitiesOnly yes in ~/.ssh/config"
    return RunnerError(msg.rstrip(".") + ".", hint=hint if len(tried) > 1 else "look at the SSH server's log there")


def not_let_in(settings: HostSettings, tried: Sequence[str], skipped: Sequence[str], allowed: str) -> DeniedError:
    """Say that no key was accepted.

    Args:
        settings: Of the host.
        tried: The keys that were shown to it.
        skipped: Keys that could not be used, with why.
        allowed: What the host would take.
    """
    who = f"{settings.user}@{settings.place}"
    about = f" Not used: {'; '.join(skipped)}." if skipped else ""
    msg = f"{who} does not accept {_listed(tried)} (it takes: {allowed or 'nothing'}).{about}"
    if locked := [each.split(" ", 1)[0] for each in skipped if "passphrase" in each]:
        return DeniedError(msg, hint=f"unlock the key first: ssh-add {locked[0]}")
    if not tried:
        return DeniedError(msg, hint="make a key with ssh-keygen, then: " + _copy_id(settings))
    return DeniedError(
        msg, hint=f"is {settings.user} the right user? have the key accepted there: {_copy_id(settings)}"
    )


def needs_more(settings: HostSettings, wanted: Sequence[str]) -> DeniedError:
    """Say that a key alone does not do."""
    msg = f"{settings.user}@{settings.place} wants more than a key: {', '.join(wanted)}."
    return DeniedError(msg, hint="hotloop logs in with keys: allow them alone for this user (AuthenticationMethods)")


def bad_key(settings: HostSettings, verdict: Verdict, line: Line | None, key: bytes) -> DeniedError:
    """Say why a host's key is not trusted."""
    shown = f"{type_of(key)} {fingerprint(key)}"
    place = settings.place
    if verdict is Verdict.CHANGED and line is not None:
        msg = f"The key of {place} has CHANGED: it shows {shown}, {line.place} has {line.key_type} {fingerprint(line.key)}."
        remove = f"ssh-keygen -f {line.file} -R '{settings.known_as}'"
        return DeniedError(msg, hint=f"someone may be in between; if the host was made anew: {remove}")
    if verdict is Verdict.REVOKED and line is not None:
        return DeniedError(
            f"The key of {place}, {shown}, is revoked by {line.place}.",
            hint="do not connect; ask whoever runs that host",
        )
    if verdict is Verdict.ONLY_CERTIFIED and line is not None:
        msg = f"{place} is known only through a certificate authority ({line.place}), which hotloop does not check."
        return DeniedError(msg, hint=f"add its own key, {shown}: ssh-keyscan -p {settings.port} {settings.host}")
    msg = f"The key of {place} is not known: {shown}."
    hint = f"compare that with the host's own (ssh-keygen -lf), then accept it by: {settings.target.command('true')}"
    return DeniedError(msg, hint=hint)


def declined(settings: HostSettings) -> DeniedError:
    """Say that the user did not accept a key."""
    return DeniedError(f"The key of {settings.place} was not accepted.", hint="nothing was sent to it")


def lost(name: str) -> RunnerError:
    """Say that a connection broke."""
    return RunnerError(f"The connection to {name} was lost.", hint="look at the network, then start again")


def no_command(name: str, why: str) -> RunnerError:
    """Say that a host that let us in runs no command."""
    msg = f"{name} refuses to run commands: {why}."
    return RunnerError(msg, hint="look at MaxSessions, ForceCommand and the user's shell there")


def _listed(tried: Sequence[str]) -> str:
    return ", ".join(tried) if tried else "no key: none was found here"


def _copy_id(settings: HostSettings) -> str:
    return settings.target.command().replace("ssh ", "ssh-copy-id ", 1)
