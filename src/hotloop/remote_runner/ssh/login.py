# pyright: basic
"""Log in as ssh does: the agent's keys, then the identities, then what the person at the terminal knows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotloop.errors import DeniedError, RunnerError

if TYPE_CHECKING:
    from paramiko import PKey, Transport

    from hotloop.remote_runner.ssh.connect import Asker
    from hotloop.remote_runner.ssh.settings import Settings

AUTH_TIMEOUT_S = 20.0
PASSPHRASE_TRIES = 3


class _Attempts:
    """What was tried, for the message when all of it failed, and what the host said that it takes."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.locked: list[Path] = []
        self.unreadable: list[str] = []
        self.allowed: tuple[str, ...] = ()


def log_in(transport: Transport, settings: Settings, asker: Asker | None) -> None:
    """Authenticate a connection.

    Raises:
        DeniedError: The host takes nothing of what there is.
        RunnerError: The connection broke.
    """
    import paramiko

    transport.auth_timeout = AUTH_TIMEOUT_S
    attempts = _Attempts()
    try:
        for name, key in _keys(settings, asker, attempts):
            attempts.tried.append(name)
            if _try_key(transport, settings, key, attempts):
                return
        if asker is not None and _try_password(transport, settings, asker, attempts):
            return
    except (paramiko.SSHException, EOFError, OSError) as error:
        if "too many authentication failures" in str(error).lower() or attempts.tried:
            raise _denied(settings, attempts, str(error)) from error
        msg = f"{settings.host}:{settings.port} ended the connection during the login: {error or 'no reason was given'}"
        raise RunnerError(msg, hint=f"try: ssh {settings.alias}") from error
    raise _denied(settings, attempts)


def _try_key(transport: Transport, settings: Settings, key: PKey, attempts: _Attempts) -> bool:
    import paramiko

    try:
        rest = transport.auth_publickey(settings.user, key)
    except paramiko.BadAuthenticationType as error:
        attempts.allowed = tuple(error.allowed_types)
        return False
    except paramiko.AuthenticationException:
        if not transport.is_active():  # it counts failures, and had enough
            raise
        return False
    if rest:
        msg = f"{settings.alias} asks for {' and '.join(rest)} besides a key, which hotloop can't give."
        raise DeniedError(msg, hint="let its sshd take a key alone (AuthenticationMethods publickey)")
    return True


def _try_password(transport: Transport, settings: Settings, asker: Asker, attempts: _Attempts) -> bool:
    import paramiko

    with contextlib.suppress(paramiko.AuthenticationException):  # says what is allowed, or lets anybody in
        try:
            transport.auth_none(settings.user)
        except paramiko.BadAuthenticationType as error:
            attempts.allowed = tuple(error.allowed_types)
        else:
            return True
    if not {"password", "keyboard-interactive"} & set(attempts.allowed):
        return False
    password = asker.secret(f"password of {settings.user}@{settings.host}: ")
    if not password:
        return False
    attempts.tried.append("the password")
    try:
        return not transport.auth_password(settings.user, password)
    except paramiko.AuthenticationException:
        return False


# --- keys -------------------------------------------------------------------------------------------------------------


def _keys(settings: Settings, asker: Asker | None, attempts: _Attempts) -> Iterator[tuple[str, PKey]]:
    """The keys to try, in order. One that is encrypted is asked for only when those before it failed."""
    offered = _agent_keys()
    wanted = {public for path in settings.identities if (public := _public_bytes(path))}
    for key in offered:
        if not settings.is_only_identities or key.asbytes() in wanted:
            yield f"{key.comment or key.get_name()} of the agent", key
    of_agent = {key.asbytes() for key in offered}
    locked: list[Path] = []
    for path in settings.identities:
        if not path.exists() or _public_bytes(path) in of_agent:
            continue
        key = _load(path, None, attempts)
        if key is _LOCKED:
            locked.append(path)
        elif key is not None:
            yield str(path), key
    for path in locked:
        key = _unlock(path, asker, attempts)
        if key is not None:
            yield str(path), key


_LOCKED: Any = object()


def _agent_keys() -> list[Any]:
    import paramiko

    try:
        return list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError):
        return []


def _public_bytes(path: Path) -> bytes | None:
    import base64
    import binascii

    try:
        return base64.b64decode(path.with_name(path.name + ".pub").read_text().split()[1])
    except (OSError, IndexError, ValueError, binascii.Error):
        return None


def _load(path: Path, passphrase: str | None, attempts: _Attempts) -> Any:
    import paramiko

    try:
        key = paramiko.PKey.from_path(path, passphrase)
    except paramiko.PasswordRequiredException:
        return _LOCKED
    except (paramiko.SSHException, ValueError, TypeError, OSError) as error:
        if "encrypted" in str(error).lower() or "password" in str(error).lower():
            return _LOCKED
        attempts.unreadable.append(f"{path}: {error}")
        return None
    certificate = path.with_name(path.name + "-cert.pub")
    if certificate.exists():
        with contextlib.suppress(ValueError, paramiko.SSHException, OSError):
            key.load_certificate(str(certificate))
    return key


def _unlock(path: Path, asker: Asker | None, attempts: _Attempts) -> PKey | None:
    for _ in range(PASSPHRASE_TRIES if asker is not None else 0):
        assert asker is not None  # noqa: S101
        passphrase = asker.secret(f"passphrase of {path}: ")
        if not passphrase:
            break
        key = _load(path, passphrase, attempts)
        if key is not _LOCKED:
            return key
    attempts.locked.append(path)
    return None


def _denied(settings: Settings, attempts: _Attempts, said: str = "") -> DeniedError:
    tried = ", ".join(attempts.tried) or "no key"
    msg = f"{settings.host} does not let {settings.user} in. Tried: {tried}."
    if "too many authentication failures" in said.lower():
        return DeniedError(
            msg, hint="it stops after a few keys: name the right one with IdentityFile and IdentitiesOnly yes"
        )
    if attempts.locked:
        return DeniedError(msg, hint=f"{attempts.locked[0]} has a passphrase: ssh-add {attempts.locked[0]}")
    if attempts.unreadable:
        return DeniedError(msg, hint=f"a key can't be read: {attempts.unreadable[0]}")
    return DeniedError(
        msg, hint=f"see that this works: ssh {settings.alias}; to bring your key there: ssh-copy-id {settings.alias}"
    )
