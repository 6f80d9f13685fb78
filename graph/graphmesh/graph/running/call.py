"""A call that a run asks its host to make, and how errors say where in a graph they happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphmesh.graph.spec import GraphCall, ModelCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.clock import Deadline
    from graphmesh.core.errors import GraphmeshError
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.frame import Run
    from graphmesh.graph.spec import Target

__all__ = ["Call", "locate"]


@dataclass(slots=True, eq=False)
class Call:
    """One call to make: never changed once made, not frozen because that triples what making one costs.

    Calls compare by identity, so that they can be keys.
    """

    target: Target
    """What to call."""
    inputs: Mapping[str, Tensor]
    """The target's inputs; views of other tensors where a map divided them. Must not be written to."""
    outputs: tuple[str, ...]
    """The outputs that are read; no others need to be sent. Empty: all."""
    path: str
    """The step as errors and times name it: ``detect``, ``read[3]``, ``route/cheap``."""
    deadline: Deadline
    """When the answer must be there."""
    run: Run
    """The call of the graph that it belongs to."""
    stay: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    """Outputs that only plain calls read, and what these call: such a tensor may stay on the device it was made on."""

    @property
    def is_graph(self) -> bool:
        """Whether the target is a graph."""
        return isinstance(self.target, GraphCall)

    @property
    def version(self) -> str:
        """A fixed version of the model; empty lets the mesh choose."""
        return self.target.version if isinstance(self.target, ModelCall) else ""

    @property
    def node(self) -> str:
        """The graph's own step that it belongs to: the first part of the path, without a map's index."""
        return self.path.partition("/")[0].partition("[")[0]


def locate(error: GraphmeshError, *, graph: str, path: str) -> GraphmeshError:
    """Return ``error`` with its place in front of the message; class, code, reason and metadata stay as they are.

    An error that says already where in this graph it happened is returned as it is: the innermost place counts.
    """
    if error.message.startswith(f"graph {graph}, node "):
        return error
    return error.reworded(f"graph {graph}, node {path}: {error.message}")
