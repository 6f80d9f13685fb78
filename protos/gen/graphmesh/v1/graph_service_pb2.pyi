from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from graphmesh.v1 import graph_pb2 as _graph_pb2
from graphmesh.v1 import signature_pb2 as _signature_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApplyGraphRequest(_message.Message):
    __slots__ = ("graph", "etag")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    etag: str
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class ValidateGraphRequest(_message.Message):
    __slots__ = ("graph",)
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ...) -> None: ...

class ValidateGraphResponse(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: _signature_pb2.Signature
    def __init__(self, signature: _Optional[_Union[_signature_pb2.Signature, _Mapping]] = ...) -> None: ...

class GetGraphRequest(_message.Message):
    __slots__ = ("name", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ListGraphsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGraphsResponse(_message.Message):
    __slots__ = ("graphs", "next_page_token")
    GRAPHS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    graphs: _containers.RepeatedCompositeFieldContainer[_graph_pb2.GraphRevision]
    next_page_token: str
    def __init__(self, graphs: _Optional[_Iterable[_Union[_graph_pb2.GraphRevision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListGraphRevisionsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListGraphRevisionsResponse(_message.Message):
    __slots__ = ("revisions",)
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[_graph_pb2.GraphRevision]
    def __init__(self, revisions: _Optional[_Iterable[_Union[_graph_pb2.GraphRevision, _Mapping]]] = ...) -> None: ...

class RollbackGraphRequest(_message.Message):
    __slots__ = ("name", "revision", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    etag: str
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...

class AdviseGraphRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class AdviseGraphResponse(_message.Message):
    __slots__ = ("graph", "revision", "workers", "network_calls", "calls", "moves")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_CALLS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    graph: str
    revision: int
    workers: _containers.RepeatedScalarFieldContainer[str]
    network_calls: float
    calls: float
    moves: _containers.RepeatedCompositeFieldContainer[Move]
    def __init__(self, graph: _Optional[str] = ..., revision: _Optional[int] = ..., workers: _Optional[_Iterable[str]] = ..., network_calls: _Optional[float] = ..., calls: _Optional[float] = ..., moves: _Optional[_Iterable[_Union[Move, _Mapping]]] = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("model", "to_worker", "from_workers", "movable", "network_calls", "tensors", "known_bytes", "unsized_tensors")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TO_WORKER_FIELD_NUMBER: _ClassVar[int]
    FROM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    MOVABLE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_CALLS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNSIZED_TENSORS_FIELD_NUMBER: _ClassVar[int]
    model: str
    to_worker: str
    from_workers: _containers.RepeatedScalarFieldContainer[str]
    movable: bool
    network_calls: float
    tensors: _containers.RepeatedScalarFieldContainer[str]
    known_bytes: int
    unsized_tensors: int
    def __init__(self, model: _Optional[str] = ..., to_worker: _Optional[str] = ..., from_workers: _Optional[_Iterable[str]] = ..., movable: _Optional[bool] = ..., network_calls: _Optional[float] = ..., tensors: _Optional[_Iterable[str]] = ..., known_bytes: _Optional[int] = ..., unsized_tensors: _Optional[int] = ...) -> None: ...

class DeleteGraphRequest(_message.Message):
    __slots__ = ("name", "etag", "force")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    force: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...
