"""What a graph's author wrote becomes what runs: each step and branch an action in its place."""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from graphmesh.core.errors import Code
from graphmesh.graph.checks.scopes import reads
from graphmesh.graph.conditions import ANSWERED, INPUTS, Condition, Key
from graphmesh.graph.running.actions.cache import CacheAction
from graphmesh.graph.running.actions.cascade import CascadeAction
from graphmesh.graph.running.actions.fallback import FallbackAction
from graphmesh.graph.running.actions.loop import LoopAction
from graphmesh.graph.running.actions.memory import CacheMemory
from graphmesh.graph.running.actions.parallel import ParallelAction
from graphmesh.graph.running.actions.race import RaceAction
from graphmesh.graph.running.actions.split import SplitAction
from graphmesh.graph.running.actions.switch import SwitchAction
from graphmesh.graph.running.actions.transform import TransformAction
from graphmesh.graph.running.branch import Branch
from graphmesh.graph.running.calls import CallAction
from graphmesh.graph.running.mapping import MapAction
from graphmesh.graph.spec import (
    Aggregate,
    Cache,
    Cascade,
    Fallback,
    GraphCall,
    Loop,
    Map,
    ModelCall,
    Parallel,
    Race,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.apply import compile_operations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphmesh.core.signature import Signature
    from graphmesh.graph.running.action import Action
    from graphmesh.graph.spec import Node, Target

__all__ = ["compile_step"]

_NOTHING_STAYS: Mapping[str, tuple[Target, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all steps of a graph share while they are compiled."""

    headers: set[str]
    """Gets the names of headers that conditions name."""
    memory: CacheMemory
    """What caches keep their answers in."""


def compile_step(
    node: Node,
    signatures: Callable[[Target], Signature | None],
    *,
    stay: Mapping[str, tuple[Target, ...]] = _NOTHING_STAYS,
    headers: set[str] | None = None,
    memory: CacheMemory | None = None,
) -> Branch:
    """Return what a step, or a branch of one, does.

    Args:
        node: The step.
        signatures: What a model or graph takes and gives, None if that is not known.
        stay: As `Step.stay`.
        headers: Gets the names of headers that its conditions name.
        memory: What its caches share with others; None for one of their own.

    Raises:
        InvalidGraph: a condition cannot be read (INVALID_ARGUMENT, retry: no).
    """
    named: set[str] = set() if headers is None else headers
    memory = memory or CacheMemory()
    branches = [compile_step(branch, signatures, headers=named, memory=memory) for branch in node.branches]
    target = node.target
    signature = None if target is None else signatures(target)
    action = _action(node, branches, signature, stay, _Shared(named, memory))
    return Branch(
        node,
        action,
        takes=_takes(node, signature),
        gives=_gives(node, branches, signature),
        unknown=str(target) if target is not None and signature is None else "",
    )


def _action(
    node: Node,
    branches: Sequence[Branch],
    signature: Signature | None,
    stay: Mapping[str, tuple[Target, ...]],
    shared: _Shared,
) -> Action:
    kind = node.kind
    if isinstance(kind, ModelCall | GraphCall):
        return CallAction(kind, streams=signature is not None and signature.streaming, stay=stay)
    if isinstance(kind, Map):
        return MapAction(kind, signature)
    if isinstance(kind, Transform):
        return TransformAction(changes=compile_operations(kind.operations, kind.keep))
    return _composed(kind, branches, shared)


def _composed(
    kind: Switch | Split | Parallel | Fallback | Cascade | Race | Loop | Cache,
    branches: Sequence[Branch],
    shared: _Shared,
) -> Action:
    action: Action
    headers = shared.headers
    match kind:
        case Switch(cases=cases):
            conditions = [Condition.parse(case.when, sees=INPUTS) for case in cases]
            headers.update(*(condition.reads("headers") for condition in conditions))
            default = branches[-1] if kind.default is not None else None
            action = SwitchAction(cases=list(zip(conditions, branches, strict=False)), default=default)
        case Split(shares=shares, key=key):
            weights = [(share.weight, branch) for share, branch in zip(shares, branches, strict=True)]
            value = Key.parse(key) if key else None
            headers.update(value.reads("headers") if value else ())
            action = SplitAction(shares=weights, key=value, draw=random.random)
        case Parallel(join=join, quorum=quorum, aggregate=aggregate):
            action = ParallelAction(branches=branches, join=join, quorum=quorum, aggregate=aggregate)
        case Fallback(on=on):
            action = FallbackAction(branches=branches, on=frozenset(Code[name] for name in on))
        case Cascade(confidence=confidence, threshold=threshold):
            action = CascadeAction(branches=branches, confidence=confidence, threshold=threshold)
        case Race(delay_s=delay_s):
            action = RaceAction(branches=branches, delay_s=delay_s)
        case Loop(until=until, max_iterations=most, carry=carry):
            ends = Condition.parse(until, sees=ANSWERED) if until else None
            headers.update(ends.reads("headers") if ends else ())
            action = LoopAction(
                body=branches[0],
                until=ends,
                max_iterations=most,
                carry=[(binding.name, binding.source) for binding in carry],
            )
        case Cache(ttl_s=ttl_s, max_entries=entries, max_bytes=size):
            action = CacheAction(
                body=branches[0], ttl_s=ttl_s, max_entries=entries, max_bytes=size, memory=shared.memory
            )
    return action


def _takes(node: Node, signature: Signature | None) -> frozenset[str] | None:
    """Return what a branch without bindings takes of the inputs of the step around it; None for all."""
    if signature is not None:
        return frozenset(spec.name for spec in signature.inputs)
    return frozenset(reads(node)) if isinstance(node.kind, Transform) else None


def _gives(node: Node, branches: Sequence[Branch], signature: Signature | None) -> frozenset[str] | None:
    """Return the names of a step's outputs; None if they are not known."""
    if node.outputs:
        return frozenset(binding.name for binding in node.outputs)
    if node.target is not None:
        return None if signature is None else frozenset(spec.name for spec in signature.outputs)
    if isinstance(node.kind, Transform):
        read = {name for operation in node.kind.operations for name in operation.inputs}
        made = {name for operation in node.kind.operations for name in operation.outputs}
        return frozenset(made - read) | frozenset(node.kind.keep)
    known = [branch.gives for branch in branches if branch.gives is not None]
    if len(known) < len(branches):
        return None
    if isinstance(node.kind, Parallel) and node.kind.aggregate is Aggregate.MERGE:
        return frozenset().union(*known)
    return frozenset.intersection(*known)
