"""How a graph would run on a worker, decided from who hosts what: which steps are fused, and what crosses the network.

Steps whose model is on the worker run there, as do transforms, and the choosing and joining of composed steps.
Neighbours among them form a segment: tensors pass by reference, nothing is serialised. Steps whose model is elsewhere
are calls through a gateway, each a segment of its own; branches of composed steps whose model is elsewhere are calls
of the segment that the step is in. Segments come in running order: what needs the answer of a call stands behind it.

Linear in nodes, edges and, for each nested graph, the models behind it. Nothing is asked and
nothing is run: the same facts give the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphmesh.graph.order import levels, producers
from graphmesh.graph.placing.itinerary import Crossing, Itinerary, Lack, Segment, Use
from graphmesh.graph.placing.network import Network
from graphmesh.graph.placing.traffic import traffic_of
from graphmesh.graph.placing.usage import Uses, targets_of
from graphmesh.graph.spec import GraphCall, Map, ModelCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from graphmesh.core.signature import Signature, TensorSpec
    from graphmesh.graph.placing.hosts import Hosts
    from graphmesh.graph.placing.traffic import Traffic
    from graphmesh.graph.spec import Graph, Node, Target

__all__ = ["Mesh", "segment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """What is known of the mesh."""

    hosts: Hosts
    """Where models are available."""
    runners: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By graph: the workers that calls of it are sent to."""
    graphs: Callable[[str], Graph | None] = lambda _: None
    """The live graph of a name."""
    pins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By graph, the versions of models that it must use: others of them are held out of service for it."""
    signatures: Callable[[Target], Signature | None] = lambda _: None
    """The signature of a model, a version of one, or a graph."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """By graph: why it is not ready; none of those that are."""


def segment(graph: Graph, mesh: Mesh, worker: str, *, tensors: Mapping[str, TensorSpec] | None = None) -> Itinerary:
    """Return how a graph would run on a worker.

    Args:
        graph: A graph that `validate` has passed.
        mesh: Who hosts what.
        worker: Where the graph runs.
        tensors: Types by source, as `Typed.tensors`.

    Raises:
        InvalidGraph: nodes read from one another in a cycle (INVALID_ARGUMENT, retry: no).
    """
    return _Segmenting(graph, mesh, worker, tensors or {}).itinerary()


class _Segmenting:
    """One graph being divided."""

    def __init__(self, graph: Graph, mesh: Mesh, worker: str, types: Mapping[str, TensorSpec]) -> None:
        self._graph = graph
        self._mesh = mesh
        self._worker = worker
        self._types = types
        self._ordered = [node for level in levels(graph) for node in level]
        self._needs = producers(graph)
        self._reads = {(binding.node, binding.tensor) for _, binding in graph.edges()}
        self._uses = Uses(self._targets, mesh.pins)
        self._network = Network(self._uses, mesh.hosts, [worker], mesh.graphs)
        self._versions: dict[str, dict[str, Sequence[str]]] = {}
        for target, workers in mesh.hosts.items():
            if isinstance(target, ModelCall) and target.version:
                self._versions.setdefault(target.name, {})[target.version] = workers

    def _targets(self, name: str) -> Mapping[Target, float] | None:
        graph = self._mesh.graphs(name)
        return None if graph is None else targets_of(graph)

    def itinerary(self) -> Itinerary:
        return Itinerary(
            graph=self._graph.name,
            worker=self._worker,
            segments=tuple(self._segment(nodes, fused=fused) for nodes, fused in self._groups()),
        )

    def _here(self, target: Target) -> bool:
        """Return whether the worker can run a target without a call: a graph, if it can all that it calls."""
        return self._worker in self._network.answering(self._graph.name, target)

    def _groups(self) -> list[tuple[list[Node], bool]]:
        """Return nodes by segment, in running order: joined are neighbours with equally many calls before them."""
        here = {node.name: node.target is None or self._here(node.target) for node in self._ordered}
        calls: dict[str, int] = {}
        leader: dict[str, str] = {}
        groups: dict[str, list[Node]] = {}
        for node in self._ordered:
            needs = self._needs[node.name]
            calls[node.name] = max((calls[name] + (not here[name]) for name in needs), default=0)
            joined = dict.fromkeys(
                leader[name] for name in needs if here[node.name] and here[name] and calls[name] == calls[node.name]
            )
            first = next(iter(joined), node.name)
            groups.setdefault(first, []).append(node)
            leader[node.name] = first
            for other in list(joined)[1:]:
                for moved in groups.pop(other):
                    groups[first].append(moved)
                    leader[moved.name] = first
        place = {node.name: index for index, node in enumerate(self._ordered)}
        for nodes in groups.values():
            nodes.sort(key=lambda node: place[node.name])
        found = [(nodes, here[nodes[0].name]) for nodes in groups.values()]
        return sorted(found, key=lambda one: (calls[one[0][0].name], not one[1], place[one[0][0].name]))

    def _segment(self, nodes: Sequence[Node], *, fused: bool) -> Segment:
        crossings = tuple(crossing for node in nodes for crossing in self._crossings(node))
        uses = tuple(use for node in nodes for use in self._staying(node, node.name))
        return Segment(
            steps=tuple(node.name for node in nodes),
            fused=fused,
            workers=(self._worker,) if fused else crossings[0].workers,
            crossings=crossings,
            uses=uses,
        )

    def _staying(self, node: Node, path: str) -> Iterator[Use]:
        """Return the calls of a step or branch that stay on the worker."""
        target = node.target
        if target is not None and self._here(target):
            yield Use(path=path, target=self._answering(target))
        for branch in node.branches:
            yield from self._staying(branch, f"{path}/{branch.name}")

    def _crossings(self, node: Node) -> Iterator[Crossing]:
        inputs = {binding.name: (binding.source, self._types.get(binding.source)) for binding in node.inputs}
        yield from self._leaving(node, node.name, inputs)

    def _leaving(
        self, node: Node, path: str, inputs: Mapping[str, tuple[str, TensorSpec | None]]
    ) -> Iterator[Crossing]:
        """Return the calls of a step or branch that leave the worker; ``inputs`` is what it is given, by name."""
        target = node.target
        if target is not None and not self._here(target):
            yield Crossing(
                path=path,
                target=self._answering(target),
                many=isinstance(node.kind, Map),
                workers=self._workers(target),
                sends=tuple(traffic_of(source, spec) for source, spec in inputs.values()),
                receives=tuple(self._received(path)),
                lacks=tuple(self._lacking(target)),
            )
        for branch in node.branches:
            yield from self._leaving(branch, f"{path}/{branch.name}", self._taken(branch, inputs))

    def _fixed(self, target: Target) -> Target:
        return self._uses.fixed(self._graph.name, target)

    def _answering(self, target: Target) -> Target:
        """Return what a call is for, with the version that answers: here the newest, elsewhere the only one."""
        fixed = self._fixed(target)
        if isinstance(fixed, GraphCall) or fixed.version:
            return fixed
        versions = self._versions.get(fixed.name, {})
        here = [version for version, workers in versions.items() if self._worker in workers]
        found = here or (list(versions) if len(versions) == 1 else [])
        return ModelCall(name=fixed.name, version=max(found, key=int, default=""))

    def _lacking(self, target: Target) -> Iterator[Lack]:
        """Return what the worker would have to host to run a graph itself."""
        for model in self._uses.of(target.name) if isinstance(target, GraphCall) else ():
            workers = tuple(self._mesh.hosts.get(model, ()))
            if self._worker not in workers:
                yield Lack(target=model, workers=workers)

    def _workers(self, target: Target) -> tuple[str, ...]:
        """Return who may answer a call."""
        if isinstance(target, GraphCall):
            return tuple(self._mesh.runners.get(target.name, ()))
        return tuple(self._mesh.hosts.get(self._fixed(target), ()))

    def _taken(
        self, branch: Node, inputs: Mapping[str, tuple[str, TensorSpec | None]]
    ) -> Mapping[str, tuple[str, TensorSpec | None]]:
        """Return what a branch takes of the inputs of the step around it."""
        if branch.inputs:
            return {one.name: inputs.get(one.source, (one.source, None)) for one in branch.inputs}
        signature = self._mesh.signatures(self._fixed(branch.target)) if branch.target else None
        if signature is None:
            return inputs
        names = {spec.name for spec in signature.inputs}
        return {name: given for name, given in inputs.items() if name in names}

    def _received(self, path: str) -> Iterator[Traffic]:
        """Return what a step gives that is read; of a branch all that is known."""
        read = {tensor for node, tensor in self._reads if node == path}
        for source, spec in self._types.items():
            if source.startswith(f"{path}.") and (not read or spec.name in read):
                yield traffic_of(source, spec)
        for tensor in sorted(read):
            if f"{path}.{tensor}" not in self._types:
                yield traffic_of(f"{path}.{tensor}", None)
