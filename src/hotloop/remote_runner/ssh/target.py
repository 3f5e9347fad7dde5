"""Which machine is meant by ``user@host`` or ``ssh://user@host:port``. Does no I/O."""

from __future__ import annotations

import re
import shlex

from hotloop.errors import UsageError
from hotloop.frozen import frozen

SCHEME = "ssh://"
# No word that ssh or a shell would take for something else can pass: both get the host in a command line.
_USER = r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.@+\\-]*)@)?"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_ADDRESS = r"[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?"
_FORM = re.compile(_USER + rf"(?:(?P<host>{_NAME})|\[(?P<address>{_ADDRESS}|{_NAME})\])(?::(?P<port>[0-9]+))?")
_BARE = re.compile(_USER + rf"(?P<address>{_ADDRESS})")
_HINT = "write it as user@host, or as ssh://user@host:port"


@frozen
class SshTarget:
    """What was named; ssh's own settings say the rest.

    Attributes:
        host: A name, an address, or an alias in ``~/.ssh/config``.
        user: Empty for what the settings say.
        port: 0 for what the settings say.
    """

    host: str
    user: str = ""
    port: int = 0

    @property
    def shown(self) -> str:
        """As people write it."""
        return f"{self.user}@{self.host}" if self.user and not self.port else self.url

    @property
    def url(self) -> str:
        """In the form that holds all of it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return SCHEME + (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")

    def command(self, *words: str) -> str:
        """The command line that reaches it by ssh."""
        port = ["-p", str(self.port)] if self.port else []
        return shlex.join(["ssh", *port, f"{self.user}@{self.host}" if self.user else self.host, *words])


def parse(text: str) -> SshTarget:
    """Read a target.

    Raises:
        UsageError: It is none.
    """
    rest = text.removeprefix(SCHEME).removesuffix("/")
    found = _FORM.fullmatch(rest) or _BARE.fullmatch(rest)
    if found is None:
        msg = f"{text!r} names no machine to reach by SSH."
        raise UsageError(msg, hint=_HINT)
    parts = found.groupdict()
    port = int(parts.get("port") or 0)
    if port > 65535 or parts.get("port") == "0":
        msg = f"{text!r}: {port} is no port, a number from 1 to 65535 was expected."
        raise UsageError(msg, hint=_HINT)
    return SshTarget(parts.get("host") or parts["address"], parts["user"] or "", port)
