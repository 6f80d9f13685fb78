"""Whether a graph can work, decided before it runs and without any worker.

Three passes, each linear in nodes and edges: what the graph itself shows (`structure`), graphs inside graphs
(`nesting`), types along every edge against the registered signatures (`flows`, `infer`). The first mistake is reported,
with the node or edge it is at and what to do. Sizes that only a request decides are left to the models' own checks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import Signature
from graphmesh.graph.flows import Flows
from graphmesh.graph.infer import infer_node
from graphmesh.graph.nesting import check_calls, count_calls
from graphmesh.graph.sizes import resolve
from graphmesh.graph.spec import GraphCall, Map
from graphmesh.graph.structure import check_structure, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.sizes import Size
    from graphmesh.graph.spec import Graph, Node

__all__ = ["Typed", "type_graph", "validate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A valid graph's types."""

    signature: Signature
    """What the graph itself takes and gives."""
    tensors: Mapping[str, TensorSpec]
    """Every tensor by source: graph inputs and all outputs of its nodes. Equal names of sizes are equal sizes."""


def validate(
    graph: Graph,
    signatures: Callable[[str], Signature | None],
    *,
    graphs: Callable[[str], Graph | None],
    known: Iterable[str] = (),
) -> Signature:
    """Return a graph's own signature, or raise what `type_graph` raises for the same arguments."""
    return type_graph(graph, signatures, graphs=graphs, known=known).signature


def type_graph(
    graph: Graph,
    signatures: Callable[[str], Signature | None],
    *,
    graphs: Callable[[str], Graph | None],
    known: Iterable[str] = (),
) -> Typed:
    """Check a graph and find the types of all its tensors.

    Args:
        graph: The graph.
        signatures: The signature of a model or graph by name, None if there is none.
        graphs: The live graph of a name, None if there is none.
        known: Names of models and graphs, for the message about one that does not exist.

    Raises:
        InvalidGraph: it cannot work; names the node or edge and the next step (INVALID_ARGUMENT, retry: no).
    """
    ordered = check_structure(graph)
    targets = {node.name: _target(graph, node, signatures, graphs, known) for node in ordered}
    calls = count_calls(graph, graphs)
    flows = Flows(graph.inputs)
    repeats: dict[str, int] = {}
    for node in ordered:
        length = infer_node(flows, node, targets[node.name])
        if isinstance(node.kind, Map) and length is not None:
            repeats[node.name] = _calls(node.kind, length)
    for binding in graph.outputs:
        flows.end(binding)
    check_calls(calls, repeats)
    return _typed(graph, flows)


def _target(
    graph: Graph,
    node: Node,
    signatures: Callable[[str], Signature | None],
    graphs: Callable[[str], Graph | None],
    known: Iterable[str],
) -> Signature:
    """Return the signature of what a node calls."""
    name = node.target.name
    wants_graph = isinstance(node.target, GraphCall)
    if wants_graph and name == graph.name:
        raise InvalidGraph(f"node {node.name}: graphs must not call one another in a cycle, got {name} -> {name}")
    signature, is_graph = signatures(name), graphs(name) is not None
    if signature is None:
        what = "graph" if wants_graph else "model"
        raise InvalidGraph(f"node {node.name}: there is no {what} {name!r}{did_you_mean(name, known)}")
    if is_graph != wants_graph:
        what, other = ("graph", "model") if is_graph else ("model", "graph")
        raise InvalidGraph(f"node {node.name}: {name!r} is a {what}; name it as `{what}`, not as `{other}`")
    return signature


def _calls(kind: Map, length: Size) -> int:
    known = resolve(length)
    return -(-known // (kind.batch_size or 1)) if isinstance(known, int) else 1


def _typed(graph: Graph, flows: Flows) -> Typed:
    inputs = [spec.name for spec in graph.inputs]
    # Sizes that the author named keep their names, then those of other inputs and of outputs.
    declared = [spec.name for spec in graph.inputs if spec.datatype]
    tensors = flows.specs(first=[*declared, *inputs, *(binding.source for binding in graph.outputs)])
    outputs = tuple(replace(tensors[binding.source], name=binding.name) for binding in graph.outputs)
    signature = Signature(inputs=tuple(tensors[name] for name in inputs), outputs=outputs)
    return Typed(signature=signature, tensors=tensors)
