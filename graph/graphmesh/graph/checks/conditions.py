"""Whether conditions and keys fit the types of the tensors that they will see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from graphmesh.graph.checks.findings import Findings
from graphmesh.graph.checks.sizes import resolve
from graphmesh.graph.conditions import ANSWERED, INPUTS, Condition, Key
from graphmesh.graph.spec import Loop, Split, Switch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.checks.flows import Flow, Place
    from graphmesh.graph.checks.sizes import Size

__all__ = ["check_conditions"]


def check_conditions(step: Place, takes: Mapping[str, Flow], gives: Mapping[str, Flow]) -> None:
    """Check the conditions and keys of a step, and of all steps inside it.

    Args:
        step: Whose types are known.
        takes: What comes into every step, as ``path.input``, all of it typed.
        gives: What every step gives, as ``path.output``.

    Raises:
        InvalidGraph: some can never be evaluated, or are of no use as what they are; names step, condition, types
            and the fix (INVALID_ARGUMENT, retry: no).
    """
    findings = Findings()
    pending = [step]
    while pending:
        place = pending.pop()
        for what, expression in _expressions(place):
            with findings.inside(f"node {place.path}: {what}").note():
                _check(place, expression, takes, gives)
        pending.extend(place.inside(branch) for branch in reversed(place.node.branches))
    findings.settle()


def _expressions(place: Place) -> Iterator[tuple[str, Condition | Key]]:
    match place.node.kind:
        case Switch(cases=cases):
            for case in cases:
                yield f"the case of branch {case.then.name!r}", Condition.parse(case.when, sees=INPUTS)
        case Split(key=key) if key:
            yield "`key`", Key.parse(key)
        case Loop(until=until) if until:
            yield "`until`", Condition.parse(until, sees=ANSWERED)
        case _:
            pass


def _check(place: Place, expression: Condition | Key, takes: Mapping[str, Flow], gives: Mapping[str, Flow]) -> None:
    inputs = _specs(place, takes, expression.reads("inputs"))
    outputs: dict[str, TensorSpec] = {}
    if isinstance(place.node.kind, Loop):
        outputs = _specs(place, gives, expression.reads("outputs"))
        carried = inputs.keys() & {binding.name for binding in place.node.kind.carry}
        for name in carried:  # each time it may have other sizes
            inputs[name] = replace(inputs[name], shape=(None,) * len(inputs[name].shape))
    expression.check_types({"inputs": inputs, "outputs": outputs})


def _specs(place: Place, flows: Mapping[str, Flow], names: Iterable[str]) -> dict[str, TensorSpec]:
    """Return the types of a step's tensors as far as they are known, with the sizes that are numbers."""
    known = {name: flows[f"{place.path}.{name}"] for name in names if f"{place.path}.{name}" in flows}
    return {name: flow.spec(name, map(_number, flow.shape)) for name, flow in known.items() if flow.datatype}


def _number(size: Size) -> int | None:
    known = resolve(size)
    return known if isinstance(known, int) else None
