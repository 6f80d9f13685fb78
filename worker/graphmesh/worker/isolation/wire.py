"""A model's configuration, its signature and its batching, as they travel to the model's process and back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec

from graphmesh.core.errors import LoadFailed
from graphmesh.core.wire import signature_from_wire, signature_to_wire
from graphmesh.v1 import signature_pb2
from graphmesh.worker.batching import Batching
from graphmesh.worker.config import Isolation, ModelConfig

if TYPE_CHECKING:
    from graphmesh.core.signature import Signature

__all__ = [
    "batching_from_wire",
    "batching_to_wire",
    "config_from_wire",
    "config_to_wire",
    "decode_signature",
    "encode_signature",
]


def config_to_wire(config: ModelConfig) -> dict[str, Any]:
    """Return the fields of a configuration as plain values.

    Raises:
        LoadFailed: a value is not plain, or the cost of a batch is a function (FAILED_PRECONDITION, retry: no).
    """
    plain = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    plain["batching"] = batching_to_wire(config.batching)
    plain["expects"] = None if config.expects is None else encode_signature(config.expects)
    try:
        msgspec.msgpack.encode(plain)
    except TypeError as error:
        raise LoadFailed(f"parameters of an isolated model must be plain values: {error}") from error
    return plain


def config_from_wire(fields: dict[str, Any]) -> ModelConfig:
    """Return the configuration that was sent."""
    expects = fields["expects"]
    return ModelConfig(
        **{
            **fields,
            "isolation": Isolation(fields["isolation"]),
            "batching": batching_from_wire(fields["batching"]),
            "warmup": tuple(fields["warmup"]),
            "expects": None if expects is None else decode_signature(expects),
        }
    )


def encode_signature(signature: Signature) -> bytes:
    """Return a serialized `graphmesh.v1.Signature`."""
    return signature_to_wire(signature).SerializeToString()


def decode_signature(data: bytes) -> Signature:
    """Return the signature that was sent."""
    return signature_from_wire(signature_pb2.Signature.FromString(data))


def batching_to_wire(batching: Batching | None) -> dict[str, Any] | None:
    """Return the fields of a batching as plain values; raises as `config_to_wire`."""
    if batching is None:
        return None
    if callable(batching.cost):
        raise LoadFailed("a cost function cannot leave its process; name an input as the cost instead")
    return dataclasses.asdict(batching)


def batching_from_wire(fields: dict[str, Any] | None) -> Batching | None:
    """Return the batching that was sent."""
    if fields is None:
        return None
    return Batching(**{**fields, "pad": {name: tuple(sizes) for name, sizes in fields["pad"].items()}})
