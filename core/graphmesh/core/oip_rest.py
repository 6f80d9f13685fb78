"""The REST form of `graphmesh.core.oip`: paths and JSON bodies to its requests, its answers to JSON.

Answers are printed as Triton prints them: fields by their protobuf names, enums by name, 64-bit integers as numbers
(protobuf's own JSON has them in quotes). The index is a bare list, settings are a flat object, load and unload answer
with an empty body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.oip import RPCS
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from graphmesh.core.oip import Management

__all__ = ["Question", "answer", "match"]

_GET, _POST, _BOTH = ("GET",), ("POST",), ("GET", "POST")


@dataclass(frozen=True, slots=True)
class Question:
    """What a path asks."""

    rpc: str
    """A key of `oip.RPCS`."""
    methods: tuple[str, ...]
    """The HTTP methods it takes."""
    model: str = ""
    """The model or graph in the path."""
    version: str = ""
    """The version in the path."""


_MODEL = r"/v2/models/(?P<model>[^/]+)"
_PATHS = (
    (re.compile(r"/v2/repository/index"), "RepositoryIndex", _POST),
    (re.compile(r"/v2/repository/models/(?P<model>[^/]+)/load"), "RepositoryModelLoad", _POST),
    (re.compile(r"/v2/repository/models/(?P<model>[^/]+)/unload"), "RepositoryModelUnload", _POST),
    (re.compile(rf"{_MODEL}(?:/versions/(?P<version>[^/]+))?/config"), "ModelConfig", _GET),
    (re.compile(r"/v2/models/stats"), "ModelStatistics", _GET),
    (re.compile(rf"{_MODEL}(?:/versions/(?P<version>[^/]+))?/stats"), "ModelStatistics", _GET),
    (re.compile(rf"(?:/v2|{_MODEL})/trace/setting"), "TraceSetting", _BOTH),
    (re.compile(r"/v2/logging"), "LogSettings", _BOTH),
    (re.compile(r"/v2/(?:system|cuda)sharedmemory(?:/region/[^/]+)?/(?:status|register|unregister)"), "", _BOTH),
)
_TAILS = ("/config", "/stats", "/load", "/unload", "/index", "/setting", "/logging", "/status", "register")
"""How every path of `_PATHS` ends: no other path is looked at twice."""


def match(path: str) -> Question | None:
    """Return what a path asks, or None for a path of something else; percent-encoded or decoded names both work."""
    if not path.endswith(_TAILS):
        return None
    for pattern, rpc, methods in _PATHS:
        if found := pattern.fullmatch(path):
            names = {key: unquote(value) for key, value in found.groupdict().items() if value}
            return Question(rpc or "SystemSharedMemoryStatus", methods, **names)
    return None


async def answer(question: Question, body: bytes, management: Management) -> bytes:
    """Return the body of a 200 answer.

    Raises:
        InvalidRequest: the body is neither empty nor a JSON object of what is expected (INVALID_ARGUMENT, retry: no).
        GraphmeshError: as the RPC of the same name.
    """
    kind, answering = RPCS[question.rpc]
    request = kind()
    _fill(request, question, _object(body))
    return _printed(await answering(management, request))


def _object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body must be empty or a JSON object: {error.msg}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be empty or a JSON object, got {type(value).__name__}")
    return value


def _fill(request: Message, question: Question, body: dict[str, Any]) -> None:
    if isinstance(request, pb.RepositoryIndexRequest):
        ready = body.get("ready", False)
        if not isinstance(ready, bool):
            raise InvalidRequest(f"ready must be true or false, got {type(ready).__name__}")
        request.ready = ready
    elif isinstance(request, pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest):
        request.model_name = question.model
        _fill_parameters(request, body.get("parameters", {}))
    elif isinstance(request, pb.ModelConfigRequest | pb.ModelStatisticsRequest):
        request.name, request.version = question.model, question.version
    elif isinstance(request, pb.TraceSettingRequest | pb.LogSettingsRequest):
        for name in body:  # that they are there is all that matters: none can be changed
            request.settings[name].SetInParent()


def _fill_parameters(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest, value: object) -> None:
    if not isinstance(value, dict):
        raise InvalidRequest(f"parameters must be an object, got {type(value).__name__}")
    for name, parameter in value.items():
        target = request.parameters[name]
        if isinstance(parameter, bool):
            target.bool_param = parameter
        else:
            target.string_param = str(parameter)[:140]


def _printed(message: Message) -> bytes:
    if isinstance(message, pb.RepositoryModelLoadResponse | pb.RepositoryModelUnloadResponse):
        return b""
    if isinstance(message, pb.RepositoryIndexResponse):
        return orjson.dumps([_object_of(entry) for entry in message.models])
    if isinstance(message, pb.ModelConfigResponse):
        return orjson.dumps(_object_of(message.config))
    if isinstance(message, pb.TraceSettingResponse):
        return orjson.dumps({name: list(setting.value) for name, setting in message.settings.items()})
    if isinstance(message, pb.LogSettingsResponse):
        chosen = {name: (setting, setting.WhichOneof("parameter_choice")) for name, setting in message.settings.items()}
        return orjson.dumps({name: getattr(setting, which) for name, (setting, which) in chosen.items()})
    return orjson.dumps(_object_of(message))


def _object_of(message: Message) -> dict[str, Any]:
    """Return a message with every field but absent messages."""
    found = {}
    for field in message.DESCRIPTOR.fields:
        if not field.has_presence or message.HasField(field.name):
            found[field.name] = _value_of(field, getattr(message, field.name))
    return found


def _value_of(field: FieldDescriptor, value: Any) -> object:  # noqa: ANN401 - whatever the field holds
    if field.message_type is None:
        if field.enum_type is not None:
            return field.enum_type.values_by_number[value].name
        return list(value) if field.is_repeated else value
    if field.message_type.GetOptions().map_entry:
        return {key: _object_of(entry) for key, entry in value.items()}
    return [_object_of(entry) for entry in value] if field.is_repeated else _object_of(value)
