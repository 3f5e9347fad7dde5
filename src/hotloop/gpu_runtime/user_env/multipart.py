"""Forms with files: ``multipart/form-data`` as RFC 7578 has it, read strictly. What is unclear is refused, not guessed."""

from __future__ import annotations

import re

from hotloop.frozen import frozen

TYPE = "multipart/form-data"
MAX_PARTS = 256
MAX_HEAD_BYTES = 8 * 1024  # of one part's headers
MAX_TEXT_BYTES = 1024 * 1024  # of a part that is no file; files are bounded by the whole body's limit
_BOUNDARY = re.compile(r"""[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]""")
_PARAMETER = re.compile(r""";[ \t]*([A-Za-z0-9*_-]+)=("(?:[^"\\\r\n]|\\[^\r\n])*"|[^\s;"]+)[ \t]*""")
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


class Malformed(ValueError):
    """The bytes are no such form, or it is larger than is read."""


@frozen
class Part:
    """One field of a form.

    Attributes:
        name: The field's.
        filename: As the client says it, for people only; None for a field that is no file.
        type: Its content type in lower case without parameters; empty if the client said none.
        content: The bytes.
    """

    name: str
    filename: str | None
    type: str
    content: bytes


def parse(content_type: str, body: bytes) -> list[Part]:
    """Cut a form into its parts, in order.

    Raises:
        Malformed: What is wrong with it.
    """
    delimiter = b"--" + _boundary(content_type)
    if not body.startswith(delimiter):
        msg = "it does not begin with the boundary that Content-Type names"
        raise Malformed(msg)
    parts: list[Part] = []
    at = len(delimiter)
    while body[at : at + 2] != b"--":
        if len(parts) == MAX_PARTS:
            msg = f"it has more than {MAX_PARTS} parts"
            raise Malformed(msg)
        end = body.find(b"\r\n" + delimiter, at)
        if body[at : at + 2] != b"\r\n" or end < 0:
            msg = f"part {len(parts) + 1} has no end, or its boundary no line of its own"
            raise Malformed(msg)
        parts.append(_part(body, at + 2, end, len(parts) + 1))
        at = end + 2 + len(delimiter)
    if body[at + 2 :].strip():
        msg = "something follows the last boundary"
        raise Malformed(msg)
    return parts


def _boundary(content_type: str) -> bytes:
    found = _parameters(content_type).get("boundary", "")
    if not _BOUNDARY.fullmatch(found):
        msg = "Content-Type names no boundary of 1 to 70 characters"
        raise Malformed(msg)
    return found.encode("ascii")


def _part(body: bytes, start: int, end: int, number: int) -> Part:
    head_end = body.find(b"\r\n\r\n", start, min(end, start + MAX_HEAD_BYTES))
    if head_end < 0:
        msg = f"part {number} has no headers, or more than {MAX_HEAD_BYTES} bytes of them"
        raise Malformed(msg)
    headers = _headers(body[start:head_end], number)
    disposition = headers.get("content-disposition", "")
    parameters = _parameters(disposition)
    if disposition.partition(";")[0].strip().lower() != "form-data" or "name" not in parameters:
        msg = f"""part {number} has no 'Content-Disposition: form-data; name="..."'"""
        raise Malformed(msg)
    if headers.get("content-transfer-encoding", "").lower() not in _PLAIN_ENCODINGS:
        msg = f"part {number} has a Content-Transfer-Encoding: send its bytes as they are"
        raise Malformed(msg)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    part = Part(parameters["name"], parameters.get("filename"), kind, body[head_end + 4 : end])
    if part.filename is None and len(part.content) > MAX_TEXT_BYTES:
        msg = f"part {number} is no file and larger than {MAX_TEXT_BYTES} bytes: send it with a filename"
        raise Malformed(msg)
    return part


def _headers(head: bytes, number: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        key = name.lower()
        if not colon or key != key.strip() or not key or key in found or "\n" in value or "\r" in value:
            msg = f"part {number} has a header that can't be read, or one twice: {line[:80]!r}"
            raise Malformed(msg)
        found[key] = value.strip()
    return found


def _parameters(value: str) -> dict[str, str]:
    """Read ``; name="value"`` behind a header's first word; what does not fit that form ends the reading."""
    found: dict[str, str] = {}
    at = value.find(";")
    while at >= 0 and (match := _PARAMETER.match(value, at)):
        name, given = match.group(1).lower(), match.group(2)
        found.setdefault(name, re.sub(r"\\(.)", r"\1", given[1:-1]) if given.startswith('"') else given)
        at = match.end()
    if 0 <= at < len(value):
        msg = f"a header's parameters can't be read: {value[at:][:80]!r}"
        raise Malformed(msg)
    return found
