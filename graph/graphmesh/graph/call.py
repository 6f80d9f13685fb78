"""A call that a run asks its driver to make, and how errors say where in a graph they happened."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.plan import Step

__all__ = ["Call", "locate"]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call to make. Calls compare by identity, so that they can be keys."""

    step: Step
    """The node it belongs to."""
    index: int
    """Which chunk of a map, counted from 0; 0 for other nodes."""
    inputs: Mapping[str, Tensor]
    """The target's inputs; views of other tensors where a map divided them. Must not be written to."""

    @property
    def node(self) -> str:
        """The node's name."""
        return self.step.node

    @property
    def target(self) -> str:
        """The model or graph to call."""
        return self.step.target

    @property
    def target_is_graph(self) -> bool:
        """Whether the target is a graph."""
        return self.step.target_is_graph

    @property
    def version(self) -> str:
        """A fixed version of the model; empty lets the mesh choose."""
        return self.step.version

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are read; no others need to be sent."""
        return self.step.outputs

    @property
    def path(self) -> str:
        """The node as errors and traces name it: ``detect``, ``read[3]``."""
        return self.step.node if self.step.map is None else f"{self.step.node}[{self.index}]"


def locate(error: GraphmeshError, *, graph: str, path: str) -> GraphmeshError:
    """Return ``error`` with its place in front of the message; class, code, reason and metadata stay as they are."""
    located = copy.copy(error)
    located.message = f"graph {graph}, node {path}: {error.message}"
    located.args = (located.message,)
    located.metadata = dict(error.metadata)
    located.__cause__ = error
    return located
