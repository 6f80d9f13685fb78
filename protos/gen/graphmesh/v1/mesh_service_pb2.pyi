from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from graphmesh.v1 import model_pb2 as _model_pb2
from graphmesh.v1 import registry_pb2 as _registry_pb2
from graphmesh.v1 import signature_pb2 as _signature_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("name", "graph", "spec", "signature", "replicas", "held", "problem", "revision", "other_signatures")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    OTHER_SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    name: str
    graph: bool
    spec: _model_pb2.ModelSpec
    signature: _signature_pb2.Signature
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    held: _containers.RepeatedCompositeFieldContainer[HeldVersion]
    problem: str
    revision: int
    other_signatures: _containers.RepeatedCompositeFieldContainer[_signature_pb2.Signature]
    def __init__(self, name: _Optional[str] = ..., graph: _Optional[bool] = ..., spec: _Optional[_Union[_model_pb2.ModelSpec, _Mapping]] = ..., signature: _Optional[_Union[_signature_pb2.Signature, _Mapping]] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., held: _Optional[_Iterable[_Union[HeldVersion, _Mapping]]] = ..., problem: _Optional[str] = ..., revision: _Optional[int] = ..., other_signatures: _Optional[_Iterable[_Union[_signature_pb2.Signature, _Mapping]]] = ...) -> None: ...

class HeldVersion(_message.Message):
    __slots__ = ("model", "version", "graph", "reason", "used_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    USED_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    graph: str
    reason: str
    used_version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., graph: _Optional[str] = ..., reason: _Optional[str] = ..., used_version: _Optional[str] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("worker_id", "model")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    model: _model_pb2.HostedModel
    def __init__(self, worker_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.HostedModel, _Mapping]] = ...) -> None: ...

class MeshStatus(_message.Message):
    __slots__ = ("mesh", "etcd_connected", "snapshot_age_seconds", "gateways", "ready_workers", "available_models", "held_workers", "envoy_pid", "held_versions", "unready_graphs")
    MESH_FIELD_NUMBER: _ClassVar[int]
    ETCD_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    READY_WORKERS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_MODELS_FIELD_NUMBER: _ClassVar[int]
    HELD_WORKERS_FIELD_NUMBER: _ClassVar[int]
    ENVOY_PID_FIELD_NUMBER: _ClassVar[int]
    HELD_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    UNREADY_GRAPHS_FIELD_NUMBER: _ClassVar[int]
    mesh: str
    etcd_connected: bool
    snapshot_age_seconds: float
    gateways: _containers.RepeatedCompositeFieldContainer[_registry_pb2.GatewayRecord]
    ready_workers: int
    available_models: int
    held_workers: _containers.RepeatedScalarFieldContainer[str]
    envoy_pid: int
    held_versions: _containers.RepeatedCompositeFieldContainer[HeldVersion]
    unready_graphs: int
    def __init__(self, mesh: _Optional[str] = ..., etcd_connected: _Optional[bool] = ..., snapshot_age_seconds: _Optional[float] = ..., gateways: _Optional[_Iterable[_Union[_registry_pb2.GatewayRecord, _Mapping]]] = ..., ready_workers: _Optional[int] = ..., available_models: _Optional[int] = ..., held_workers: _Optional[_Iterable[str]] = ..., envoy_pid: _Optional[int] = ..., held_versions: _Optional[_Iterable[_Union[HeldVersion, _Mapping]]] = ..., unready_graphs: _Optional[int] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[_registry_pb2.WorkerRecord]
    def __init__(self, workers: _Optional[_Iterable[_Union[_registry_pb2.WorkerRecord, _Mapping]]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ScaleModelRequest(_message.Message):
    __slots__ = ("name", "replicas")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    name: str
    replicas: int
    def __init__(self, name: _Optional[str] = ..., replicas: _Optional[int] = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
