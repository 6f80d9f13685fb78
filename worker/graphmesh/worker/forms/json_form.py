"""The two forms of JSON in which a model's signature is the guide, as both shells need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.worker.forms import generate, natural
from graphmesh.worker.forms.framing import TRITON, framing_for

if TYPE_CHECKING:
    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.worker.forms.framing import Framing

__all__ = ["FLAT", "NATURAL", "JsonForm"]

_Decode: TypeAlias = Callable[[bytes, "Signature"], "InferenceRequest"]
_Encode: TypeAlias = Callable[["InferenceResponse", "Signature"], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonForm:
    """How calls are read and answers are written."""

    decode: _Decode
    """Returns the request of a body."""
    encode: _Encode
    """Returns the body of an answer."""
    framing: Callable[[str | None], Framing]
    """Returns what surrounds the answers of a stream by REST, by its `accept` header."""


NATURAL = JsonForm(decode=natural.decode_request, encode=natural.encode_answer, framing=framing_for)
"""Natural JSON: `:predict` and `:predictStream`."""
FLAT = JsonForm(decode=generate.decode_generate, encode=generate.encode_generate, framing=lambda _accept: TRITON)
"""Triton's: `generate` and `generate_stream`."""
