"""How types flow through one step of any kind, and through the branches inside it.

A composed step is a scope: its branches read its inputs and nothing else, and what it gives is made of what they give.
Recursion is as deep as branches are, which the graph's structure bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.calls import MapCalled, called, check_bound
from graphmesh.graph.checks.derived import Derived
from graphmesh.graph.checks.findings import Findings
from graphmesh.graph.checks.flows import Clash, Flow, join, read
from graphmesh.graph.checks.hints import at, did_you_mean, how_to_declare, listed
from graphmesh.graph.checks.joins import aggregated, common, is_numeric
from graphmesh.graph.checks.loops import Carried
from graphmesh.graph.checks.scopes import bindings
from graphmesh.graph.conditions import ANSWERED, Condition
from graphmesh.graph.spec import Cache, Cascade, Loop, Parallel, Transform
from graphmesh.graph.transforms.typing import give

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.checks.flows import Given, Place
    from graphmesh.graph.checks.joins import Answers
    from graphmesh.graph.checks.sizes import Size
    from graphmesh.graph.spec import Target

__all__ = ["Inference"]


class Inference:
    """The types of one graph, found step by step.

    Args:
        signatures: Those of all models and graphs that the graph calls.
    """

    def __init__(self, signatures: Mapping[Target, Signature]) -> None:
        self.signatures = signatures
        """Those of all that the graph calls."""
        self._derived = Derived()
        self.gives: dict[str, Flow] = {}
        """What steps give, by ``path.output``; a branch's are named as it names them itself."""
        self.takes: dict[str, Flow] = {}
        """What steps take, by ``path.input``."""
        self.lengths: dict[str, Size] = {}
        """How many items each map has, by path."""

    def step(self, place: Place, scope: Mapping[str, Given], wanted: frozenset[str]) -> dict[str, Given]:
        """Let types flow through a step; those that it reads from have been inferred.

        Args:
            place: The step.
            scope: What it can read.
            wanted: The outputs that somebody reads.

        Raises:
            InvalidGraph: an input unbound or unknown, a type that does not fit, branches that do not go together; names
                edge or step and the fix (INVALID_ARGUMENT, retry: no).
        """
        target = place.node.target
        signature = None if target is None else self.signatures[target]
        edges = bindings(place, scope, signature)
        findings, inputs = Findings(), dict[str, Flow]()
        for binding in edges:
            with findings.note():
                inputs[binding.name] = read(scope, binding, place.edge(binding))
        if signature is not None:
            with findings.note():
                check_bound(place, edges, signature)
            findings.settle()
            through = called(place, signature)
            for binding in edges:
                with findings.note():
                    spec = signature.input(binding.name)
                    join(inputs[binding.name], place, binding, spec, through.takes(spec))
            findings.settle()
            if isinstance(through, MapCalled):
                self.lengths[place.path] = through.length
            outputs: dict[str, Given] = {**through.gives()}
        else:
            findings.settle()
            outputs = self._composed(place, inputs, wanted)
        self.takes.update({f"{place.path}.{name}": flow for name, flow in inputs.items()})
        self.gives.update({f"{place.path}.{name}": flow for name, flow in outputs.items() if isinstance(flow, Flow)})
        return outputs

    def settle(self) -> None:
        """Find out the sizes that follow from all others; raises as `step`."""
        self._derived.settle()

    def _composed(self, place: Place, inputs: Mapping[str, Flow], wanted: frozenset[str]) -> dict[str, Given]:
        match place.node.kind:
            case Transform() as kind:
                return _transformed(place, kind, inputs)
            case Loop() as kind:
                return self._looped(place, kind, inputs, wanted)
            case Cache(body=body):
                return self._branch(place.inside(body), inputs, wanted)
            case Parallel() as kind:
                answers = self._branches(place, inputs, wanted)
                return aggregated(place, kind, answers, self._derived, wanted)
            case Cascade(confidence=confidence):
                answers = self._branches(place, inputs, wanted | {confidence})
                _check_confidence(place, confidence, answers[:-1])
                return common(place, answers, self._derived)
            case _:
                return common(place, self._branches(place, inputs, wanted), self._derived)

    def _branches(self, place: Place, inputs: Mapping[str, Flow], wanted: frozenset[str]) -> Answers:
        findings = Findings()
        answers: list[tuple[str, Mapping[str, Given]]] = []
        for branch in place.node.branches:
            with findings.note():
                answers.append((branch.name, self._branch(place.inside(branch), inputs, wanted)))
        findings.settle()
        return answers

    def _branch(self, place: Place, inputs: Mapping[str, Flow], wanted: frozenset[str]) -> dict[str, Given]:
        """Return what a branch gives under the names that the step around it gives."""
        renamed = place.node.outputs
        own = frozenset(binding.source for binding in renamed if binding.name in wanted) if renamed else wanted
        outputs = self.step(place, inputs, own)
        for binding in renamed:
            if binding.source not in outputs:
                raise place.wrong(
                    f"output {binding.name!r} is to be {binding.source!r}, but it gives {listed(outputs)}"
                    f"{did_you_mean(binding.source, outputs)}"
                )
        return {binding.name: outputs[binding.source] for binding in renamed} if renamed else outputs

    def _looped(self, place: Place, kind: Loop, inputs: Mapping[str, Flow], wanted: frozenset[str]) -> dict[str, Given]:
        until = Condition.parse(kind.until, sees=ANSWERED) if kind.until else None
        asked = until.reads("outputs") if until else frozenset()
        sized = until.reads("shapes") - inputs.keys() if until else frozenset()
        carried = Carried(place, kind, inputs)
        needed = wanted | asked | sized | {binding.source for binding in kind.carry}
        outputs = self._branch(place.inside(kind.body), carried.scope, needed)
        for variable, names in (("outputs", asked), ("shapes", sized)):
            for name in sorted(names - outputs.keys()):
                raise place.wrong(
                    f"until reads {variable}.{name}, but {kind.body.name} gives {listed(outputs)}"
                    f"{did_you_mean(name, outputs)}"
                )
        carried.close(outputs)
        return outputs


def _transformed(place: Place, kind: Transform, inputs: Mapping[str, Flow]) -> dict[str, Given]:
    for name, flow in inputs.items():
        if not flow.datatype:
            raise place.wrong(
                f"the type of input {name!r} is unknown: nothing but transforms reads that graph input, and these take "
                f"any; {how_to_declare(place.source(name))}"
            )
    flows: dict[str, Flow] = dict(inputs)
    read_by: set[str] = set()
    for operation in kind.operations:
        with at(f"node {place.path}"):
            given = give(operation, [flows[name] for name in operation.inputs])
        read_by.update(operation.inputs)
        flows.update(zip(operation.outputs, given, strict=True))
    made = [name for operation in kind.operations for name in operation.outputs]
    return {name: flows[name] for name in made if name not in read_by or name in kind.keep}


def _check_confidence(place: Place, confidence: str, answers: Answers) -> None:
    """Check that every branch that may be asked says how sure it is."""
    for branch, outputs in answers:
        flow = outputs.get(confidence)
        if flow is None:
            raise place.wrong(
                f"{branch} gives no {confidence!r}, which says how sure an answer is and all branches but the last "
                f"must give, only {listed(outputs)}{did_you_mean(confidence, outputs)}"
            )
        if isinstance(flow, Clash):
            raise InvalidGraph(f"node {place.path}: confidence: {flow.message}")
        if not is_numeric(flow):
            raise place.wrong(
                f"{branch} gives {confidence!r} as {flow.type}, but what says how sure an answer is must be numbers"
            )
