from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Up(_message.Message):
    __slots__ = ("hello", "manifest", "parts", "changeset", "command", "ping", "offer", "become")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    CHANGESET_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    BECOME_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    manifest: Manifest
    parts: Parts
    changeset: Changeset
    command: Command
    ping: Ping
    offer: Offer
    become: Become
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ..., parts: _Optional[_Union[Parts, _Mapping]] = ..., changeset: _Optional[_Union[Changeset, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., offer: _Optional[_Union[Offer, _Mapping]] = ..., become: _Optional[_Union[Become, _Mapping]] = ...) -> None: ...

class Down(_message.Message):
    __slots__ = ("hello_ok", "need", "ack", "refused", "event", "reply", "pong", "received")
    HELLO_OK_FIELD_NUMBER: _ClassVar[int]
    NEED_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    hello_ok: HelloOk
    need: Need
    ack: Ack
    refused: Refused
    event: Event
    reply: Reply
    pong: Pong
    received: Received
    def __init__(self, hello_ok: _Optional[_Union[HelloOk, _Mapping]] = ..., need: _Optional[_Union[Need, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., received: _Optional[_Union[Received, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "version", "project_id", "client_id", "epoch", "last_event", "shown_root", "take", "resumes", "who", "pid", "idle_timeout_s", "source")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_FIELD_NUMBER: _ClassVar[int]
    SHOWN_ROOT_FIELD_NUMBER: _ClassVar[int]
    TAKE_FIELD_NUMBER: _ClassVar[int]
    RESUMES_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    project_id: str
    client_id: str
    epoch: int
    last_event: int
    shown_root: str
    take: bool
    resumes: bool
    who: str
    pid: int
    idle_timeout_s: float
    source: str
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., project_id: _Optional[str] = ..., client_id: _Optional[str] = ..., epoch: _Optional[int] = ..., last_event: _Optional[int] = ..., shown_root: _Optional[str] = ..., take: bool = ..., resumes: bool = ..., who: _Optional[str] = ..., pid: _Optional[int] = ..., idle_timeout_s: _Optional[float] = ..., source: _Optional[str] = ...) -> None: ...

class HelloOk(_message.Message):
    __slots__ = ("version", "sequence", "revision", "digest", "partials", "is_running", "last_event", "at_s", "workspace", "seen_event", "boot_id", "is_empty")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARTIALS_FIELD_NUMBER: _ClassVar[int]
    IS_RUNNING_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_FIELD_NUMBER: _ClassVar[int]
    AT_S_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    SEEN_EVENT_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    IS_EMPTY_FIELD_NUMBER: _ClassVar[int]
    version: str
    sequence: int
    revision: int
    digest: str
    partials: _containers.RepeatedCompositeFieldContainer[Partial]
    is_running: bool
    last_event: int
    at_s: float
    workspace: str
    seen_event: int
    boot_id: str
    is_empty: bool
    def __init__(self, version: _Optional[str] = ..., sequence: _Optional[int] = ..., revision: _Optional[int] = ..., digest: _Optional[str] = ..., partials: _Optional[_Iterable[_Union[Partial, _Mapping]]] = ..., is_running: bool = ..., last_event: _Optional[int] = ..., at_s: _Optional[float] = ..., workspace: _Optional[str] = ..., seen_event: _Optional[int] = ..., boot_id: _Optional[str] = ..., is_empty: bool = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("who", "pid", "held_s")
    WHO_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    HELD_S_FIELD_NUMBER: _ClassVar[int]
    who: str
    pid: int
    held_s: float
    def __init__(self, who: _Optional[str] = ..., pid: _Optional[int] = ..., held_s: _Optional[float] = ...) -> None: ...

class Partial(_message.Message):
    __slots__ = ("digest", "size_bytes")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size_bytes: int
    def __init__(self, digest: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("put", "link", "directory", "deleted")
    PUT_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    put: Put
    link: Link
    directory: str
    deleted: str
    def __init__(self, put: _Optional[_Union[Put, _Mapping]] = ..., link: _Optional[_Union[Link, _Mapping]] = ..., directory: _Optional[str] = ..., deleted: _Optional[str] = ...) -> None: ...

class Put(_message.Message):
    __slots__ = ("path", "digest", "size_bytes", "executable")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    path: str
    digest: bytes
    size_bytes: int
    executable: bool
    def __init__(self, path: _Optional[str] = ..., digest: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., executable: bool = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("path", "target")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    path: str
    target: str
    def __init__(self, path: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("sequence", "entries", "is_last", "zstd")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    entries: _containers.RepeatedCompositeFieldContainer[Operation]
    is_last: bool
    zstd: bytes
    def __init__(self, sequence: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., is_last: bool = ..., zstd: _Optional[bytes] = ...) -> None: ...

class Become(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("sequence", "digests")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sequence: _Optional[int] = ..., digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Need(_message.Message):
    __slots__ = ("sequence", "digests", "partials")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    PARTIALS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    partials: _containers.RepeatedCompositeFieldContainer[Partial]
    def __init__(self, sequence: _Optional[int] = ..., digests: _Optional[_Iterable[bytes]] = ..., partials: _Optional[_Iterable[_Union[Partial, _Mapping]]] = ...) -> None: ...

class Parts(_message.Message):
    __slots__ = ("parts", "zstd")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    ZSTD_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    zstd: bytes
    def __init__(self, parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., zstd: _Optional[bytes] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("digest", "offset", "size_bytes", "data", "copy")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    offset: int
    size_bytes: int
    data: bytes
    copy: Copy
    def __init__(self, digest: _Optional[bytes] = ..., offset: _Optional[int] = ..., size_bytes: _Optional[int] = ..., data: _Optional[bytes] = ..., copy: _Optional[_Union[Copy, _Mapping]] = ...) -> None: ...

class Copy(_message.Message):
    __slots__ = ("base", "offset", "size_bytes")
    BASE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    base: bytes
    offset: int
    size_bytes: int
    def __init__(self, base: _Optional[bytes] = ..., offset: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Received(_message.Message):
    __slots__ = ("num_bytes",)
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    num_bytes: int
    def __init__(self, num_bytes: _Optional[int] = ...) -> None: ...

class Changeset(_message.Message):
    __slots__ = ("sequence", "operations", "contents")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    contents: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, sequence: _Optional[int] = ..., operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., contents: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence", "revision", "applied_at_s", "digest")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_S_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    revision: int
    applied_at_s: float
    digest: str
    def __init__(self, sequence: _Optional[int] = ..., revision: _Optional[int] = ..., applied_at_s: _Optional[float] = ..., digest: _Optional[str] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("reason", "sequence", "path", "message", "hint", "holder")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[Refused.Reason]
        CHANGESET: _ClassVar[Refused.Reason]
        STALE: _ClassVar[Refused.Reason]
        VERSION: _ClassVar[Refused.Reason]
        RETIRING: _ClassVar[Refused.Reason]
        HELLO: _ClassVar[Refused.Reason]
        GAP: _ClassVar[Refused.Reason]
        CONTENT: _ClassVar[Refused.Reason]
        HELD: _ClassVar[Refused.Reason]
    UNKNOWN: Refused.Reason
    CHANGESET: Refused.Reason
    STALE: Refused.Reason
    VERSION: Refused.Reason
    RETIRING: Refused.Reason
    HELLO: Refused.Reason
    GAP: Refused.Reason
    CONTENT: Refused.Reason
    HELD: Refused.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    reason: Refused.Reason
    sequence: int
    path: str
    message: str
    hint: str
    holder: Holder
    def __init__(self, reason: _Optional[_Union[Refused.Reason, str]] = ..., sequence: _Optional[int] = ..., path: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("number", "json")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    number: int
    json: bytes
    def __init__(self, number: _Optional[int] = ..., json: _Optional[bytes] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "name", "json")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    json: bytes
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., json: _Optional[bytes] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("id", "json", "error", "hint")
    ID_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    id: int
    json: bytes
    error: str
    hint: str
    def __init__(self, id: _Optional[int] = ..., json: _Optional[bytes] = ..., error: _Optional[str] = ..., hint: _Optional[str] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("number", "last_event")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    last_event: int
    def __init__(self, number: _Optional[int] = ..., last_event: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("number", "at_s")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_S_FIELD_NUMBER: _ClassVar[int]
    number: int
    at_s: float
    def __init__(self, number: _Optional[int] = ..., at_s: _Optional[float] = ...) -> None: ...

class TunnelData(_message.Message):
    __slots__ = ("project_id", "port", "data", "is_end", "error")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    IS_END_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    port: int
    data: bytes
    is_end: bool
    error: str
    def __init__(self, project_id: _Optional[str] = ..., port: _Optional[int] = ..., data: _Optional[bytes] = ..., is_end: bool = ..., error: _Optional[str] = ...) -> None: ...

class ProcessUp(_message.Message):
    __slots__ = ("start", "input", "end_of_input", "size", "signal")
    START_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    END_OF_INPUT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    start: ProcessStart
    input: bytes
    end_of_input: bool
    size: TerminalSize
    signal: int
    def __init__(self, start: _Optional[_Union[ProcessStart, _Mapping]] = ..., input: _Optional[bytes] = ..., end_of_input: bool = ..., size: _Optional[_Union[TerminalSize, _Mapping]] = ..., signal: _Optional[int] = ...) -> None: ...

class ProcessStart(_message.Message):
    __slots__ = ("project_id", "arguments", "environment", "terminal")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    TERMINAL_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    arguments: _containers.RepeatedScalarFieldContainer[str]
    environment: _containers.ScalarMap[str, str]
    terminal: TerminalSize
    def __init__(self, project_id: _Optional[str] = ..., arguments: _Optional[_Iterable[str]] = ..., environment: _Optional[_Mapping[str, str]] = ..., terminal: _Optional[_Union[TerminalSize, _Mapping]] = ...) -> None: ...

class TerminalSize(_message.Message):
    __slots__ = ("rows", "columns")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class ProcessDown(_message.Message):
    __slots__ = ("output", "errors", "exit_code", "refused", "taken")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    output: bytes
    errors: bytes
    exit_code: int
    refused: Refused
    taken: int
    def __init__(self, output: _Optional[bytes] = ..., errors: _Optional[bytes] = ..., exit_code: _Optional[int] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., taken: _Optional[int] = ...) -> None: ...

class Following(_message.Message):
    __slots__ = ("project_id", "after_event", "is_ending")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENT_FIELD_NUMBER: _ClassVar[int]
    IS_ENDING_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    after_event: int
    is_ending: bool
    def __init__(self, project_id: _Optional[str] = ..., after_event: _Optional[int] = ..., is_ending: bool = ...) -> None: ...

class LogsWanted(_message.Message):
    __slots__ = ("project_id", "max_age_s", "after_event", "is_following")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_S_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENT_FIELD_NUMBER: _ClassVar[int]
    IS_FOLLOWING_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    max_age_s: float
    after_event: int
    is_following: bool
    def __init__(self, project_id: _Optional[str] = ..., max_age_s: _Optional[float] = ..., after_event: _Optional[int] = ..., is_following: bool = ...) -> None: ...

class LogLines(_message.Message):
    __slots__ = ("events", "is_cut")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    IS_CUT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    is_cut: bool
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., is_cut: bool = ...) -> None: ...
