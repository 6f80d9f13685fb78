"""Which BYTES tensors are text, in a model's metadata: the protocol's datatypes do not tell text from other bytes.

The names stand in `properties`, which the protocol leaves to servers: ``graphmesh.text_inputs`` and
``graphmesh.text_outputs``, separated by commas, which no name has. Other servers and clients pass over them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from graphmesh.core.signature import Signature
from graphmesh.core.tensor import BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.core.signature import TensorSpec

__all__ = ["text_from_properties", "text_properties"]

_INPUTS, _OUTPUTS = "graphmesh.text_inputs", "graphmesh.text_outputs"


def text_properties(signature: Signature) -> dict[str, str]:
    """Return the properties that say which tensors are text; empty if none is."""
    found = {_INPUTS: _names(signature.inputs), _OUTPUTS: _names(signature.outputs)}
    return {key: names for key, names in found.items() if names}


def _names(specs: Iterable[TensorSpec]) -> str:
    return ",".join(spec.name for spec in specs if spec.text)


def text_from_properties(signature: Signature, properties: Mapping[str, object]) -> Signature:
    """Return a signature in which those BYTES tensors are text that a server's properties name."""
    return Signature(
        _marked(signature.inputs, properties.get(_INPUTS)),
        _marked(signature.outputs, properties.get(_OUTPUTS)),
        signature.streaming,
    )


def _marked(specs: Iterable[TensorSpec], names: object) -> tuple[TensorSpec, ...]:
    text = names.split(",") if isinstance(names, str) else []
    return tuple(replace(spec, text=spec.datatype == BYTES and spec.name in text) for spec in specs)
