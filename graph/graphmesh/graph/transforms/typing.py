"""Types of what operations give, found without any values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.transforms import casting, documents, gathering, numbers, shapes, texts
from graphmesh.graph.transforms.operations import Format, JsonWrite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.transforms.operations import Operation, What
    from graphmesh.graph.transforms.rules import Rule

__all__ = ["RULES", "bound", "give", "label"]

RULES: dict[type[What], Rule] = (
    shapes.RULES | gathering.RULES | casting.RULES | numbers.RULES | texts.RULES | documents.RULES
)
"""How each kind of operation works."""


def label(operation: Operation) -> str:
    """Return an operation as errors name it: ``operation concat of a, b``."""
    return f"operation {operation.kind} of {', '.join(operation.inputs)}"


def bound(operation: Operation) -> What:
    """Return what an operation does, with names of inputs replaced by what they mean to it.

    Raises:
        InvalidGraph: a template that is malformed or names something else (INVALID_ARGUMENT, retry: no).
    """
    what = operation.what
    if isinstance(what, Format):
        return texts.bind_template(what, operation.inputs)
    if isinstance(what, JsonWrite) and not what.names:
        return replace(what, names=operation.inputs)
    return what


def give(operation: Operation, inputs: Sequence[Flow]) -> list[Flow]:
    """Return the types of an operation's outputs, in their order; sizes that must be equal are made so.

    Args:
        operation: What is done.
        inputs: The types of its inputs, as many as it names.

    Raises:
        InvalidGraph: it cannot work on these types, or its settings are wrong; names the operation, its inputs, their
            types and the fix (INVALID_ARGUMENT, retry: no).
    """
    rule = RULES[type(operation.what)]
    try:
        _check_counts(operation, rule)
        return rule.give(bound(operation), inputs)
    except InvalidGraph as error:
        types = f" ({'; '.join(flow.type for flow in inputs)})" if inputs else ""
        raise InvalidGraph(f"{label(operation)}{types}: {error.message}") from error


def _check_counts(operation: Operation, rule: Rule) -> None:
    most = rule.most or len(operation.inputs)
    if not 1 <= len(operation.inputs) <= most:
        wanted = "at least one" if rule.most is None else f"1 to {most}" if most > 1 else "one"
        raise InvalidGraph(f"it must have {wanted} of `inputs`, got {list(operation.inputs)}")
    if len(operation.outputs) != rule.outputs:
        raise InvalidGraph(f"it must have {rule.outputs} of `outputs`, got {list(operation.outputs)}")
