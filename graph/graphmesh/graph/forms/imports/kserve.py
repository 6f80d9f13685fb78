"""KServe's InferenceGraph: Sequence, Switch, Ensemble and Splitter routers.

Its routers hand on whole JSON bodies of the V1 protocol, so that every model here has the input `instances` and the
output `predictions`, and an ensemble gives an output for each step, called as the step is. A step of a root sequence is
a node; whatever a router holds inside another router is a branch. A hard dependency is what every step is here.
Specification: https://kserve.github.io/website, "Inference Graph"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.imports.imported import Imported, Names
from graphmesh.graph.forms.imports.kserve_condition import read_condition
from graphmesh.graph.forms.imports.kserve_reach import unreached
from graphmesh.graph.forms.imports.plain import listed, load, mapping, text, whole
from graphmesh.graph.limits import MAX_BRANCH_DEPTH, MAX_NODES
from graphmesh.graph.spec import (
    Binding,
    Case,
    Graph,
    GraphCall,
    GraphInput,
    ModelCall,
    Node,
    Parallel,
    Share,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.operations import Copy, Operation

if TYPE_CHECKING:
    from graphmesh.graph.forms.imports.plain import Mapping
    from graphmesh.graph.spec import Kind

__all__ = ["read_kserve"]

_TARGETS = ("serviceName", "serviceUrl", "nodeName")
_READ_STEP = {*_TARGETS, "name", "data", "weight", "condition", "dependency", "mapPredictionsToInstances"}
_IN, _OUT = "instances", "predictions"


def read_kserve(document: str) -> Imported:
    """Return the graph of an InferenceGraph resource; raises InvalidGraph if it is none."""
    found = load(document)
    if found.get("kind") != "InferenceGraph":
        raise InvalidGraph(f"`kind` must be InferenceGraph, got {str(found.get('kind'))[:140]!r}")
    spec = mapping(found.get("spec"), "spec")
    name = text(mapping(found.get("metadata"), "metadata").get("name"), "metadata.name") or "graph"
    reader = _Reader(name, mapping(spec.get("nodes"), "spec.nodes"))
    reader.names.ignored("spec", spec.keys() - {"nodes"})
    return reader.read()


class _Reader:
    """Reads one resource; ``flow`` is tensors by name, each with its source."""

    def __init__(self, name: str, routers: Mapping) -> None:
        self.names = Names()
        self._graph = self.names.model(name)
        self._routers = routers
        self._nodes: list[Node] = []
        self._soft: list[str] = []
        self._steps = 0

    def read(self) -> Imported:
        """Return the whole graph."""
        flow = self._chain("root", {_IN: _IN}, ())
        graph = Graph(
            name=self._graph,
            inputs=(GraphInput(name=_IN),),
            nodes=self._read(set(flow.values())),
            outputs=tuple(Binding(name=name, source=source) for name, source in flow.items()),
        )
        self.names.notes.append(
            f"inputs '{_IN}' and outputs '{_OUT}' stand for bodies of the V1 protocol; write your models' own names"
        )
        left_out = unreached(self._routers)
        if left_out:
            self.names.notes.append(f"nodes that the root does not lead to: {', '.join(left_out)}, left out")
        if self._soft:
            self.names.notes.append(
                f"soft dependencies ({', '.join(dict.fromkeys(self._soft))}): there an error is handed on as an "
                "answer, here it fails the request; give a step that may fail a `fallback`"
            )
        return Imported(graph, tuple(self.names.notes))

    def _read(self, wanted: set[str]) -> tuple[Node, ...]:
        """Return the nodes whose answers are read, ``wanted`` by the graph's outputs."""
        kept: list[Node] = []
        for node in reversed(self._nodes):
            if any(source.startswith(f"{node.name}.") for source in wanted):
                kept.append(node)
                wanted.update(binding.source for binding in node.inputs)
            else:
                self.names.notes.append(f"step {node.name}: nothing reads its answer, left out")
        return tuple(reversed(kept))

    def _router(self, name: str, way: tuple[str, ...]) -> tuple[str, list[Mapping]]:
        """Return the kind and steps of a router."""
        if name not in self._routers:
            raise InvalidGraph(f"there is no node {name[:140]!r} in spec.nodes")
        if name in way or len(way) >= MAX_BRANCH_DEPTH:
            raise InvalidGraph(
                f"nodes must not lead to one another in a cycle or too deep, got {' -> '.join((*way, name))}"
            )
        router = mapping(self._routers[name], f"node {name}")
        self.names.ignored(f"node {name}", router.keys() - {"routerType", "steps"})
        steps = [
            mapping(step, f"a step of node {name}") for step in listed(router.get("steps"), f"steps of node {name}")
        ]
        kind = text(router.get("routerType"), "routerType")
        if kind not in {"Sequence", "Switch", "Ensemble", "Splitter"} or not steps:
            raise InvalidGraph(
                f"node {name}: must have steps and a routerType Sequence, Switch, Ensemble or Splitter, "
                f"got {len(steps)} and {kind[:140]!r}"
            )
        return kind, steps

    def _chain(self, name: str, flow: dict[str, str], way: tuple[str, ...]) -> dict[str, str]:
        """Add what a router of the outermost sequence does, and return what it gives."""
        kind, steps = self._router(name, way)
        if kind != "Sequence":
            return self._add(self._composed(kind, name, steps, (*way, name)), flow)
        answer = flow
        for index, step in enumerate(steps):
            uses_answer = index > 0 and text(step.get("data"), "data").startswith("$response")
            request = answer if uses_answer else flow
            inner = text(step.get("nodeName"), "nodeName")
            if step.get("condition") is not None and index > 0:
                answer = self._conditional(step, request, answer, (*way, name), last=index == len(steps) - 1)
            elif inner:
                self._dependency(step, inner)
                answer = self._chain(inner, request, (*way, name))
            else:
                answer = self._add(self._branch(step, (*way, name)), request)
        return answer

    def _conditional(
        self, step: Mapping, request: dict[str, str], answer: dict[str, str], way: tuple[str, ...], *, last: bool
    ) -> dict[str, str]:
        """Add a step that is run only if a condition on the answer before it holds; else that answer is the graph's."""
        branch = self._branch(step, way)
        if not last or len(answer) != 1 or len(request) != 1 or self._gives(branch) != (_OUT,):
            self.names.notes.append(
                f"step {branch.name}: its condition is not carried over, since steps follow it or there are several "
                f"tensors; put what follows into a graph of its own"
            )
            return self._add(branch, request)
        condition = read_condition(text(step.get("condition"), "condition"), branch.name, "previous", self.names.notes)
        bound = Node(name=branch.name, kind=branch.kind, inputs=(Binding(name=_IN, source=_IN),))
        copy = Transform(operations=(Operation(what=Copy(), inputs=("previous",), outputs=(_OUT,)),))
        kind = Switch(
            cases=(Case(when=condition, then=bound),),
            default=Node(name="otherwise", kind=copy, inputs=(Binding(name="previous", source="previous"),)),
        )
        (before,), (asked,) = answer.values(), request.values()
        return self._place(branch.name, kind, {_IN: asked, "previous": before})

    def _add(self, branch: Node, flow: dict[str, str]) -> dict[str, str]:
        return self._place(branch.name, branch.kind, flow if len(flow) > 1 else {_IN: next(iter(flow.values()))})

    def _place(self, wanted: str, kind: Kind, inputs: dict[str, str]) -> dict[str, str]:
        name = self.names.node(wanted)
        bound = tuple(Binding(name=tensor, source=source) for tensor, source in inputs.items())
        node = Node(name=name, kind=kind, inputs=bound)
        self._nodes.append(node)
        return {tensor: f"{name}.{tensor}" for tensor in self._gives(node)}

    def _gives(self, node: Node) -> tuple[str, ...]:
        if node.outputs:
            return tuple(binding.name for binding in node.outputs)
        if isinstance(node.kind, Parallel):
            return tuple(name for branch in node.branches for name in self._gives(branch))
        return self._gives(node.branches[0]) if node.branches else (_OUT,)

    def _dependency(self, step: Mapping, name: str) -> None:
        if text(step.get("dependency"), "dependency") != "Hard":
            self._soft.append(name)

    def _branch(self, step: Mapping, way: tuple[str, ...]) -> Node:
        """Return a step as a branch."""
        self._steps += 1
        if self._steps > MAX_NODES:  # routers that lead to routers multiply
            raise InvalidGraph(f"a graph has at most {MAX_NODES} nodes, got more; import a part of it")
        given = [target for target in _TARGETS if step.get(target) is not None]
        if len(given) != 1:
            raise InvalidGraph(f"a step must have one of {', '.join(_TARGETS)}, got {', '.join(given) or 'none'}")
        target = text(step[given[0]], given[0])
        name = text(step.get("name"), "name") or target
        self.names.ignored(f"step {name}", step.keys() - _READ_STEP)
        self._dependency(step, name)
        if given[0] == "nodeName":
            inner = self._inside(target, way)
            return Node(name=self.names.branch(name), kind=inner.kind, inputs=inner.inputs, outputs=inner.outputs)
        if given[0] == "serviceUrl":
            host = target.partition("://")[2].partition("/")[0].partition(":")[0] or target
            self.names.notes.append(
                f"step {name}: {target} is called as the model {host!r}; make it known by that name"
            )
            target = host
        return Node(name=self.names.branch(name), kind=ModelCall(name=self.names.model(target)))

    def _inside(self, name: str, way: tuple[str, ...]) -> Node:
        """Return a router inside another as a branch; a longer sequence is a graph of its own."""
        kind, steps = self._router(name, way)
        if kind != "Sequence":
            return self._composed(kind, name, steps, (*way, name))
        if len(steps) == 1:
            return self._branch(steps[0], (*way, name))
        graph = self.names.model(f"{self._graph}-{name}")
        self.names.notes.append(
            f"node {name}: a sequence inside another router must be a graph of its own here; import it with {name!r} "
            f"renamed to 'root', and call it {graph!r}"
        )
        return Node(name=self.names.branch(name), kind=GraphCall(name=graph))

    def _composed(self, kind: str, name: str, steps: list[Mapping], way: tuple[str, ...]) -> Node:
        branches = [self._branch(step, way) for step in steps]
        return Node(name=self.names.branch(name), kind=self._kind(kind, steps, branches))

    def _kind(self, kind: str, steps: list[Mapping], branches: list[Node]) -> Kind:
        pairs = list(zip(steps, branches, strict=True))
        if kind == "Switch":
            self.names.notes.append("switch: a request that no case is for is refused here with FAILED_PRECONDITION")
            cases = [
                Case(
                    when=read_condition(text(step.get("condition"), "condition"), then.name, _IN, self.names.notes),
                    then=then,
                )
                for step, then in pairs
            ]
            return Switch(cases=tuple(cases))
        if kind == "Splitter":
            return Split(
                shares=tuple(Share(weight=whole(step.get("weight"), "weight"), then=then) for step, then in pairs)
            )
        return Parallel(branches=tuple(self._labelled(branch) for branch in branches))

    def _labelled(self, branch: Node) -> Node:
        """Return a branch of an ensemble, whose answer is called as the step is."""
        if self._gives(branch) != (_OUT,):
            return branch
        label = (Binding(name=self.names.tensor(branch.name), source=_OUT),)
        return Node(name=branch.name, kind=branch.kind, inputs=branch.inputs, outputs=label)
