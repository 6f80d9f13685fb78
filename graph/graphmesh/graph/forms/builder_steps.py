"""Steps that run other steps, written in Python: the part of `GraphBuilder` that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.forms.branches import as_branch, as_branches, bindings
from graphmesh.graph.forms.sources import Built, by_name, source_name
from graphmesh.graph.forms.wire_enums import default_aggregate
from graphmesh.graph.spec import (
    Cache,
    Cascade,
    Case,
    Fallback,
    Join,
    Loop,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    Transform,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.graph.forms.branches import Branch
    from graphmesh.graph.forms.sources import Source
    from graphmesh.graph.spec import Aggregate, Kind
    from graphmesh.graph.transforms.operations import Operation

__all__ = ["StepBuilder"]


class StepBuilder:
    """Collects nodes that run branches or operations; arguments that all have are explained at `GraphBuilder`."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []

    def switch(
        self,
        node: str,
        cases: Mapping[str, Branch],
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        default: Branch | None = None,
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that runs the first branch whose condition holds.

        ``cases``: Branches by CEL condition, in order of precedence.
        ``default``: What is run if none holds; None refuses such a request.
        """
        kind = Switch(
            cases=tuple(Case(when=when, then=as_branch(then)) for when, then in cases.items()),
            default=None if default is None else as_branch(default),
        )
        return self._add(node, kind, inputs, more, timeout_s)

    def split(
        self,
        node: str,
        shares: Iterable[tuple[int, Branch]],
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        key: str = "",
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that runs one branch, chosen by weight.

        ``shares``: Weights and branches.
        ``key``: A CEL expression; calls with equal values take the same branch. Empty chooses for each call anew.
        """
        kind = Split(shares=tuple(Share(weight=weight, then=as_branch(then)) for weight, then in shares), key=key)
        return self._add(node, kind, inputs, more, timeout_s)

    def parallel(
        self,
        node: str,
        branches: Iterable[Branch],
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        join: Join = Join.ALL,
        quorum: int = 0,
        aggregate: Aggregate | None = None,
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that runs all branches at once.

        ``branches``: At least two.
        ``join``: Which of them must answer.
        ``quorum``: How many, for `Join.QUORUM`.
        ``aggregate``: How answers become one; None means `Aggregate.MERGE`, or `Aggregate.ONE` for `Join.FIRST`.
        """
        kind = Parallel(
            branches=as_branches(branches),
            join=join,
            quorum=quorum,
            aggregate=default_aggregate(join) if aggregate is None else aggregate,
        )
        return self._add(node, kind, inputs, more, timeout_s)

    def fallback(
        self,
        node: str,
        branches: Iterable[Branch],
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        on: Iterable[str] = (),
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that runs the next branch when one fails.

        ``branches``: At least two.
        ``on``: Names of gRPC codes on which the next is tried; none: all that do not say that the request is wrong.
        """
        kind = Fallback(branches=as_branches(branches), on=tuple(on))
        return self._add(node, kind, inputs, more, timeout_s)

    def cascade(
        self,
        node: str,
        branches: Iterable[Branch],
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        confidence: str,
        threshold: float,
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that runs the next branch while one is not sure enough.

        ``branches``: Cheapest first; at least two.
        ``confidence``: The output that says how sure an answer is: its smallest element counts.
        ``threshold``: Sure enough: at least this.
        """
        kind = Cascade(branches=as_branches(branches), confidence=confidence, threshold=threshold)
        return self._add(node, kind, inputs, more, timeout_s)

    def race(
        self,
        node: str,
        branches: Iterable[Branch],
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        delay_s: float = 0.0,
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that starts the next branch beside one that is slow, and takes the first answer.

        ``branches``: At least one; a single one is started a second time.
        ``delay_s``: Seconds between two starts.
        """
        kind = Race(branches=as_branches(branches), delay_s=delay_s)
        return self._add(node, kind, inputs, more, timeout_s)

    def loop(
        self,
        node: str,
        body: Branch,
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        max_iterations: int,
        until: str = "",
        carry: Mapping[str, str] | None = None,
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that runs a branch again and again.

        ``body``: What is run.
        ``max_iterations``: The most times, 1 to 1,000.
        ``until``: A CEL condition that ends it; empty repeats to the limit.
        ``carry``: What each time gives the next: for inputs of this node, outputs of the body.
        """
        kind = Loop(body=as_branch(body), max_iterations=max_iterations, until=until, carry=bindings(carry or {}))
        return self._add(node, kind, inputs, more, timeout_s)

    def cache(
        self,
        node: str,
        body: Branch,
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        ttl_s: float = 0.0,
        max_entries: int = 0,
        max_bytes: int = 0,
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that remembers a branch's answers.

        ``body``: What is run for inputs that are not remembered.
        ``ttl_s``: Seconds that an answer is remembered; 0 means 60.
        ``max_entries``: Most answers; 0 means 1,000.
        ``max_bytes``: Most bytes of tensors; 0 means 64 MiB.
        """
        kind = Cache(body=as_branch(body), ttl_s=ttl_s, max_entries=max_entries, max_bytes=max_bytes)
        return self._add(node, kind, inputs, more, timeout_s)

    def transform(
        self,
        node: str,
        operations: Iterable[Operation],
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        keep: Iterable[str] = (),
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that changes tensors without any model.

        ``operations``: One after the other.
        ``keep``: Names of results that it gives although an operation reads them.
        """
        kind = Transform(operations=tuple(operations), keep=tuple(keep))
        return self._add(node, kind, inputs, more, timeout_s)

    def _add(
        self,
        node: str,
        kind: Kind,
        inputs: Mapping[str, Source] | None,
        more: Mapping[str, Source],
        timeout_s: float,
    ) -> Built:
        given = {**by_name(node, inputs), **more}
        bound = bindings({name: source_name(node, source) for name, source in given.items()})
        self._nodes.append(Node(name=node, kind=kind, inputs=bound, timeout_s=timeout_s))
        return Built(node)
