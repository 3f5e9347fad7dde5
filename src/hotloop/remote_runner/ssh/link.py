# pyright: basic
"""One SSH connection, through other hosts if need be: connect, check the host's key, log in.

All of it blocks; `host.py` runs it in threads. Basic type checks: paramiko has no types.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from hotloop.errors import RunnerError, UsageError
from hotloop.remote_runner.ssh import failures, identities, known_hosts
from hotloop.remote_runner.ssh.known_hosts import Verdict
from hotloop.remote_runner.ssh.questions import Nobody, Questions
from hotloop.remote_runner.ssh.settings import HostSettings, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramiko import Transport

    from hotloop.remote_runner.ssh.target import SshTarget

    Note = Callable[[str, str], None]

HANDSHAKE_TIMEOUT_S = 15.0
AUTHENTICATION_TIMEOUT_S = 90.0  # a key may wait for a finger
JUMP_TIMEOUT_S = 15.0
MAX_JUMPS = 8


def not_noted(step: str, text: str) -> None:
    """Tell nobody of a step."""
    del step, text


class Link:
    """A connection, also while it is being made: closing it ends the attempt."""

    def __init__(self) -> None:
        self.transport: Transport = None  # type: ignore[assignment]  # until it is open
        self.settings: HostSettings = None  # type: ignore[assignment]
        self._closers: list[Callable[[], object]] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def hold(self, closer: Callable[[], object]) -> None:
        """Have something closed with the connection.

        Raises:
            ConnectionAbortedError: It is closed already, and so is this.
        """
        with self._lock:
            if not self._is_closed:
                self._closers.append(closer)
                return
        closer()
        raise ConnectionAbortedError

    def close(self) -> None:
        """Close it, the last that was opened first. May be called twice, and from any thread."""
        with self._lock:
            self._is_closed = True
            closers, self._closers = self._closers[::-1], []
        for closer in closers:
            with contextlib.suppress(Exception):  # what is broken is as good as closed
                closer()


class Connector:
    """Makes connections to one host. What was asked once is known to the next one."""

    def __init__(
        self,
        target: SshTarget,
        *,
        config: Path | None = None,
        questions: Questions | None = None,
        note: Note = not_noted,
    ) -> None:
        """Prepare; nothing is read or connected.

        Args:
            target: Where to.
            config: As for `settings.resolve`.
            questions: Whoever may accept a key or know a passphrase; None for nobody.
            note: Is told of each step that was done: its name, and what was found.
        """
        self._target = target
        self._config = config
        self._questions = questions or Nobody()
        self._note = note
        self._unlocked = identities.Unlocked()
        self._asking = threading.Lock()

    def open(self, link: Link) -> None:
        """Connect. Blocks.

        Raises:
            RunnerError: It is not possible; says why and what to do.
            UsageError: The configuration is wrong.
        """
        logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else it writes to the terminal
        link.settings = resolve(self._target, self._config)
        try:
            link.transport = self._reach(link.settings, link, 0)
        except ConnectionAbortedError:
            msg = "The connection was given up."
            raise RunnerError(msg) from None
        except BaseException:
            link.close()
            raise

    def _reach(self, settings: HostSettings, link: Link, num_jumps: int) -> Transport:
        """Connect to a host by the way that its own settings name."""
        if num_jumps > MAX_JUMPS:
            msg = f"The ProxyJump of {settings.target.shown} goes in a circle."
            raise UsageError(msg, hint="correct ~/.ssh/config: the host to jump through needs ProxyJump none")
        via: Transport | None = None
        before = settings
        for jump in settings.jumps:
            hop = resolve(jump, self._config)
            if via is None:
                via = self._reach(hop, link, num_jumps + 1)
            else:
                via = self._secure(hop, self._through(via, before, hop), link)
            before = hop
        if via is not None:
            return self._secure(settings, self._through(via, before, settings), link)
        if settings.proxy_command:
            return self._secure(settings, self._by_command(settings, link), link)
        return self._secure(settings, self._by_tcp(settings), link)

    def _by_tcp(self, settings: HostSettings) -> socket.socket:
        began_s = time.monotonic()
        try:
            found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            known = error if isinstance(error, OSError) else socket.gaierror(0, str(error))
            raise failures.unreachable(settings, known) from error
        self._note("name", f"{settings.target.shown} is {found[0][4][0]} port {settings.port}")
        failure = OSError()
        for family, kind, protocol, _, address in found:
            opened = socket.socket(family, kind, protocol)
            opened.settimeout(settings.connect_timeout_s)
            try:
                opened.connect(address)
            except OSError as error:
                opened.close()
                failure = error
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paramiko leaves it off: 35 ms an edit
            self._note("tcp", f"connected in {(time.monotonic() - began_s) * 1000:.1f} ms")
            return opened
        raise failures.unreachable(settings, failure) from failure

    def _by_command(self, settings: HostSettings, link: Link) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {settings.proxy_command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,
            )
        except OSError as error:
            raise failures.proxy_failed(settings, str(error)) from error
        finally:
            theirs.close()

        def end() -> None:
            process.terminate()
            threading.Thread(target=process.wait, daemon=True).start()

        link.hold(end)
        self._note("tcp", f"by ProxyCommand {settings.proxy_command}")
        return ours

    @staticmethod
    def _through(via: Transport, jump: HostSettings, settings: HostSettings) -> Any:
        import paramiko

        try:
            return via.open_channel(
                "direct-tcpip", (settings.host, settings.port), ("127.0.0.1", 0), timeout=JUMP_TIMEOUT_S
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            why = error.text if isinstance(error, paramiko.ChannelException) else str(error)
            raise failures.jump_refused(jump, settings, why) from error

    def _secure(self, settings: HostSettings, connection: Any, link: Link) -> Transport:
        import paramiko

        link.hold(connection.close)
        lines = known_hosts.read([*settings.user_known_hosts, *settings.global_known_hosts])
        try:
            transport = _transport(connection)
            link.hold(transport.close)
            options = transport.get_security_options()
            options.key_types = known_hosts.algorithms_first(lines, _names(settings), options.key_types)
            transport.banner_timeout = HANDSHAKE_TIMEOUT_S
            transport.auth_timeout = AUTHENTICATION_TIMEOUT_S
            transport.start_client(timeout=HANDSHAKE_TIMEOUT_S)
            key = transport.get_remote_server_key().asbytes()
        except ConnectionAbortedError:
            raise
        except (paramiko.SSHException, OSError, EOFError) as error:
            if settings.proxy_command:
                raise failures.proxy_failed(settings, str(error)) from error
            raise failures.no_conversation(settings, error) from error
        self._check_key(settings, lines, key)
        self._log_in(settings, transport)
        return transport

    def _check_key(self, settings: HostSettings, lines: list[known_hosts.Line], key: bytes) -> None:
        shown = f"{known_hosts.type_of(key)} {known_hosts.fingerprint(key)}"
        verdict, line = self._judge(settings, lines, key)
        if verdict is Verdict.UNKNOWN and settings.is_asking:
            with self._asking:  # another connection may have asked meanwhile
                verdict, line = self._judge(settings, known_hosts.read(settings.user_known_hosts), key)
                if verdict is Verdict.UNKNOWN:
                    self._ask(settings, shown, key)
                    return
        if verdict is not Verdict.KNOWN:
            raise failures.bad_key(settings, verdict, line, key)
        self._note("host key", f"{shown}, as in {line.place if line else 'known_hosts'}")

    @staticmethod
    def _judge(
        settings: HostSettings, lines: list[known_hosts.Line], key: bytes
    ) -> tuple[Verdict, known_hosts.Line | None]:
        name, *others = _names(settings)
        return known_hosts.judge(lines, name, key, other_name=others[0] if others else "")

    def _ask(self, settings: HostSettings, shown: str, key: bytes) -> None:
        text = f"The key of {settings.place} is not known yet: {shown}\nIs it that host's? (yes/no) "
        answer = self._questions.confirm(text)
        if answer is None:
            raise failures.bad_key(settings, Verdict.UNKNOWN, None, key)
        if not answer:
            raise failures.declined(settings)
        file = settings.user_known_hosts[0] if settings.user_known_hosts else None
        if file is not None:
            try:
                known_hosts.add(file, settings.known_as, key, is_hashing=settings.is_hashing)
            except OSError as error:
                msg = f"{file} can't be written: {error.strerror}."
                raise RunnerError(msg, hint="make it this user's own file") from error
        self._note("host key", f"{shown}, accepted now")

    def _log_in(self, settings: HostSettings, transport: Transport) -> None:
        import paramiko

        tried: list[str] = []
        skipped: list[str] = []
        allowed = ""
        agent = identities.Agent(settings.agent)
        try:
            for identity in identities.find(settings, agent, self._unlocked, self._questions, skipped):
                tried.append(identity.shown)
                try:
                    wanted = transport.auth_publickey(settings.user, identity.key)
                except paramiko.BadAuthenticationType as error:
                    allowed = ", ".join(error.allowed_types)
                    break
                except (paramiko.SSHException, OSError, EOFError) as error:
                    if not transport.is_active():
                        raise failures.lost_in_authentication(settings, tried, error) from error
                    continue
                if wanted:
                    raise failures.needs_more(settings, wanted)
                self._note("login", f"as {settings.user} with {identity.shown}")
                return
        finally:
            agent.close()
        try:
            transport.auth_none(
                settings.user
            )  # some hosts know who comes by other means; the others say what they take
        except paramiko.BadAuthenticationType as error:
            allowed = ", ".join(error.allowed_types)
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not transport.is_active():
                raise failures.lost_in_authentication(settings, tried, error) from error
        else:
            self._note("login", f"as {settings.user} without a key")
            return
        raise failures.not_let_in(settings, tried, skipped, allowed)


def _transport(connection: Any) -> Transport:
    """Make paramiko's, but for a channel that closes while new session keys are made.

    Its thread would answer at once, and wait for the end of an exchange that it alone can end: 30 s later all is lost.
    """
    import paramiko

    class Patient(paramiko.Transport):
        def _send_user_message(self, data: Any) -> None:
            send: Callable[[Any], None] = super()._send_user_message  # type: ignore[misc]
            if threading.current_thread() is self and not self.clear_to_send.is_set():
                threading.Thread(target=send, args=(data,), name="ssh answer", daemon=True).start()
            else:
                send(data)

    return Patient(connection)


def _names(settings: HostSettings) -> list[str]:
    """Under which names a host may be known: its own, then without its port, as ssh does it."""
    plain = settings.host.lower()
    return [settings.known_as] if settings.key_alias or settings.known_as == plain else [settings.known_as, plain]
