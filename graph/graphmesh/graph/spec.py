"""A composition graph as frozen values: what its author wrote, nothing resolved.

Nothing is checked here (`validate` does that), so that every mistake can be reported with the graph around it. Where a
tensor comes from is text: `input` for a graph input, `node.output` for a node's output. Node names carry no dot, so the
first dot of a source always ends the node's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.signature import parse_type as parse_any_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphmesh.core.signature import Dimension

__all__ = ["Binding", "Graph", "GraphCall", "GraphInput", "Kind", "Map", "ModelCall", "Node", "Target", "parse_type"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """An edge: a named destination and the tensor that flows into it."""

    name: str
    """An input of the node's model or graph, or an output of the whole graph."""
    source: str
    """``input`` for a graph input, ``node.output`` for a node's output."""

    @property
    def node(self) -> str:
        """The node the tensor comes from; empty for a graph input."""
        return self.source.partition(".")[0] if "." in self.source else ""

    @property
    def tensor(self) -> str:
        """The name of the node's output or of the graph input."""
        return self.source.partition(".")[2] if "." in self.source else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInput:
    """A tensor that a request carries."""

    name: str
    """Unique among the graph's inputs; without a dot, which would read as a node's output."""
    datatype: str = ""
    """A datatype's name; empty takes datatype and shape from what reads the input."""
    shape: tuple[Dimension, ...] = ()
    """Outermost first; must be empty when the datatype is."""
    text: bool = False
    """The elements of a BYTES tensor are UTF-8 text."""
    description: str = ""
    """For people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A call of a model."""

    name: str
    """The model's name."""
    version: str = ""
    """A fixed version, digits; empty follows the mesh's own choice."""

    def __str__(self) -> str:
        """Return ``model name@version``."""
        return f"model {self.name}@{self.version}" if self.version else f"model {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCall:
    """A call of another graph, on its live revision."""

    name: str
    """The graph's name."""

    def __str__(self) -> str:
        """Return ``graph name``."""
        return f"graph {self.name}"


Target: TypeAlias = ModelCall | GraphCall
"""What can be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A call for the items along axis 0 of some inputs; other inputs go to every call unchanged."""

    target: Target
    """What is called."""
    over: tuple[str, ...]
    """Inputs that are divided along axis 0; at least one, all of equal length."""
    batch_size: int = 0
    """0: single items without axis 0, answers stacked. n: up to n items with axis 0 kept, answers concatenated."""
    max_concurrency: int = 0
    """Calls in flight at once for one request; 0 means `limits.DEFAULT_CONCURRENCY`."""

    def __str__(self) -> str:
        """Return ``map of model name``."""
        return f"map of {self.target}"


Kind: TypeAlias = ModelCall | GraphCall | Map
"""What a node does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a graph."""

    name: str
    """Unique in the graph; never contains a dot."""
    kind: Kind
    """What the step does."""
    inputs: tuple[Binding, ...] = ()
    """Where each input of the called model or graph comes from, one binding for every input."""

    @property
    def target(self) -> Target:
        """The model or graph that the node calls."""
        return self.kind.target if isinstance(self.kind, Map) else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A composition graph as its author wrote it."""

    name: str
    """Shared with models: clients call the graph by it."""
    inputs: tuple[GraphInput, ...] = ()
    """Tensors a request carries."""
    nodes: tuple[Node, ...] = ()
    """The steps, in any order."""
    outputs: tuple[Binding, ...] = ()
    """Tensors an answer carries."""
    description: str = ""
    """For people: what the graph does."""

    def edges(self) -> Iterator[tuple[str, Binding]]:
        """Return every edge: the node it leads to (empty for a graph output) and its binding."""
        for node in self.nodes:
            for binding in node.inputs:
                yield node.name, binding
        for binding in self.outputs:
            yield "", binding


def parse_type(text: str) -> tuple[str, tuple[Dimension, ...], bool]:
    """Return datatype, shape and whether it is text, for ``FP32 (N, 3)``; TEXT is BYTES that is text.

    Raises:
        InvalidGraph: not of that form, or an unknown datatype (INVALID_ARGUMENT, retry: no).
    """
    try:
        return parse_any_type(text)
    except InvalidRequest as error:
        raise InvalidGraph(error.message) from error
