"""Whether a graph can work, decided before it runs and without any worker.

Passes, each linear in nodes and edges: what the graph itself shows (`structure`), graphs inside graphs (`nesting`),
which steps run once for each answer of a stream (`streams`), types along every edge against the registered signatures
(`flows`, `infer`), conditions against the types that they see (`conditions`), and what one request costs at least
(`nesting`, `memory`). A mistake is reported with the node or edge it is at and what to do: first all of structure, then
all of what is called, of types and of conditions, but for steps that read from one that is wrong, then what a request
costs. Steps are looked at in an order of their own, so that the order in which they are written changes nothing but the
order in which mistakes are told. Sizes that only a request decides are left to the models' checks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.signature import Signature
from graphmesh.graph.checks.conditions import check_conditions
from graphmesh.graph.checks.findings import ByStep
from graphmesh.graph.checks.flows import Flow, Place, declared, read
from graphmesh.graph.checks.hints import did_you_mean
from graphmesh.graph.checks.infer import Inference
from graphmesh.graph.checks.memory import check_memory
from graphmesh.graph.checks.naming import Names
from graphmesh.graph.checks.nesting import check_calls, count_calls
from graphmesh.graph.checks.sizes import resolve
from graphmesh.graph.checks.streams import Streaming, classify
from graphmesh.graph.checks.structure import check_structure, edge_name
from graphmesh.graph.checks.untyped import adopt, check_typed
from graphmesh.graph.order import levels
from graphmesh.graph.spec import GraphCall, ModelCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.checks.flows import Given
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.spec import Graph, Target

__all__ = ["Typed", "infer_types", "type_graph", "validate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A valid graph's types."""

    signature: Signature
    """What the graph itself takes and gives; streaming if a step in it is."""
    tensors: Mapping[str, TensorSpec]
    """Every tensor by source: graph inputs, and outputs of all steps as ``node.output`` or ``node/branch.output``,
    named as the branch itself names them. Equal names of sizes are equal sizes."""
    takes: Mapping[str, TensorSpec]
    """What comes into every step, as ``node.input`` or ``node/branch.input``."""
    streams: Mapping[str, Streaming]
    """How often each of the graph's own steps runs in one request, by name."""


def validate(
    graph: Graph,
    signatures: Callable[[str], Signature | None],
    *,
    graphs: Callable[[str], Graph | None],
    pinned: Callable[[ModelCall], Signature | None] | None = None,
    known: Mapping[str, str] | None = None,
) -> Signature:
    """Return a graph's own signature, or raise what `type_graph` raises for the same arguments."""
    return type_graph(graph, signatures, graphs=graphs, pinned=pinned, known=known).signature


def type_graph(
    graph: Graph,
    signatures: Callable[[str], Signature | None],
    *,
    graphs: Callable[[str], Graph | None],
    pinned: Callable[[ModelCall], Signature | None] | None = None,
    known: Mapping[str, str] | None = None,
) -> Typed:
    """Check a graph and find the types of all its tensors.

    Args:
        graph: The graph.
        signatures: The signature of a model or graph by name, None if there is none.
        graphs: The live graph of a name, None if there is none.
        pinned: The signature of the version that a call fixes, None if there is no such version; without this function
            every version has the signature of its name.
        known: Names of models and graphs, each with why it has no signature if so, for the message about one that
            cannot be called.

    Raises:
        InvalidGraph: it cannot work; names the node or edge and the next step (INVALID_ARGUMENT, retry: no).
    """
    check_structure(graph)
    return infer_types(graph, signatures, graphs=graphs, pinned=pinned, known=known)


def infer_types(
    graph: Graph,
    signatures: Callable[[str], Signature | None],
    *,
    graphs: Callable[[str], Graph | None],
    pinned: Callable[[ModelCall], Signature | None] | None = None,
    known: Mapping[str, str] | None = None,
) -> Typed:
    """Return what `type_graph` returns for a graph whose structure was checked, or for a part of one; raises the same.

    In a part, steps may lead nowhere and there may be no outputs.
    """
    findings = ByStep(graph)
    called = _signatures(graph, _Targets(graph.name, signatures, graphs=graphs, pinned=pinned, known=known), findings)
    places = [Place(node, node.name) for level in levels(graph) for node in sorted(level, key=lambda node: node.name)]
    places = [place for place in places if findings.sound(place.node)]
    part = replace(graph, nodes=tuple(place.node for place in places))
    with findings.whole():
        calls = count_calls(part, graphs)
        streams = classify(part, lambda target: called[target].streaming)
    inputs = declared(graph.inputs)
    inference = Inference(called)
    _infer(graph, places, inputs, inference, findings)
    findings.settle()
    check_typed(inputs)
    flows = {**inputs, **inference.gives}
    check_calls(graph, calls, _known(inference.lengths))
    check_memory(graph, places, flows)
    return _typed(graph, flows, inference.takes, streams)


