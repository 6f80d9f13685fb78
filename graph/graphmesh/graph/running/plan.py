"""What a run needs to know about a graph, worked out once per revision and what is known of signatures.

Names become indexes: every tensor that something reads gets a slot, every step the slots it reads and writes, and every
slot the number of its readers, so that a run lets a tensor go with its last reader. What steps do is compiled into
actions. A graph with streams falls into three parts: steps that no stream reaches run once, before anything else; steps
that stream are pulled; steps that read what these give run once for each position.

A plan is immutable and shared by all runs, but for what its caches remember; it costs time linear in nodes and edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from graphmesh.graph.checks.streams import Streaming, classify
from graphmesh.graph.order import levels, producers
from graphmesh.graph.running.actions.memory import CacheMemory
from graphmesh.graph.running.compile import compile_step
from graphmesh.graph.spec import GraphCall, ModelCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.running.branch import Branch
    from graphmesh.graph.spec import Graph, Node, Target

__all__ = ["Part", "Plan", "Step", "make_plan"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One node, with names resolved to indexes."""

    index: int
    """Place in `Plan.steps`."""
    node: str
    """The node's name."""
    spec: Node
    """What its author wrote."""
    branch: Branch
    """What it does."""
    reads: tuple[tuple[str, int], ...]
    """The step's inputs and the slots they come from."""
    writes: tuple[tuple[str, int], ...]
    """Outputs that something reads and the slots they go to."""
    outputs: tuple[str, ...]
    """Names of `writes`: the only outputs worth making."""
    readers: tuple[int, ...]
    """Steps that read from this one, each once."""
    mode: Streaming
    """How often it answers in one request."""
    stay: Mapping[str, tuple[Target, ...]]
    """Of a plain call: outputs that only plain calls read, with what these call. Such a tensor may stay on a device."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Steps that are run together, in the order their inputs allow."""

    steps: tuple[Step, ...]
    """All of them, each after those it reads from."""
    first: tuple[Step, ...]
    """Those that wait for no other of them."""
    waits: tuple[int, ...]
    """By step of the plan: from how many others of this part it reads."""
    readers: tuple[tuple[Step, ...], ...]
    """By step of the plan: its readers in this part."""
    chain: bool
    """Each but the first reads from the one before it, and so none can run beside another."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What every run of one graph revision shares."""

    graph: str
    """The graph's name."""
    inputs: tuple[str, ...]
    """Graph inputs; their slots are 0, 1, ..."""
    steps: tuple[Step, ...]
    """Every node, each after the nodes it reads from."""
    outputs: tuple[tuple[str, int], ...]
    """Graph outputs and the slots they come from."""
    uses: tuple[int, ...]
    """By slot: how many reads there are; graph outputs count as one that never ends."""
    before: Part
    """Steps that run once; all of them if nothing streams."""
    sources: tuple[Step, ...]
    """Steps that stream."""
    after: Part
    """Steps that run once for each position."""
    targets: tuple[Target, ...]
    """Every model and graph that a run may call, each once."""
    headers: frozenset[str]
    """Names of the request's headers that conditions name."""

    @property
    def streams(self) -> bool:
        """Whether a run gives many answers."""
        return bool(self.sources)


