# pyright: basic, reportMissingImports=false
# (it calls and returns values of any type)
"""Models that can't be stored live in a process of their own; workers call them through a proxy.

What can be pickled is passed by value, large arrays as raw buffers beside the pickle. What can't (the model itself, a
session object it returns, a generator) stays in the host and is named by a number.
"""

from __future__ import annotations

import gc
import itertools
import pickle
import socket
import struct
import threading
import traceback
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.vault.code import is_of_project
from hotloop.gpu_runtime.user_env.wire import BadFrame, Link, LinkClosed, Message, link_from_fd

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_MAX_WALKED = 200_000
_LENGTH = struct.Struct(">Q")
_ITERATORS = (types.GeneratorType, map, filter, zip)
_ROOT = 0


class HostedModelDied(ConnectionError):
    """The process that holds a model is gone; the runtime starts it anew.

    Attributes:
        host: Its number; 0 if it is gone for long, and what it held with it.
    """

    def __init__(self, name: str, host: int = 0) -> None:
        super().__init__(f"the process that holds model {name!r} died during this call; it is being started again")
        self.name = name
        self.host = host


class HostedModelError(RuntimeError):
    """What the model raised, where the exception itself could not be passed on; its traceback is a note."""


# --- values as bytes -------------------------------------------------------------------------------------------------


def dump(value: Any) -> bytes:
    """Pickle a value; large buffers follow the pickle as they are."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    lengths = b"".join(_LENGTH.pack(part.nbytes) for part in (memoryview(head), *raw))
    return b"".join((_LENGTH.pack(len(raw) + 1), lengths, head, *raw))


def load(data: bytes) -> Any:
    """Undo `dump`. The buffers are copied out, so that arrays can be written to."""
    count = _LENGTH.unpack_from(data)[0]
    at = _LENGTH.size * (count + 1)
    parts: list[memoryview] = []
    for number in range(count):
        length = _LENGTH.unpack_from(data, _LENGTH.size * (number + 1))[0]
        parts.append(memoryview(data)[at : at + length])
        at += length
    return pickle.loads(parts[0], buffers=[bytearray(part) for part in parts[1:]])


# --- the host --------------------------------------------------------------------------------------------------------


def host(value: Any, link: Link) -> None:
    """Serve calls on a value until the runtime closes the link. Each ``connect`` frame brings a worker's socket."""
    model = _Model(value)
    while True:
        try:
            message = link.receive()
        except (LinkClosed, BadFrame):
            return
        if message.kind == "connect":
            connection = link_from_fd(message.fds[0])
            threading.Thread(target=model.serve, args=(connection,), name="hotloop-host", daemon=True).start()
        elif message.kind == "stop":
            return


class _Model:
    """A value and what its callers hold of it; calls run one at a time, as models expect."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._lock = threading.Lock()

    def serve(self, link: Link) -> None:
        held: dict[int, Any] = {_ROOT: self._value}
        numbers = itertools.count(1)
        try:
            while True:
                message = link.receive()
                with self._lock:
                    header, payload = _answer(message, held, numbers)
                link.send(header, payload)
        except (LinkClosed, BadFrame, OSError):
            link.close()


def _answer(message: Message, held: dict[int, Any], numbers: Iterator[int]) -> tuple[dict[str, Any], bytes]:
    try:
        result = _perform(message, held)
        return _result(result, held, numbers)
    except StopIteration:
        held.pop(message.header["on"], None)
        return {"kind": "end"}, b""
    except BaseException as error:  # noqa: BLE001 (it is the caller's to handle)
        return {"kind": "error"}, _dump_error(error)


def _perform(message: Message, held: dict[int, Any]) -> Any:
    for number in message.header["drop"]:
        held.pop(number, None)
    target = held[message.header["on"]]
    if message.kind == "next":
        return next(target)
    if message.kind == "get":
        return getattr(target, message.header["name"])
    if message.kind == "set":
        return setattr(target, message.header["name"], load(message.payload))
    arguments, named = load(message.payload)
    name = message.header["name"]
    called = getattr(target, name) if name else target
    return called(*(_own(each, held) for each in arguments), **{key: _own(each, held) for key, each in named.items()})


def _own(value: Any, held: dict[int, Any]) -> Any:
    return held[value.number] if isinstance(value, _Number) else value


def _result(result: Any, held: dict[int, Any], numbers: Iterator[int]) -> tuple[dict[str, Any], bytes]:
    if result is held[_ROOT]:
        return {"kind": "held", "number": _ROOT, "is_stream": False}, b""
    is_stream = isinstance(result, _ITERATORS)
    # A bound method would be passed with its object, the whole model.
    if not is_stream and not isinstance(result, types.MethodType):
        try:
            return {"kind": "value"}, dump(result)
        except Exception:  # noqa: BLE001, S110 (what can't be pickled stays here)
            pass
    number = next(numbers)
    held[number] = result
    return {"kind": "held", "number": number, "is_stream": is_stream, "type": type(result).__qualname__}, b""


def _dump_error(error: BaseException) -> bytes:
    text = "".join(traceback.format_exception(error)).rstrip()
    try:
        data = dump((error, text))
        load(data)  # an exception whose constructor wants other arguments pickles but can't be rebuilt
    except Exception:  # noqa: BLE001
        return dump((HostedModelError(f"{type(error).__qualname__}: {error}"), text))
    return data


# --- the worker's side -----------------------------------------------------------------------------------------------


class _Number:
    """Stands in a call's arguments for something that the host holds."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Channel:
    """One socket to a host, used by one call at a time."""

    def __init__(self, name: str, sock: socket.socket, host: int) -> None:
        self.name = name
        self.epoch = 0
        self._host = host
        self.dropped: list[int] = []  # told with the next call: a collection may run inside one
        self._link: Link | None = Link(sock)
        self._lock = threading.Lock()

    def replace(self, sock: socket.socket, host: int) -> None:
        with self._lock:
            self._close()
            self._link, self._host, self.epoch, self.dropped = Link(sock), host, self.epoch + 1, []

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def ask(self, header: dict[str, Any], payload: bytes, epoch: int) -> Message:
        with self._lock:
            if epoch != self.epoch and header["on"] != _ROOT:
                raise HostedModelDied(self.name)
            if self._link is None:
                raise HostedModelDied(self.name, self._host)
            dropped, self.dropped = self.dropped, []
            try:
                self._link.send({**header, "drop": dropped}, payload)
                return self._link.receive()
            except (LinkClosed, BadFrame, OSError):
                self._close()
                raise HostedModelDied(self.name, self._host) from None


