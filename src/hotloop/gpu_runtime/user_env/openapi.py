# pyright: basic
# The functions and their types are the user's.
"""An app's endpoints as an OpenAPI 3.1 document. Made only when someone asks, so that no reload waits for it."""

from __future__ import annotations

import collections.abc
import inspect
import json
import typing
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env import arrays, forms, hints, jsonable, msgpack, multipart
from hotloop.gpu_runtime.user_env.batch import item_of_step
from hotloop.gpu_runtime.user_env.schemas import Schema, Schemas, object_of
from hotloop.gpu_runtime.user_env.streams import EVENTS, LINES
from hotloop.gpu_runtime.user_env.validators import first_line
from hotloop.gpu_runtime.user_env.values import JSON, OCTETS, TEXT

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.resolve import Plan, PlannedEndpoint, RequestParameter

_FILE: Schema = {"type": "string", "contentMediaType": OCTETS}
_QUERY_METHODS = frozenset({"GET", "DELETE"})
_ERRORS = {
    "400": "The request can't be read.",
    "415": "Its content type is not understood.",
    "422": "It can be read, and is not what the endpoint takes; `where` says which part.",
    "429": "Too many requests wait; Retry-After says when to try again.",
    "500": "The endpoint raised an exception.",
    "503": "Nothing serves yet; Retry-After says when to try again.",
    "default": "Something else went wrong.",
}
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string", "description": "A word for programs, such as `BadRequest`."},
                "message": {"type": "string", "description": "What went wrong, for people."},
                "hint": {"type": "string", "description": "What to do about it."},
                "where": {"type": "string", "description": "The path to the value, or file and line."},
            },
        },
        "problem": {"type": "object", "description": "An exception's traceback, in parts."},
    },
}
_ITERATORS = frozenset({
    collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator,
    collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator,
})  # fmt: skip
_SEQUENCES = frozenset({list, tuple, collections.abc.Sequence})


