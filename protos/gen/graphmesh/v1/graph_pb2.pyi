import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from graphmesh.v1 import operation_pb2 as _operation_pb2
from graphmesh.v1 import signature_pb2 as _signature_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Join(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOIN_UNSPECIFIED: _ClassVar[Join]
    JOIN_ALL: _ClassVar[Join]
    JOIN_ANY: _ClassVar[Join]
    JOIN_QUORUM: _ClassVar[Join]
    JOIN_FIRST: _ClassVar[Join]

class Aggregate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGGREGATE_UNSPECIFIED: _ClassVar[Aggregate]
    AGGREGATE_MERGE: _ClassVar[Aggregate]
    AGGREGATE_CONCAT: _ClassVar[Aggregate]
    AGGREGATE_MEAN: _ClassVar[Aggregate]
    AGGREGATE_VOTE: _ClassVar[Aggregate]
    AGGREGATE_MAX: _ClassVar[Aggregate]
    AGGREGATE_ONE: _ClassVar[Aggregate]
JOIN_UNSPECIFIED: Join
JOIN_ALL: Join
JOIN_ANY: Join
JOIN_QUORUM: Join
JOIN_FIRST: Join
AGGREGATE_UNSPECIFIED: Aggregate
AGGREGATE_MERGE: Aggregate
AGGREGATE_CONCAT: Aggregate
AGGREGATE_MEAN: Aggregate
AGGREGATE_VOTE: Aggregate
AGGREGATE_MAX: Aggregate
AGGREGATE_ONE: Aggregate

class Graph(_message.Message):
    __slots__ = ("name", "description", "inputs", "nodes", "outputs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    inputs: _containers.RepeatedCompositeFieldContainer[_signature_pb2.TensorSpec]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    outputs: _containers.RepeatedCompositeFieldContainer[Binding]
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_signature_pb2.TensorSpec, _Mapping]]] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "inputs", "model", "graph", "map", "switch", "split", "parallel", "fallback", "cascade", "race", "loop", "cache", "transform", "timeout", "outputs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    SWITCH_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    CASCADE_FIELD_NUMBER: _ClassVar[int]
    RACE_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    inputs: _containers.RepeatedCompositeFieldContainer[Binding]
    model: ModelCall
    graph: GraphCall
    map: Map
    switch: Switch
    split: Split
    parallel: Parallel
    fallback: Fallback
    cascade: Cascade
    race: Race
    loop: Loop
    cache: Cache
    transform: Transform
    timeout: _duration_pb2.Duration
    outputs: _containers.RepeatedCompositeFieldContainer[Binding]
    def __init__(self, name: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ..., model: _Optional[_Union[ModelCall, _Mapping]] = ..., graph: _Optional[_Union[GraphCall, _Mapping]] = ..., map: _Optional[_Union[Map, _Mapping]] = ..., switch: _Optional[_Union[Switch, _Mapping]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., parallel: _Optional[_Union[Parallel, _Mapping]] = ..., fallback: _Optional[_Union[Fallback, _Mapping]] = ..., cascade: _Optional[_Union[Cascade, _Mapping]] = ..., race: _Optional[_Union[Race, _Mapping]] = ..., loop: _Optional[_Union[Loop, _Mapping]] = ..., cache: _Optional[_Union[Cache, _Mapping]] = ..., transform: _Optional[_Union[Transform, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ...) -> None: ...

class Binding(_message.Message):
    __slots__ = ("name", "source")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    source: str
    def __init__(self, name: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class ModelCall(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GraphCall(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Map(_message.Message):
    __slots__ = ("model", "graph", "over", "batch_size", "max_concurrency")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    model: ModelCall
    graph: GraphCall
    over: _containers.RepeatedScalarFieldContainer[str]
    batch_size: int
    max_concurrency: int
    def __init__(self, model: _Optional[_Union[ModelCall, _Mapping]] = ..., graph: _Optional[_Union[GraphCall, _Mapping]] = ..., over: _Optional[_Iterable[str]] = ..., batch_size: _Optional[int] = ..., max_concurrency: _Optional[int] = ...) -> None: ...

class Switch(_message.Message):
    __slots__ = ("cases", "default")
    class Case(_message.Message):
        __slots__ = ("when", "then")
        WHEN_FIELD_NUMBER: _ClassVar[int]
        THEN_FIELD_NUMBER: _ClassVar[int]
        when: str
        then: Node
        def __init__(self, when: _Optional[str] = ..., then: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...
    CASES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    cases: _containers.RepeatedCompositeFieldContainer[Switch.Case]
    default: Node
    def __init__(self, cases: _Optional[_Iterable[_Union[Switch.Case, _Mapping]]] = ..., default: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("shares", "key")
    class Share(_message.Message):
        __slots__ = ("weight", "then")
        WEIGHT_FIELD_NUMBER: _ClassVar[int]
        THEN_FIELD_NUMBER: _ClassVar[int]
        weight: int
        then: Node
        def __init__(self, weight: _Optional[int] = ..., then: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...
    SHARES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    shares: _containers.RepeatedCompositeFieldContainer[Split.Share]
    key: str
    def __init__(self, shares: _Optional[_Iterable[_Union[Split.Share, _Mapping]]] = ..., key: _Optional[str] = ...) -> None: ...

class Parallel(_message.Message):
    __slots__ = ("branches", "join", "quorum", "aggregate")
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    AGGREGATE_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Node]
    join: Join
    quorum: int
    aggregate: Aggregate
    def __init__(self, branches: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., join: _Optional[_Union[Join, str]] = ..., quorum: _Optional[int] = ..., aggregate: _Optional[_Union[Aggregate, str]] = ...) -> None: ...

class Fallback(_message.Message):
    __slots__ = ("branches", "on")
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Node]
    on: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, branches: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., on: _Optional[_Iterable[str]] = ...) -> None: ...

class Cascade(_message.Message):
    __slots__ = ("branches", "confidence", "threshold")
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Node]
    confidence: str
    threshold: float
    def __init__(self, branches: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., confidence: _Optional[str] = ..., threshold: _Optional[float] = ...) -> None: ...

class Race(_message.Message):
    __slots__ = ("branches", "delay")
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Node]
    delay: _duration_pb2.Duration
    def __init__(self, branches: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Loop(_message.Message):
    __slots__ = ("body", "until", "max_iterations", "carry")
    BODY_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    CARRY_FIELD_NUMBER: _ClassVar[int]
    body: Node
    until: str
    max_iterations: int
    carry: _containers.RepeatedCompositeFieldContainer[Binding]
    def __init__(self, body: _Optional[_Union[Node, _Mapping]] = ..., until: _Optional[str] = ..., max_iterations: _Optional[int] = ..., carry: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ...) -> None: ...

class Cache(_message.Message):
    __slots__ = ("body", "ttl", "max_entries", "max_bytes")
    BODY_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    body: Node
    ttl: _duration_pb2.Duration
    max_entries: int
    max_bytes: int
    def __init__(self, body: _Optional[_Union[Node, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_entries: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class Transform(_message.Message):
    __slots__ = ("operations", "keep")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[_operation_pb2.Operation]
    keep: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, operations: _Optional[_Iterable[_Union[_operation_pb2.Operation, _Mapping]]] = ..., keep: _Optional[_Iterable[str]] = ...) -> None: ...

class GraphRevision(_message.Message):
    __slots__ = ("graph", "revision", "signature", "create_time", "etag", "replaces", "live")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    graph: Graph
    revision: int
    signature: _signature_pb2.Signature
    create_time: _timestamp_pb2.Timestamp
    etag: str
    replaces: int
    live: bool
    def __init__(self, graph: _Optional[_Union[Graph, _Mapping]] = ..., revision: _Optional[int] = ..., signature: _Optional[_Union[_signature_pb2.Signature, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., replaces: _Optional[int] = ..., live: _Optional[bool] = ...) -> None: ...

class LiveRevision(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...