def make_plan(
    graph: Graph,
    signatures: Callable[[str], Signature | None],
    *,
    pinned: Callable[[ModelCall], Signature | None] | None = None,
    memory: CacheMemory | None = None,
) -> Plan:
    """Return the plan of a graph that `validate` has passed.

    Args:
        graph: The graph.
        signatures: The signature of a model or graph by name, None if it is unknown.
        pinned: That of the version which a call fixes; without this function every version has that of its name.
        memory: What its caches share with those of other plans; None for one of their own.

    Raises:
        InvalidGraph: nodes read from one another in a cycle, a condition cannot be read, or a stream comes where one
            answer is needed (INVALID_ARGUMENT, retry: no).
    """

    def signature(target: Target) -> Signature | None:
        if pinned is not None and isinstance(target, ModelCall) and target.version:
            return pinned(target)
        return signatures(target.name)

    ordered = [node for level in levels(graph) for node in level]
    slots = {spec.name: slot for slot, spec in enumerate(graph.inputs)}
    uses = [0] * len(slots)
    for _, binding in graph.edges():
        slot = slots.setdefault(binding.source, len(slots))
        uses.extend([0] * (slot + 1 - len(uses)))
        uses[slot] += 1
    needs = producers(graph)
    headers: set[str] = set()
    memory = memory or CacheMemory()

    def compiled(node: Node, stay: Mapping[str, tuple[Target, ...]]) -> Branch:
        return compile_step(node, signature, stay=stay, headers=headers, memory=memory)

    steps = _steps(graph, ordered, slots, needs, signature, compiled=compiled)
    return Plan(
        graph=graph.name,
        inputs=tuple(spec.name for spec in graph.inputs),
        steps=steps,
        outputs=tuple((binding.name, slots[binding.source]) for binding in graph.outputs),
        uses=tuple(uses),
        before=_part(steps, [step for step in steps if step.mode is Streaming.SINGLE]),
        sources=tuple(step for step in steps if step.mode is Streaming.SOURCE),
        after=_part(steps, [step for step in steps if step.mode is Streaming.POSITION]),
        targets=tuple(dict.fromkeys(target for step in steps for target in step.branch.targets)),
        headers=frozenset(headers),
    )


def _steps(
    graph: Graph,
    ordered: list[Node],
    slots: Mapping[str, int],
    needs: Mapping[str, tuple[str, ...]],
    signatures: Callable[[Target], Signature | None],
    *,
    compiled: Callable[[Node, Mapping[str, tuple[Target, ...]]], Branch],
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
    stay = _stay(graph)
    modes = classify(graph, lambda target: _streams(signatures(target)))
    return tuple(
        Step(
            index=index,
            node=node.name,
            spec=node,
            branch=compiled(node, stay.get(node.name, {})),
            reads=tuple((binding.name, slots[binding.source]) for binding in node.inputs),
            writes=tuple(writes[node.name]),
            outputs=tuple(tensor for tensor, _ in writes[node.name]),
            readers=tuple(readers[node.name]),
            mode=modes[node.name],
            stay=stay.get(node.name, {}),
        )
        for index, node in enumerate(ordered)
    )


def _streams(signature: Signature | None) -> bool:
    return signature is not None and signature.streaming


def _stay(graph: Graph) -> dict[str, dict[str, tuple[Target, ...]]]:
    """Return, by node and output, what all readers of a tensor call, for tensors that only plain calls read."""
    found: dict[str, dict[str, list[Target]]] = {}
    elsewhere: set[str] = {binding.source for binding in graph.outputs}
    for node in graph.nodes:
        for binding in node.inputs:
            if isinstance(node.kind, ModelCall | GraphCall):
                found.setdefault(binding.node, {}).setdefault(binding.tensor, []).append(node.kind)
            else:
                elsewhere.add(binding.source)
    return {
        node: {
            tensor: tuple(targets)
            for tensor, targets in tensors.items()
            if node and f"{node}.{tensor}" not in elsewhere
        }
        for node, tensors in found.items()
    }


def _part(steps: tuple[Step, ...], members: Iterable[Step]) -> Part:
    chosen = tuple(members)
    inside = {step.index for step in chosen}
    waits = [0] * len(steps)
    readers: list[tuple[Step, ...]] = [()] * len(steps)
    for step in chosen:
        readers[step.index] = tuple(steps[index] for index in step.readers if index in inside)
        for reader in readers[step.index]:
            waits[reader.index] += 1
    chain = all(after in readers[before.index] for before, after in pairwise(chosen))
    return Part(
        steps=chosen,
        first=tuple(step for step in chosen if not waits[step.index]),
        waits=tuple(waits),
        readers=tuple(readers),
        chain=chain,
    )
