"""What can be checked about a step that runs branches: their number, bounds, and what its conditions read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphmesh.core.errors import Code, InvalidGraph
from graphmesh.core.names import check_tensor_name
from graphmesh.graph.checks.hints import check_number, check_unique, did_you_mean
from graphmesh.graph.conditions import MAX_COST, Condition, Key
from graphmesh.graph.limits import MAX_CACHE_BYTES, MAX_CACHE_ENTRIES, MAX_ITERATIONS, MAX_STEP_S, MAX_TTL_S
from graphmesh.graph.spec import (
    Aggregate,
    Cache,
    Cascade,
    Fallback,
    Join,
    Loop,
    Parallel,
    Race,
    Split,
    Switch,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from graphmesh.graph.spec import Node

__all__ = ["check_composed"]

_MAX_UINT32 = 2**32 - 1
_CODES = {code.name for code in Code} - {"OK", "CANCELLED"}
_INPUTS = frozenset({"inputs"})
_ALL = frozenset({"inputs", "outputs", "iteration"})


def check_composed(node: Node, given: AbstractSet[str]) -> None:
    """Check a step that runs branches, but not the branches; of other kinds there is nothing to check here.

    Args:
        node: The step.
        given: Its inputs.

    Raises:
        InvalidGraph: says what is wrong and the fix, not where (INVALID_ARGUMENT, retry: no).
    """
    match node.kind:
        case Switch():
            _check_switch(node.kind, given)
        case Split():
            _check_split(node.kind, given)
        case Parallel():
            _check_parallel(node.kind)
        case Fallback():
            _check_fallback(node.kind)
        case Cascade():
            _check_cascade(node.kind)
        case Race():
            _check_count(node.kind.branches, "a race", least=1)
            check_number("delay", node.kind.delay_s, 0, MAX_STEP_S, unit=" s")
        case Loop():
            _check_loop(node.kind, given)
        case Cache():
            check_number("ttl", node.kind.ttl_s, 0, MAX_TTL_S, unit=" s")
            check_number("max_entries", node.kind.max_entries, 0, MAX_CACHE_ENTRIES)
            check_number("max_bytes", node.kind.max_bytes, 0, MAX_CACHE_BYTES)
        case _:
            pass


def _check_count(branches: tuple[Node, ...], what: str, *, least: int) -> None:
    if len(branches) < least:
        noun = "branch" if least == 1 else "branches"
        raise InvalidGraph(f"{what} must have at least {least} {noun}, got {len(branches)}; add one")


def _check_reads(what: str, names: Iterable[str], given: AbstractSet[str], *, of: str) -> None:
    for name in sorted(names):
        if name not in given:
            known = f"; there are {', '.join(sorted(given))}" if given else "; there are none"
            raise InvalidGraph(
                f"{what} reads {of}.{name[:140]}, which is not there{did_you_mean(name, given) or known}"
            )


def _check_switch(kind: Switch, given: AbstractSet[str]) -> None:
    if not kind.cases:
        raise InvalidGraph("a switch must have a case, got none; add one or call the default itself")
    cost = 0.0
    for case in kind.cases:
        what = f"the case of branch {case.then.name[:140]!r}"
        condition = Condition.parse(case.when, sees=_INPUTS)
        _check_reads(what, condition.reads("inputs"), given, of="inputs")
        _check_reads(what, condition.reads("shapes"), given, of="shapes")
        cost += condition.expression.cost
    if cost > MAX_COST:
        raise InvalidGraph(
            f"the conditions of a switch could take {cost:.0f} steps together on the largest tensors that they see, at "
            f"most {MAX_COST} are allowed; search less in them, or let a model before the switch work it out"
        )


def _check_split(kind: Split, given: AbstractSet[str]) -> None:
    for share in kind.shares:
        check_number(f"the weight of branch {share.then.name[:140]!r}", share.weight, 0, _MAX_UINT32)
    if not any(share.weight for share in kind.shares):
        raise InvalidGraph(f"a split must have a share with a positive weight, got none of {len(kind.shares)}")
    if kind.key:
        key = Key.parse(kind.key)
        _check_reads("`key`", key.reads("inputs"), given, of="inputs")
        _check_reads("`key`", key.reads("shapes"), given, of="shapes")


def _check_parallel(kind: Parallel) -> None:
    _check_count(kind.branches, "a parallel step", least=2)
    if kind.join is Join.QUORUM:
        check_number("quorum", kind.quorum, 1, len(kind.branches))
    elif kind.quorum:
        raise InvalidGraph(
            f"quorum is for join quorum, got {kind.quorum} with join {kind.join.value}; remove one of them"
        )
    if (kind.join is Join.FIRST) != (kind.aggregate is Aggregate.ONE):
        raise InvalidGraph(
            f"join first, and only it, gives one answer, which is taken as it is (aggregate one); "
            f"got join {kind.join.value} with aggregate {kind.aggregate.value}"
        )
    if kind.aggregate is Aggregate.MERGE and kind.join is not Join.ALL:
        raise InvalidGraph(
            f"aggregate merge needs every branch's answer; got join {kind.join.value}: use join all, or one of the "
            f"aggregates concat, mean, vote and max"
        )


def _check_fallback(kind: Fallback) -> None:
    _check_count(kind.branches, "a fallback", least=2)
    check_unique("`on` entry", kind.on)
    for name in kind.on:
        if name not in _CODES:
            hint = did_you_mean(name, _CODES) or f"; there are {', '.join(sorted(_CODES))}"
            raise InvalidGraph(
                f"`on` must name gRPC codes on which a call may be tried elsewhere, got {name[:140]!r}{hint}"
            )


def _check_cascade(kind: Cascade) -> None:
    _check_count(kind.branches, "a cascade", least=2)
    check_tensor_name(kind.confidence)
    if not math.isfinite(kind.threshold):
        raise InvalidGraph(f"`threshold` must be a finite number, got {kind.threshold}")
    for branch in kind.branches[:-1]:
        _check_gives(branch, kind.confidence, "`confidence`")


def _check_gives(branch: Node, name: str, what: str) -> None:
    """Check that a branch which renames its outputs gives one of this name."""
    names = {binding.name for binding in branch.outputs}
    if names and name not in names:
        raise InvalidGraph(
            f"{what} reads {name[:140]!r}, which branch {branch.name[:140]!r} does not give"
            f"{did_you_mean(name, names)}; add it to the branch's `outputs`"
        )


def _check_loop(kind: Loop, given: AbstractSet[str]) -> None:
    check_number("max_iterations", kind.max_iterations, 1, MAX_ITERATIONS)
    if kind.until:
        condition = Condition.parse(kind.until, sees=_ALL)
        _check_reads("`until`", condition.reads("inputs"), given, of="inputs")
        for name in sorted(condition.reads("outputs")):
            _check_gives(kind.body, name, "`until`")
    check_unique("`carry` entry", (binding.name for binding in kind.carry))
    for binding in kind.carry:
        _check_reads("`carry`", [binding.name], given, of="inputs")
        check_tensor_name(binding.source)
        _check_gives(kind.body, binding.source, "`carry`")