class Proxy:
    """Stands for a value in a host: callable, with its methods and attributes. Safe to use from several threads."""

    def __init__(self, name: str, sock: socket.socket, host: int = 0) -> None:
        object.__setattr__(self, "_hotloop_remote", _Remote(_Channel(name, sock, host), _ROOT))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the model in its host; what it raises is raised here."""
        return _remote(self).call("", arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # protocols are asked for by Python itself, by trying
        return _remote(self).get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        _remote(self).set(name, value)

    def __len__(self) -> int:
        return _remote(self).call("__len__", (), {})

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return _remote(self).call("__getitem__", (key,), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        _remote(self).call("__setitem__", (key, value), {})

    def __contains__(self, key: Any) -> bool:
        return _remote(self).call("__contains__", (key,), {})

    def __iter__(self) -> Iterator[Any]:
        return iter(_remote(self).call("__iter__", (), {}))

    def __enter__(self) -> Any:
        return _remote(self).call("__enter__", (), {})

    def __exit__(self, *error: object) -> Any:
        return _remote(self).call("__exit__", (None, None, None), {})

    def __repr__(self) -> str:
        return f"<hosted model {_remote(self).channel.name!r}>"

    def __reduce__(self) -> Any:
        msg = f"model {_remote(self).channel.name!r} lives in a process of its own and can't be stored in another"
        raise TypeError(msg)

    def reconnect(self, sock: socket.socket, host: int = 0) -> None:
        """Use a new socket to the model's host, and its number: the old host died."""
        _remote(self).channel.replace(sock, host)


class _Held(Proxy):
    """Stands for what a host returned and could not pass on."""

    def __init__(self, remote: _Remote) -> None:
        object.__setattr__(self, "_hotloop_remote", remote)

    def __del__(self) -> None:
        _remote(self).drop()


class _Remote:
    def __init__(self, channel: _Channel, number: int) -> None:
        self.channel, self.number, self._epoch = channel, number, channel.epoch

    def _ask(self, kind: str, name: str = "", payload: bytes = b"") -> Any:
        header = {"kind": kind, "on": self.number, "name": name}
        return self._take(self.channel.ask(header, payload, self._epoch))

    def call(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        sent = tuple(map(self._sendable, arguments)), {key: self._sendable(each) for key, each in named.items()}
        return self._ask("call", name, dump(sent))

    def get(self, name: str) -> Any:
        return self._ask("get", name)

    def set(self, name: str, value: Any) -> None:
        self._ask("set", name, dump(value))

    def drop(self) -> None:
        if self._epoch == self.channel.epoch:
            self.channel.dropped.append(self.number)

    def _sendable(self, value: Any) -> Any:
        if isinstance(value, Proxy) and _remote(value).channel is self.channel:
            return _Number(_remote(value).number)
        return value

    def _take(self, message: Message) -> Any:
        if message.kind == "value":
            return load(message.payload)
        if message.kind == "held":
            return self._held(message.header)
        if message.kind == "end":
            raise StopIteration
        error, text = load(message.payload)
        error.add_note(f"Raised in the process of model {self.channel.name!r}:\n{text}")
        raise error

    def _held(self, header: dict[str, Any]) -> Any:
        remote = _Remote(self.channel, header["number"])
        return remote.stream() if header["is_stream"] else _Held(remote)

    def stream(self) -> Iterator[Any]:
        try:
            while True:
                try:
                    item = self._ask("next")
                except StopIteration:
                    return
                yield item
        finally:
            self.drop()


def _remote(proxy: Proxy) -> _Remote:
    return object.__getattribute__(proxy, "_hotloop_remote")


# --- whose code a model holds ----------------------------------------------------------------------------------------


def project_code_in(value: Any, project: Project) -> list[Any] | None:
    """The project's classes and functions in a value, whose edits it must follow; None, if it refers to too much: any."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if len(seen) > _MAX_WALKED:
            return None
        if _is_of_project(each, project):
            found.append(each)
        if not isinstance(each, types.ModuleType | type | types.FrameType):
            waiting += [part for part in gc.get_referents(each) if not _is_namespace(part)]
            waiting.append(type(each))
    return found


def _is_of_project(value: Any, project: Project) -> bool:
    if isinstance(value, type):
        return any(project.owns_module(kind.__module__) for kind in value.__mro__)
    code = getattr(value, "__code__", None) if isinstance(value, types.FunctionType) else None
    return code is not None and is_of_project(code, project)


def _is_namespace(value: Any) -> bool:
    return type(value) is dict and "__name__" in value and "__builtins__" in value
