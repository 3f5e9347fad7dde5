"""The HTTP front, given the requests that gunicorn keeps to test its own parser with: what is valid and what is not.

They are in gunicorn's source distribution, which `make test` fetches; nothing of gunicorn's is imported or run.
"""

from __future__ import annotations

import ast
import asyncio
import re
import tarfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from hotloop.gpu_runtime.exchange import Request
from tests.gpu_runtime.front import Client, run, serving

FOLDER = Path(__file__).parents[2] / ".venvs" / "http-corpus"
_ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})")
_LIMIT = "a limit of gunicorn's that is lower than ours"
_OPTION = "an option of gunicorn's that we don't have"
# What we answer otherwise than gunicorn, and why that is right.
REFUSED_BY_GUNICORN = {
    "006": _LIMIT,
    "007": _LIMIT,
    "008": _LIMIT,
    "009": _LIMIT,
    "010": _LIMIT,
    "011": _LIMIT,
    "012": _LIMIT,
    "017": _LIMIT,
    "limit_header_default_01": _LIMIT,
    "019": "X-Forwarded-* means nothing here",
    "040": "an underscore is not a dash: headers are no environment variables here",
    "chunked_07": "an underscore is not a dash: headers are no environment variables here",
    "041": "of two Content-Types the last one counts",
    "rfc9110_trailer_forbidden_host_01": "trailers are dropped, whatever they say",
    "rfc9112_leading_crlf_02": "any number of empty lines may stand before a request, not only one",
}
TAKEN_BY_GUNICORN = {
    "013": "a space within a chunk's extension: what it belongs to is unclear",
    "028": _OPTION,
    "031": "a method that nobody knows",
    "031compat": _OPTION,
    "031compat2": _OPTION,
    "099": "the body is shorter than its Content-Length",
    "compat_obs_fold": _OPTION,
    "compat_obs_fold_huge": _OPTION,
    "pp_01": _OPTION,
    "pp_02": _OPTION,
    "pp_04": _OPTION,
    "pp_05": _OPTION,
}


class Case(NamedTuple):
    name: str
    data: bytes
    expected: list[tuple[str, bytes]]  # methods and bodies; none of what is invalid


@cache
def cases(kind: str) -> list[Case]:
    archive = next(FOLDER.glob("gunicorn-*.tar.gz"), None)
    if archive is None:
        pytest.skip("no gunicorn-*.tar.gz in .venvs/http-corpus: make .venvs/http-corpus/.ready")
    with tarfile.open(archive) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames() if f"/requests/{kind}/" in name}
    names = sorted(name.removesuffix(".http") for name in files if name.endswith(".http"))
    return [
        Case(Path(name).name, _with_host(_bytes(files[f"{name}.http"])), _expected(files[f"{name}.py"].decode()))
        for name in names
    ]


def _bytes(text: bytes) -> bytes:
    """Read gunicorn's way to write requests down: line breaks mean nothing, escapes mean what they say."""
    text = text.replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
    text = text.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text)


def _with_host(data: bytes) -> bytes:
    """Gunicorn takes HTTP/1.1 without a Host, which is no HTTP/1.1: give it one, that the rest of it is looked at."""
    if re.search(rb"(?i)\r\nhost[ ]*:", data):
        return data
    has_body = b"content-length" in data.lower()  # in which what looks like a request is none
    return re.sub(rb"%b([^\r]* HTTP/1\.1\r\n)" % (rb"\A" if has_body else b""), rb"\1Host: x\r\n", data)


def _expected(source: str) -> list[tuple[str, bytes]]:
    dicts = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    found = [
        {key.value: value for key, value in zip(node.keys, node.values, strict=True)}
        for node in dicts
        if isinstance(node, ast.Dict)
    ]
    return [(ast.literal_eval(one["method"]), _evaluated(one["body"])) for one in found]


def _evaluated(node: ast.expr) -> bytes:
    """Work out a body: a literal, or methods of one."""
    return eval(compile(ast.Expression(node), "<body>", "eval"), {"__builtins__": {}}) or b""


def echo(request: Request) -> None:
    request.respond(200, [(b"x-method", request.method.encode())], request.body)


async def answers_to(data: bytes) -> list[tuple[int, str, bytes]]:
    """Send bytes and nothing more; read statuses, methods and bodies, and see that the server closes."""
    async with serving(echo) as server:
        client = await Client.connect(server.port)
        client.send(data)
        client.writer.write_eof()
        reader, found = client.reader, []
        while (head := await asyncio.wait_for(_head(reader), 10)) is not None:
            status = int(head.split(b" ")[1])
            length = re.search(rb"content-length: (\d+)", head)
            is_head = b"x-method: HEAD" in head
            body = await reader.readexactly(int(length[1]) if length and not is_head else 0)
            method = re.search(rb"x-method: (\S+)", head)
            found += [] if status == 100 else [(status, method[1].decode() if method else "", body)]
        good = await Client.connect(server.port)
        assert (await good.get("GET", "/")).status == 200
        return found


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        return None if error.partial == b"" else error.partial


def test_what_gunicorn_refuses_is_refused():
    found = {case.name: run(answers_to(case.data)) for case in cases("invalid")}

    taken = {name for name, answers in found.items() if not any(status in {400, 505} for status, _, _ in answers)}
    assert len(found) > 60
    assert taken == set(REFUSED_BY_GUNICORN)


def test_what_gunicorn_takes_is_taken_with_the_same_methods_and_bodies():
    found = {case.name: (run(answers_to(case.data)), case.expected) for case in cases("valid")}

    wrong = {
        name: (answers, expected)
        for name, (answers, expected) in found.items()
        if [(200, method, b"" if method == "HEAD" else body) for method, body in expected] != answers
    }
    assert len(found) > 50
    assert set(wrong) == set(TAKEN_BY_GUNICORN), wrong
