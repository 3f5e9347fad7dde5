"""How a client is called where others want the session that it has."""

from __future__ import annotations

import getpass
import os
import socket


def who_am_i() -> str:
    """Name this user and machine to others who want the session."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
