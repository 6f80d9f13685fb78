"""What a run needs to know about a graph, worked out once per revision.

Names become indexes: every tensor that something reads gets a slot, every node the slots it reads and writes, and every
slot the number of its readers, so that a run lets a tensor go as soon as the last reader has it. A plan is immutable
and shared by all runs of a revision; it costs time linear in nodes and edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.graph.limits import DEFAULT_CONCURRENCY
from graphmesh.graph.order import levels, producers
from graphmesh.graph.spec import GraphCall, Map, ModelCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.spec import Graph, Node

__all__ = ["MapStep", "Plan", "Step", "make_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapStep:
    """How a node's items become calls."""

    over: tuple[str, ...]
    """Inputs divided along axis 0."""
    batch_size: int
    """Items a call; 0 hands over single items without axis 0."""
    max_concurrency: int
    """Calls in flight at once, at least 1."""
    signatures: Callable[[str], Signature | None]
    """Signatures by name, None for an unknown one: says what the answer over zero items looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node, with names resolved to indexes."""

    index: int
    """Place in `Plan.steps`."""
    node: str
    """The node's name."""
    target: str
    """The model or graph to call."""
    target_is_graph: bool
    """The target is a graph."""
    version: str
    """A fixed version of the model; empty lets the mesh choose."""
    reads: tuple[tuple[str, int], ...]
    """The target's inputs and the slots they come from."""
    writes: tuple[tuple[str, int], ...]
    """Outputs that something reads and the slots they go to."""
    outputs: tuple[str, ...]
    """Names of `writes`: the only outputs worth sending."""
    readers: tuple[int, ...]
    """Steps that read from this one, each once."""
    map: MapStep | None
    """How to divide the call; None makes one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every run of one graph revision shares."""

    graph: str
    """The graph's name."""
    inputs: tuple[str, ...]
    """Graph inputs; their slots are 0, 1, ..."""
    steps: tuple[Step, ...]
    """Every node, each after the nodes it reads from."""
    first: tuple[Step, ...]
    """Steps that wait for no other."""
    outputs: tuple[tuple[str, int], ...]
    """Graph outputs and the slots they come from."""
    waits: tuple[int, ...]
    """By step: how many other steps it reads from."""
    uses: tuple[int, ...]
    """By slot: how many reads there are; graph outputs count as one that never ends."""


def make_plan(graph: Graph, signatures: Callable[[str], Signature | None]) -> Plan:
    """Return the plan of a graph that `validate` has passed.

    Args:
        graph: The graph.
        signatures: The signature of a model or graph by name, None if it is unknown. Asked at run time, when a map has
            no items to call its target with.

    Raises:
        InvalidGraph: nodes read from one another in a cycle (INVALID_ARGUMENT, retry: no).
    """
    ordered = [node for level in levels(graph) for node in level]
    slots = {spec.name: slot for slot, spec in enumerate(graph.inputs)}
    uses = [0] * len(slots)
    for _, binding in graph.edges():
        slot = slots.setdefault(binding.source, len(slots))
        uses.extend([0] * (slot + 1 - len(uses)))
        uses[slot] += 1
    needs = producers(graph)
    steps = _steps(ordered, slots, needs, signatures)
    return Plan(
        graph=graph.name,
        inputs=tuple(spec.name for spec in graph.inputs),
        steps=steps,
        first=tuple(step for step in steps if not needs[step.node]),
        outputs=tuple((binding.name, slots[binding.source]) for binding in graph.outputs),
        waits=tuple(len(needs[step.node]) for step in steps),
        uses=tuple(uses),
    )


def _steps(
    ordered: list[Node],
    slots: Mapping[str, int],
    needs: Mapping[str, tuple[str, ...]],
    signatures: Callable[[str], Signature | None],
) -> tuple[Step, ...]:
    writes: dict[str, list[tuple[str, int]]] = {node.name: [] for node in ordered}
    for source, slot in slots.items():
        producer, dot, tensor = source.partition(".")
        if dot:
            writes[producer].append((tensor, slot))
    readers: dict[str, list[int]] = {node.name: [] for node in ordered}
    for index, node in enumerate(ordered):
        for producer in needs[node.name]:
            readers[producer].append(index)
    return tuple(
        Step(
            index=index,
            node=node.name,
            target=node.target.name,
            target_is_graph=isinstance(node.target, GraphCall),
            version=node.target.version if isinstance(node.target, ModelCall) else "",
            reads=tuple((binding.name, slots[binding.source]) for binding in node.inputs),
            writes=tuple(writes[node.name]),
            outputs=tuple(tensor for tensor, _ in writes[node.name]),
            readers=tuple(readers[node.name]),
            map=_map_step(node.kind, signatures) if isinstance(node.kind, Map) else None,
        )
        for index, node in enumerate(ordered)
    )


def _map_step(kind: Map, signatures: Callable[[str], Signature | None]) -> MapStep:
    return MapStep(
        over=kind.over,
        batch_size=kind.batch_size,
        max_concurrency=kind.max_concurrency or DEFAULT_CONCURRENCY,
        signatures=signatures,
    )
