"""Which names and values look like secrets. A wrong yes costs a word on the screen, a wrong no a key: so rather yes.

In this field a *token* is mostly a piece of text and a *key* a part of attention. So ``tokens`` and ``key_cache`` are no
secrets, numbers and tensors called ``token`` or ``key`` are shown, and of texts that are called just that those which are
plain words.
"""

from __future__ import annotations

import re
from enum import IntEnum


class Secrecy(IntEnum):
    """What of a value is not to be shown."""

    NONE = 0
    WORDS = 1  # texts, save plain words
    TEXTS = 2
    ALL = 3  # numbers too


_ALL = frozenset(
    [
        "password",
        "passwords",
        "passwd",
        "pwd",
        "passphrase",
        "passcode",
        "secret",
        "secrets",
        "credential",
        "credentials",
        "cred",
        "creds",
    ]
)
_TEXTS = frozenset(["auth", "authorization", "bearer", "cookie", "cookies", "jwt", "signature", "dsn", "pass", "otp"])
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_COMPOUND = re.compile(
    r"(?:api|access|account|app|auth|aws|bearer|client|deploy|encryption|gh|github|hf|hub|id|master|openai|private|refresh"
    r"|secret|service|session|signing|ssh|user|webhook)_?(?:key|token)s?(?![a-z])",
    re.IGNORECASE,
)
_PLAIN_WORDS = re.compile(r"[a-z]{1,24}(?:[ _.-][a-z]{1,24}){0,3}")
_KEY = re.compile(
    r"\b[sprk]k[-_][A-Za-z0-9_-]{16,}"  # OpenAI, Stripe
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}"
    r"|\bhf_[A-Za-z0-9]{16,}|\bnpm_[A-Za-z0-9]{16,}|\bpypi-[\w-]{16,}"
    r"|\bxox[abeprs]-[\w-]{8,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[\w-]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}"  # a JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(?:Bearer|Basic)\s+[\w+/=.~-]{8,}"
    r"|://[^/\s:@]{0,200}:[^/\s@]{1,200}@"  # a URL with a password
    r"|(?:password|passwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?[^\s\"',]{6,}",
    re.IGNORECASE,
)
_RUN = re.compile(r"[A-Za-z0-9]{24,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{39,88}={0,2}")


def of_name(name: str) -> Secrecy:
    """Say how much a name hides of its value."""
    words = {word.lower() for word in _WORD.findall(name)}
    if words & _ALL:
        return Secrecy.ALL
    if words & _TEXTS or _COMPOUND.search(name):
        return Secrecy.TEXTS
    if name.lower() in {"key", "token"}:
        return Secrecy.WORDS
    return Secrecy.TEXTS if words & {"key", "token"} else Secrecy.NONE


def is_plain(text: str) -> bool:
    """Whether a text is a few lower-case words, as the key of a dict is."""
    return _PLAIN_WORDS.fullmatch(text) is not None


def looks_like_key(text: str) -> bool:
    """Whether a text is, or holds, what is made by a machine to be kept secret."""
    if _KEY.search(text):
        return True
    if _BASE64.fullmatch(text) and all(re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]")):
        return True
    return any(len(re.findall("[0-9]+", run)) > 1 and not run.isdigit() for run in _RUN.findall(text))
