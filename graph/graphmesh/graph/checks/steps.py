"""What can be checked about one step, and the steps inside it, by looking at nothing else: names, references, bounds.

Errors name the step by its path, as ``node route/cheap``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.names import check_model_name, check_node_name, check_tensor_name, check_version
from graphmesh.graph.checks.composed import check_composed
from graphmesh.graph.checks.hints import at, check_number, check_unique, did_you_mean
from graphmesh.graph.limits import MAX_CONCURRENCY, MAX_OPERATIONS, MAX_STEP_S
from graphmesh.graph.spec import Map, ModelCall, Transform

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from graphmesh.graph.checks.findings import Findings
    from graphmesh.graph.spec import Binding, Node, Target

__all__ = ["MAX_SOURCE", "check_binding", "check_step"]

_MAX_UINT32 = 2**32 - 1
MAX_SOURCE = 64 + 1 + 128
"""Characters of the longest source, ``node.output``."""


def check_step(node: Node, path: str, findings: Findings, around: AbstractSet[str] | None = None) -> None:
    """Check a step and all inside it; whoever calls has checked how deep they go.

    Args:
        node: The step.
        path: Where it is.
        findings: Gets what is wrong, by the step's path, and the fix.
        around: The inputs of the step around it; None for a step of the graph, whose sources are not looked at here.
    """
    bound = {binding.name for binding in node.inputs}
    given = bound if node.inputs or around is None else around
    here = findings.inside(f"node {path}")
    with here.note():
        check_node_name(node.name)
    with here.note():
        check_number("timeout", node.timeout_s, 0, MAX_STEP_S, unit=" s")
    _check_inputs(node, around, here)
    _check_outputs(node, here, inside=around is not None)
    with here.note():
        _check_target(node.target)
    with here.note():
        match node.kind:
            case Map():
                _check_map(node.kind, given, here)
            case Transform():
                _check_transform(node.kind, bound, given)
            case _:
                check_composed(node, given, here)
    with here.note():
        check_unique("branch", (branch.name for branch in node.branches))
    for branch in node.branches:
        check_step(branch, f"{path}/{branch.name[:140]}", findings, given)


def check_binding(binding: Binding) -> None:
    """Raise InvalidRequest when a binding's name is none, or its source too long for one."""
    check_tensor_name(binding.name)
    if len(binding.source) > MAX_SOURCE:
        raise InvalidGraph(f"a source has at most {MAX_SOURCE} characters, got {binding.source[:140]!r}...")


def _check_inputs(node: Node, around: AbstractSet[str] | None, findings: Findings) -> None:
    for binding in node.inputs:
        with findings.note():
            check_binding(binding)
            if around is not None and binding.source not in around:
                raise InvalidGraph(
                    f"input {binding.name!r} reads {binding.source!r}, which is no input of the step around it"
                    f"{did_you_mean(binding.source, around)}; a branch sees those only, so bind it there first"
                )
    with findings.note():
        check_unique("input", (binding.name for binding in node.inputs))


def _check_outputs(node: Node, findings: Findings, *, inside: bool) -> None:
    with findings.note():
        if node.outputs and not inside:
            raise InvalidGraph(
                "`outputs` renames what a branch gives; a node's outputs are read as `node.output`: remove it"
            )
    for binding in node.outputs:
        with findings.note():
            check_tensor_name(binding.name)
            check_tensor_name(binding.source)
    with findings.note():
        check_unique("output", (binding.name for binding in node.outputs))


def _check_target(target: Target | None) -> None:
    if target is not None:
        check_model_name(target.name)
    if isinstance(target, ModelCall) and target.version:
        check_version(target.version)


def _check_map(kind: Map, given: AbstractSet[str], findings: Findings) -> None:
    if not kind.over:
        raise InvalidGraph("`over` must name at least one input to divide, got none")
    for name in kind.over:
        with findings.note():
            if name not in given:
                raise InvalidGraph(f"`over` names {name[:140]!r}, which is not bound{did_you_mean(name, given)}")
    with findings.note():
        check_unique("`over` entry", kind.over)
    with findings.note():
        check_number("max_concurrency", kind.max_concurrency, 0, MAX_CONCURRENCY)
    check_number("batch_size", kind.batch_size, 0, _MAX_UINT32)


def _check_transform(kind: Transform, bound: AbstractSet[str], given: AbstractSet[str]) -> None:
    check_number("the count of operations", len(kind.operations), 1, MAX_OPERATIONS)
    taken, results = set(bound), set[str]()
    for index, operation in enumerate(kind.operations, start=1):
        with at(f"operation {index}, {operation.kind}"):
            for name in operation.inputs:
                if name not in results and name not in given:
                    raise InvalidGraph(
                        f"reads {name[:140]!r}, which is neither an input of the step nor what an operation before gave"
                        f"{did_you_mean(name, {*given, *results})}"
                    )
            taken.update(operation.inputs)
            for name in operation.outputs:
                check_tensor_name(name)
                if name in taken:
                    raise InvalidGraph(f"gives {name!r}, which is there already; give the result a name of its own")
                taken.add(name)
                results.add(name)
    check_unique("`keep` entry", kind.keep)
    for name in kind.keep:
        if name not in results:
            raise InvalidGraph(f"`keep` names {name[:140]!r}, which no operation gives{did_you_mean(name, results)}")
