"""What can be checked about a step that runs branches: their number, bounds, and what its conditions read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphmesh.core.errors import Code, InvalidGraph, InvalidRequest
from graphmesh.core.names import check_tensor_name
from graphmesh.graph.checks.hints import at, check_number, check_unique, did_you_mean
from graphmesh.graph.conditions import ANSWERED, INPUTS, MAX_COST, Condition, Key
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
    from collections.abc import Set as AbstractSet

    from graphmesh.graph.checks.findings import Findings
    from graphmesh.graph.spec import Node

__all__ = ["check_composed"]

_MAX_UINT32 = 2**32 - 1
_CODES = {code.name for code in Code} - {"OK", "CANCELLED"}


def check_composed(node: Node, given: AbstractSet[str], findings: Findings) -> None:
    """Check a step that runs branches, but not the branches; of other kinds there is nothing to check here.

    Args:
        node: The step.
        given: Its inputs.
        findings: Those of the step; get what is wrong with its conditions, names and settings one by one.

    Raises:
        InvalidGraph: says what else is wrong and the fix, not where (INVALID_ARGUMENT, retry: no).
    """
    match node.kind:
        case Switch():
            _check_switch(node.kind, given, findings)
        case Split():
            _check_split(node.kind, given, findings)
        case Parallel():
            _check_parallel(node.kind, findings)
        case Fallback():
            _check_fallback(node.kind, findings)
        case Cascade():
            _check_cascade(node.kind, findings)
        case Race():
            with findings.note():
                _check_count(node.kind.branches, "a race", least=1)
            check_number("delay", node.kind.delay_s, 0, MAX_STEP_S, unit=" s")
        case Loop():
            _check_loop(node.kind, given, findings)
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


def _check_reads(what: str, expression: Condition | Key, given: AbstractSet[str], findings: Findings) -> None:
    """Check that an expression reads inputs that there are; in `until`, outputs may have shapes, too."""
    for variable in ("inputs",) if what == "`until`" else ("inputs", "shapes"):
        for name in sorted(expression.reads(variable)):
            with findings.note():
                _check_there(what, f"{variable}.", name, given)


def _check_there(what: str, lead: str, name: str, given: AbstractSet[str]) -> None:
    if name not in given:
        known = f"; there are {', '.join(sorted(given))}" if given else "; there are none"
        raise InvalidGraph(f"{what} reads {lead}{name[:140]}, which is not there{did_you_mean(name, given) or known}")


def _check_switch(kind: Switch, given: AbstractSet[str], findings: Findings) -> None:
    if not kind.cases:
        raise InvalidGraph("a switch must have a case, got none; add one or call the default itself")
    cost = 0.0
    for case in kind.cases:
        what = f"the case of branch {case.then.name[:140]!r}"
        with findings.note():
            with at(what):
                condition = Condition.parse(case.when, sees=INPUTS)
            _check_reads(what, condition, given, findings)
            cost += condition.expression.cost
    if cost > MAX_COST:
        raise InvalidGraph(
            f"the conditions of a switch could take {cost:.0f} steps together on the largest tensors that they see, at "
            f"most {MAX_COST} are allowed; search less in them, or let a model before the switch work it out"
        )


def _check_split(kind: Split, given: AbstractSet[str], findings: Findings) -> None:
    for share in kind.shares:
        with findings.note():
            check_number(f"the weight of branch {share.then.name[:140]!r}", share.weight, 0, _MAX_UINT32)
    with findings.note():
        if not any(share.weight for share in kind.shares):
            raise InvalidGraph(f"a split must have a share with a positive weight, got none of {len(kind.shares)}")
    if kind.key:
        with at("`key`"):
            key = Key.parse(kind.key)
        _check_reads("`key`", key, given, findings)


def _check_parallel(kind: Parallel, findings: Findings) -> None:
    with findings.note():
        _check_count(kind.branches, "a parallel step", least=2)
    with findings.note():
        _check_quorum(kind)
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


def _check_quorum(kind: Parallel) -> None:
    if kind.join is Join.QUORUM:
        check_number("quorum", kind.quorum, 1, len(kind.branches))
    elif kind.quorum:
        raise InvalidGraph(
            f"quorum is for join quorum, got {kind.quorum} with join {kind.join.value}; remove one of them"
        )


def _check_fallback(kind: Fallback, findings: Findings) -> None:
    with findings.note():
        _check_count(kind.branches, "a fallback", least=2)
    with findings.note():
        check_unique("`on` entry", kind.on)
    for name in kind.on:
        with findings.note():
            if name not in _CODES:
                hint = did_you_mean(name, _CODES) or f"; there are {', '.join(sorted(_CODES))}"
                raise InvalidGraph(
                    f"`on` must name gRPC codes on which a call may be tried elsewhere, got {name[:140]!r}{hint}"
                )


def _check_cascade(kind: Cascade, findings: Findings) -> None:
    with findings.note():
        _check_count(kind.branches, "a cascade", least=2)
    with findings.note():
        if not math.isfinite(kind.threshold):
            raise InvalidGraph(f"`threshold` must be a finite number, got {kind.threshold}")
    try:
        check_tensor_name(kind.confidence)
    except InvalidRequest as error:
        raise InvalidGraph(
            "`confidence` must name the output that says how sure an answer is, and `threshold` be the number that is "
            f"sure enough, as `confidence: score` and `threshold: 0.9`; got {kind.confidence[:140]!r}"
        ) from error
    for branch in kind.branches[:-1]:
        with findings.note():
            _check_gives(branch, kind.confidence, "`confidence`")


def _check_gives(branch: Node, name: str, what: str) -> None:
    """Check that a branch which renames its outputs gives one of this name."""
    names = {binding.name for binding in branch.outputs}
    if names and name not in names:
        raise InvalidGraph(
            f"{what} reads {name[:140]!r}, which branch {branch.name[:140]!r} does not give"
            f"{did_you_mean(name, names)}; add it to the branch's `outputs`"
        )


def _check_loop(kind: Loop, given: AbstractSet[str], findings: Findings) -> None:
    with findings.note():
        check_number("max_iterations", kind.max_iterations, 1, MAX_ITERATIONS)
    if kind.until:
        with findings.note():
            _check_until(kind, given, findings)
    with findings.note():
        check_unique("`carry` entry", (binding.name for binding in kind.carry))
    for binding in kind.carry:
        with findings.note():
            _check_there("`carry`", "inputs.", binding.name, given)
        with findings.note():
            check_tensor_name(binding.source)
            _check_gives(kind.body, binding.source, "`carry`")


def _check_until(kind: Loop, given: AbstractSet[str], findings: Findings) -> None:
    with at("`until`"):
        condition = Condition.parse(kind.until, sees=ANSWERED)
    _check_reads("`until`", condition, given, findings)
    for name in sorted(condition.reads("outputs")):
        with findings.note():
            _check_gives(kind.body, name, "`until`")