class _Targets:
    """What can be called."""

    def __init__(
        self,
        graph: str,
        signatures: Callable[[str], Signature | None],
        *,
        graphs: Callable[[str], Graph | None],
        pinned: Callable[[ModelCall], Signature | None] | None,
        known: Mapping[str, str] | None,
    ) -> None:
        self._graph = graph
        self._signatures = signatures
        self._graphs = graphs
        self._pinned = pinned
        self._known = known or {}

    def signature(self, target: Target, path: str) -> Signature:
        """Return the signature of what the step at ``path`` calls."""
        name, wants_graph = target.name, isinstance(target, GraphCall)
        if wants_graph and name == self._graph:
            raise InvalidGraph(f"node {path}: graphs must not call one another in a cycle, got {name} -> {name}")
        signature, is_graph = self._signatures(name), self._graphs(name) is not None
        if signature is None:
            what = "graph" if wants_graph else "model"
            if name in self._known:
                raise InvalidGraph(f"node {path}: {what} {name!r} is not available: {self._known[name]}")
            alike = (other for other in self._known if (self._graphs(other) is not None) == wants_graph)
            raise InvalidGraph(f"node {path}: there is no {what} {name!r}{did_you_mean(name, alike)}")
        if is_graph != wants_graph:
            what, other = ("graph", "model") if is_graph else ("model", "graph")
            raise InvalidGraph(f"node {path}: {name!r} is a {what}; name it as `{what}`, not as `{other}`")
        if self._pinned is None or not isinstance(target, ModelCall) or not target.version:
            return signature
        fixed = self._pinned(target)
        if fixed is None:
            raise InvalidGraph(
                f"node {path}: model {name!r} has no version {target.version}; load it, or leave the version out"
            )
        return fixed


def _calls(place: Place) -> Iterable[tuple[str, Target]]:
    """Return what a step and the steps inside it call, each with its path."""
    pending = [place]
    while pending:
        at = pending.pop()
        if at.node.target is not None:
            yield at.path, at.node.target
        pending.extend(at.inside(branch) for branch in reversed(at.node.branches))


def _signatures(graph: Graph, targets: _Targets, findings: ByStep) -> dict[Target, Signature]:
    """Return the signatures of what there is of all that a graph calls."""
    called: dict[Target, Signature] = {}
    for node in graph.nodes:
        for path, target in _calls(Place(node, node.name)):
            with findings.step(node.name):
                called[target] = targets.signature(target, path)
    return called


def _infer(
    graph: Graph, places: Sequence[Place], inputs: Mapping[str, Flow], inference: Inference, findings: ByStep
) -> None:
    """Let types flow through all steps with which nothing is wrong, into conditions and to the outputs."""
    wanted: dict[str, set[str]] = {node.name: set() for node in graph.nodes}
    for _, binding in graph.edges():
        if binding.node:
            wanted[binding.node].add(binding.tensor)
    scope: dict[str, Given] = {**inputs}
    for place in places:
        with findings.step(place.path):
            adopt(place, inputs, inference.signatures)
    for place in places:
        if findings.sound(place.node):
            with findings.step(place.path):
                outputs = inference.step(place, scope, frozenset(wanted[place.path]))
                scope.update({f"{place.path}.{name}": given for name, given in outputs.items()})
    with findings.whole():
        inference.settle()
    for binding in graph.outputs:
        if findings.readable(binding.node):
            with findings.whole():
                read(scope, binding, edge_name("", binding))
    for place in [place for place in places if findings.sound(place.node)]:
        with findings.step(place.path):
            check_conditions(place, inference.takes, inference.gives)


def _typed(
    graph: Graph, flows: Mapping[str, Flow], takes: Mapping[str, Flow], streams: Mapping[str, Streaming]
) -> Typed:
    inputs = [spec.name for spec in graph.inputs]
    names = Names()
    # Sizes that the author named keep their names, then those of other inputs and of outputs.
    names.first(flows[spec.name] for spec in graph.inputs if spec.datatype)
    names.first(flows[name] for name in inputs)
    names.first(flows[binding.source] for binding in graph.outputs)
    tensors = names.specs(flows)
    signature = Signature(
        inputs=tuple(tensors[name] for name in inputs),
        outputs=tuple(replace(tensors[binding.source], name=binding.name) for binding in graph.outputs),
        streaming=any(mode is not Streaming.SINGLE for mode in streams.values()),
    )
    return Typed(signature=signature, tensors=tensors, takes=names.specs(takes), streams=streams)


def _known(lengths: Mapping[str, Size]) -> dict[str, int]:
    numbers = {path: resolve(length) for path, length in lengths.items()}
    return {path: number for path, number in numbers.items() if isinstance(number, int)}
