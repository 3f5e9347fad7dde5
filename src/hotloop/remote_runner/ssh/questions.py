"""What a connection may have to ask of the user."""

from __future__ import annotations

from typing import Protocol


class Questions(Protocol):
    """Whoever can answer. Called from a thread that may wait, one question at a time."""

    def confirm(self, text: str) -> bool | None:
        """Ask yes or no; None if there is nobody to ask."""
        ...

    def secret(self, prompt: str) -> str | None:
        """Ask for a passphrase; None if there is nobody to ask, or they gave none."""
        ...


class Nobody:
    """There is nobody to ask."""

    def confirm(self, text: str) -> bool | None:
        """As `Questions.confirm`."""
        del text

    def secret(self, prompt: str) -> str | None:
        """As `Questions.secret`."""
        del prompt
