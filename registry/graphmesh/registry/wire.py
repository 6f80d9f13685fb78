"""Records as the bytes that etcd keeps: protobuf, `graphmesh/v1/{registry,model,graph,signature}.proto`.

Everything a `decode_...` returns has been checked; whatever does not fit raises InvalidRequest, and the caller skips
that key. Addresses and names in records come from other processes and are not trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.wire import signature_from_wire, signature_to_wire
from graphmesh.registry.records import (
    GatewayRecord,
    GraphRecord,
    HostedModel,
    ModelSpec,
    ModelState,
    WorkerRecord,
    WorkerState,
)
from graphmesh.v1 import graph_pb2, model_pb2, registry_pb2, signature_pb2

if TYPE_CHECKING:
    from graphmesh.core.signature import Signature
    from graphmesh.registry.kv import KeyValue

__all__ = [
    "canonical_document",
    "decode_gateway",
    "decode_graph",
    "decode_live",
    "decode_model",
    "decode_signature",
    "decode_worker",
    "encode_gateway",
    "encode_graph",
    "encode_live",
    "encode_model",
    "encode_signature",
    "encode_worker",
    "etag_of",
]

M = TypeVar("M", bound=Message)


def _parse(kind: type[M], value: bytes) -> M:
    message = kind()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise InvalidRequest(f"value must be a serialized {kind.DESCRIPTOR.full_name}: {error}") from error
    return message


def _same_name(what: str, name: str, expected: str) -> None:
    if name != expected:
        raise InvalidRequest(f"the {what} in the value must be the key's, {expected!r}, got {name[:140]!r}")


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def encode_worker(record: WorkerRecord) -> bytes:
    """Return the value of a worker's key."""
    message = registry_pb2.WorkerRecord(
        worker_id=record.worker_id,
        generation=record.generation,
        host=record.host,
        http_port=record.http_port,
        grpc_port=record.grpc_port,
        state=int(record.state),  # type: ignore[arg-type]
        models=[_hosted_to_wire(model) for model in record.models],
        labels=dict(record.labels),
        software_version=record.software_version,
    )
    message.start_time.FromMicroseconds(round(record.start_time * 1e6))
    return _bytes(message)


def decode_worker(worker_id: str, value: bytes) -> WorkerRecord:
    """Return the record in a worker's key, or raise InvalidRequest."""
    message = _parse(registry_pb2.WorkerRecord, value)
    _same_name("worker id", message.worker_id, worker_id)
    return WorkerRecord(
        worker_id=worker_id,
        generation=message.generation,
        host=message.host,
        http_port=message.http_port,
        grpc_port=message.grpc_port,
        state=_state(WorkerState, message.state),
        models=tuple(_hosted_from_wire(model) for model in message.models),
        labels=dict(message.labels),
        start_time=message.start_time.ToMicroseconds() / 1e6,
        software_version=message.software_version,
    )


S = TypeVar("S", WorkerState, ModelState)


def _state(kind: type[S], number: int) -> S:
    try:
        return kind(number)
    except ValueError:
        raise InvalidRequest(f"{kind.__name__} must be one of {[int(state) for state in kind]}, got {number}") from None


def _hosted_to_wire(model: HostedModel) -> model_pb2.HostedModel:
    return model_pb2.HostedModel(
        name=model.name,
        version=model.version,
        state=int(model.state),  # type: ignore[arg-type]
        signature_digest=model.signature_digest,
        platform=model.platform,
        message=model.message,
        memory_bytes=model.memory_bytes,
        load_id=model.load_id,
    )


def _hosted_from_wire(message: model_pb2.HostedModel) -> HostedModel:
    return HostedModel(
        name=message.name,
        version=message.version,
        state=_state(ModelState, message.state),
        signature_digest=message.signature_digest,
        platform=message.platform,
        message=message.message,
        memory_bytes=message.memory_bytes,
        load_id=message.load_id,
    )


