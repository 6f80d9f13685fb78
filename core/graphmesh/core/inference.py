"""One inference, free of any transport: what shells decode requests into and encode answers from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from graphmesh.core.clock import NO_DEADLINE, Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.tensor import Tensor

__all__ = ["InferenceRequest", "InferenceResponse", "Inferencer", "Parameter"]

Parameter: TypeAlias = bool | int | float | str
"""A parameter's value as the Open Inference Protocol carries it."""


@dataclass(slots=True, kw_only=True)
class InferenceRequest:
    """One call of a model or graph."""

    model: str
    """The model's or graph's name."""
    inputs: Mapping[str, Tensor]
    """Tensors by name, C order."""
    version: str = ""
    """A fixed version; empty lets the mesh choose."""
    id: str = ""
    """The caller's id, given back in the answer."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """The request's parameters; `explain` asks for per-node times."""
    outputs: tuple[str, ...] = ()
    """Outputs asked for; none means all."""
    deadline: Deadline = NO_DEADLINE
    """After which no new work starts."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that travel with the call to the nodes of a graph, lower-case names."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """All headers the call came with, lower-case names: for the model's author to read; they end here."""
    depth: int = 0
    """How many graphs called one another to get here."""
    graph_revision: int = 0
    """The graph revision that the gateway chose for this call; 0 if it chose none."""
    node: str = ""
    """The step of a graph that the call is for; never set by what came over a wire."""
    keep: tuple[str, ...] = ()
    """Outputs that the caller takes where they are, on the model's device; never set by what came over a wire."""


@dataclass(slots=True, kw_only=True)
class InferenceResponse:
    """The answer to one call."""

    model: str
    """The model's or graph's name."""
    version: str
    """The version (for a graph: the revision) that answered."""
    outputs: Mapping[str, Tensor]
    """Tensors by name, in the signature's order."""
    id: str = ""
    """The request's id."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """The answer's parameters; `explain` holds JSON when it was asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Response headers that the model set, lower-case names."""


class Inferencer(Protocol):
    """Anything that runs inferences: a hosted model, a graph, the mesh itself."""

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one inference.

        Raises:
            GraphmeshError: with the code a client should see.

        Cancellation: slots and waiting places are given back at once; work already running on a thread may finish.
        """
        ...