def answer(plan: Plan, header: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Make the frame that answers ``document``: the document, or the line that says why there is none."""
    try:
        body = json.dumps(document(plan, str(header["revision"])), ensure_ascii=False).encode("utf-8", "replace")
    except Exception as error:  # noqa: BLE001 - whatever the user's annotations do, the worker serves on
        return {"kind": "documented", "error": f"{type(error).__name__}: {first_line(error)}"}, b""
    return {"kind": "documented"}, body


def document(plan: Plan, version: str) -> dict[str, Any]:
    """Describe an app.

    Args:
        plan: Its endpoints.
        version: What stands as the version of the API.
    """
    schemas = Schemas()
    error = schemas.add("Error", _ERROR)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in plan.endpoints:
        for method in endpoint.methods:
            operation = _operation(endpoint, method, schemas)
            paths.setdefault(endpoint.spec.path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": plan.app.name, "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {_error_name(status): _error(text, error) for status, text in _ERRORS.items()},
        },
    }


def _error_name(status: str) -> str:
    return f"Error{status.title()}"


def _error(text: str, schema: Schema) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": schema}}}


def _operation(endpoint: PlannedEndpoint, method: str, schemas: Schemas) -> dict[str, Any]:
    spec = endpoint.spec
    suffix = f"_{method.lower()}" if len(endpoint.methods) > 1 else ""
    operation: dict[str, Any] = {"operationId": f"{spec.name}{suffix}"}
    summary, _, rest = (inspect.getdoc(spec.function) or "").partition("\n")
    operation |= ({"summary": summary} if summary else {}) | ({"description": rest.strip()} if rest.strip() else {})
    if endpoint.parameters and method in _QUERY_METHODS:
        operation["parameters"] = [_in_query(parameter, schemas) for parameter in endpoint.parameters]
    elif endpoint.parameters:
        operation["requestBody"] = _body(endpoint, schemas)
    errors = {status: {"$ref": f"#/components/responses/{_error_name(status)}"} for status in _ERRORS}
    operation["responses"] = {"200": _success(endpoint, schemas)} | errors
    return operation


# --- what goes in -----------------------------------------------------------------------------------------------


def _in_query(parameter: RequestParameter, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {"name": parameter.name, "in": "query", "required": parameter.is_required}
    schema = _with_default(parameter, schemas.of(parameter.hint))
    hint = forms.without_none(parameter.hint)
    item = forms.item_of(hint)
    if item is None:
        item = hints.strip(hint)
    elif hints.is_scalar(item):
        schema = _at_least_one(parameter, schema)
    if hints.is_scalar(item) or item in (bytes, Any) or hints.key_of(item)[0] == "datetime":
        return found | {"schema": schema}
    return found | {"content": {JSON: {"schema": schema}}}  # anything else is written as JSON there


def _body(endpoint: PlannedEndpoint, schemas: Schemas) -> dict[str, Any]:
    parameters = endpoint.parameters
    required = [parameter.name for parameter in parameters if parameter.is_required]
    values = {parameter.name: _with_default(parameter, schemas.of(parameter.hint)) for parameter in parameters}
    whole = schemas.add(f"{endpoint.spec.name}.request", object_of(values, required))
    content: dict[str, Any] = {JSON: {"schema": whole}, msgpack.TYPES[0]: {"schema": whole}}
    files = {parameter.name: file for parameter in parameters if (file := _file(parameter.hint)) is not None}
    if files:
        content[multipart.TYPE] = _form(parameters, values | files, required)
    raw = _raw_type(parameters, required)
    if raw:
        content[raw] = {"schema": _FILE}
    return {"required": bool(required), "content": content}


def _form(parameters: tuple[RequestParameter, ...], values: dict[str, Schema], required: list[str]) -> dict[str, Any]:
    """Describe a form with files: a list is a field that comes several times, so an empty one can't be written."""
    for parameter in parameters:
        if forms.item_of(parameter.hint) is not None:
            values[parameter.name] = _at_least_one(parameter, values[parameter.name])
    arrays_too = [p.name for p in parameters if arrays.is_numpy_type(forms.without_none(p.hint))]
    form: dict[str, Any] = {"schema": object_of(values, required)}
    return form | ({"encoding": {name: {"contentType": arrays.NPY} for name in arrays_too}} if arrays_too else {})


def _at_least_one(parameter: RequestParameter, schema: Schema) -> Schema:
    return schema | {"minItems": 1} if parameter.is_required and schema.get("type") == "array" else schema


def _raw_type(parameters: tuple[RequestParameter, ...], required: list[str]) -> str:
    """The content type of a body that is the one parameter of bytes itself, if it needs no other beside it."""
    binary = [p for p in parameters if forms.is_binary(forms.without_none(p.hint))]
    if len(binary) != 1 or not {binary[0].name}.issuperset(required):
        return ""
    return arrays.NPY if arrays.is_numpy_type(forms.without_none(binary[0].hint)) else OCTETS


def _file(hint: Any) -> Schema | None:
    """How a parameter is sent as a file of a form, None if it is none."""
    hint = forms.without_none(hint)
    if forms.is_binary(hint):
        return _FILE
    arguments = typing.get_args(hint)
    is_list = typing.get_origin(hint) is list and forms.is_binary(forms.without_none(hints.strip(arguments[0])))
    return {"type": "array", "items": _FILE} if is_list else None


def _with_default(parameter: RequestParameter, schema: Schema) -> Schema:
    if parameter.is_required:
        return schema
    try:
        return schema | {"default": json.loads(jsonable.dumps(parameter.default))}
    except Exception:  # noqa: BLE001 - a default of the user's may be anything
        return schema


# --- what comes out ---------------------------------------------------------------------------------------------


def _success(endpoint: PlannedEndpoint, schemas: Schemas) -> dict[str, Any]:
    hint = hints.strip(endpoint.returns)
    if endpoint.spec.is_stream:
        return {"description": "The items, as they come.", "content": _stream(endpoint, hint, schemas)}
    if endpoint.spec.batch is not None:  # a request is one entry
        hint = _entry(hint, _SEQUENCES)
    if hint in (bytes, bytearray):
        return {"description": "The bytes.", "content": {OCTETS: {"schema": _FILE}}}
    schema = schemas.of(hint, "serialization")
    content: dict[str, Any] = {JSON: {"schema": schema}, msgpack.TYPES[0]: {"schema": schema}}
    if arrays.is_array_type(typing.get_origin(hint) or hint):
        content[arrays.NPY] = {"schema": _FILE}
    return {"description": "The result.", "content": content}


def _stream(endpoint: PlannedEndpoint, hint: Any, schemas: Schemas) -> dict[str, Any]:
    step = _entry(hint, _ITERATORS)
    item = schemas.of(step if endpoint.spec.batch is None else item_of_step(step), "serialization")
    event: Schema = {"type": "string", "description": "Server-sent events; the data of each is one item."}
    text: Schema = {"type": "string", "description": "What strings are sent as, and no items at all."}
    content: dict[str, Any] = {EVENTS: {"schema": event}, LINES: {"schema": item}, TEXT: {"schema": text}}
    return content | ({OCTETS: {"schema": _FILE}} if not item or item.get("contentEncoding") else {})


def _entry(hint: Any, containers: frozenset[Any]) -> Any:
    arguments = typing.get_args(hint)
    return hints.strip(arguments[0]) if arguments and typing.get_origin(hint) in containers else Any