def encode_gateway(record: GatewayRecord) -> bytes:
    """Return the value of a gateway's key."""
    return _bytes(
        registry_pb2.GatewayRecord(
            gateway_id=record.gateway_id,
            host=record.host,
            port=record.port,
            synced_revision=record.synced_revision,
            software_version=record.software_version,
        )
    )


def decode_gateway(gateway_id: str, value: bytes) -> GatewayRecord:
    """Return the record in a gateway's key, or raise InvalidRequest."""
    message = _parse(registry_pb2.GatewayRecord, value)
    _same_name("gateway id", message.gateway_id, gateway_id)
    return GatewayRecord(
        gateway_id=gateway_id,
        host=message.host,
        port=message.port,
        synced_revision=message.synced_revision,
        software_version=message.software_version,
    )


def encode_signature(signature: Signature) -> bytes:
    """Return the value of a signature's key."""
    return _bytes(signature_to_wire(signature))


def decode_signature(digest: str, value: bytes) -> Signature:
    """Return the signature in its key, or raise InvalidRequest; its digest must be the key's."""
    signature = signature_from_wire(_parse(signature_pb2.Signature, value))
    _same_name("digest", signature.digest, digest)
    return signature


def encode_model(spec: ModelSpec) -> bytes:
    """Return the value of a model's key."""
    return _bytes(
        model_pb2.ModelSpec(
            name=spec.name,
            backend=spec.backend,
            source=spec.source,
            replicas=spec.replicas,
            versions=spec.versions,
        )
    )


def decode_model(name: str, value: bytes) -> ModelSpec:
    """Return the spec in a model's key, or raise InvalidRequest."""
    message = _parse(model_pb2.ModelSpec, value)
    _same_name("model name", message.name, name)
    return ModelSpec(
        name=name,
        backend=message.backend,
        source=message.source,
        replicas=message.replicas,
        versions=tuple(message.versions),
    )


def canonical_document(name: str, document: bytes) -> bytes:
    """Return a graph's document in one spelling, so that equal graphs are equal bytes.

    Raises:
        InvalidRequest: not a serialized `graphmesh.v1.Graph`, or another graph's (INVALID_ARGUMENT, retry: no).
    """
    graph = _parse(graph_pb2.Graph, document)
    _same_name("graph name", graph.name, name)
    return _bytes(graph)


def encode_graph(record: GraphRecord) -> bytes:
    """Return the value of a revision's key; the etag, and whether it is live, are never stored."""
    message = graph_pb2.GraphRevision(
        graph=graph_pb2.Graph.FromString(record.document),
        revision=record.revision,
        signature=signature_to_wire(record.signature),
        replaces=record.replaces,
    )
    message.create_time.FromMicroseconds(round(record.create_time * 1e6))
    return _bytes(message)


def decode_graph(name: str, revision: int, value: bytes, *, etag: str = "", live: bool = False) -> GraphRecord:
    """Return the record in a revision's key, or raise InvalidRequest."""
    message = _parse(graph_pb2.GraphRevision, value)
    _same_name("graph name", message.graph.name, name)
    if message.revision != revision:
        raise InvalidRequest(f"the revision in the value must be the key's, {revision}, got {message.revision}")
    return GraphRecord(
        name=name,
        document=_bytes(message.graph),
        revision=revision,
        signature=signature_from_wire(message.signature),
        create_time=message.create_time.ToMicroseconds() / 1e6,
        etag=etag,
        replaces=message.replaces,
        live=live,
    )


def encode_live(revision: int) -> bytes:
    """Return the value of a live pointer."""
    return _bytes(graph_pb2.LiveRevision(revision=revision))


def decode_live(value: bytes) -> int:
    """Return the revision a live pointer names, or raise InvalidRequest."""
    revision = _parse(graph_pb2.LiveRevision, value).revision
    if revision < 1:
        raise InvalidRequest(f"a live pointer must name a revision from 1 on, got {revision}")
    return revision


def etag_of(live: KeyValue) -> str:
    """Return the etag of a graph whose live pointer this is: quoted, as HTTP writes them."""
    return f'"{live.mod_revision}"'
