"""What pictures of a graph say in words: what a node does, and when each of its branches is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.limits import DEFAULT_CACHE_ENTRIES, DEFAULT_CONCURRENCY, DEFAULT_TTL_S
from graphmesh.graph.order import levels
from graphmesh.graph.spec import (
    Cache,
    Cascade,
    Fallback,
    Graph,
    Join,
    Loop,
    Map,
    Node,
    Parallel,
    Race,
    Split,
    Switch,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.signature import TensorSpec

__all__ = ["Branch", "branches", "columns", "does", "given", "ordered", "typed"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a composed step, as pictures show it."""

    label: str
    """When it is run; empty if that goes without saying."""
    node: Node
    """What is run."""
    path: str
    """`node/branch`, as errors, times and types name it."""


def branches(node: Node, path: str) -> tuple[Branch, ...]:
    """Return the branches directly inside a node at ``path``, in the order they are written."""
    labels = list(_labels(node))
    return tuple(
        Branch(label, inner, f"{path}/{inner.name}") for label, inner in zip(labels, node.branches, strict=True)
    )


def _labels(node: Node) -> Iterator[str]:
    """Return one label for each of `Node.branches`."""
    match node.kind:
        case Switch(cases=cases, default=default):
            yield from (f"if {case.when}" for case in cases)
            yield from () if default is None else ("otherwise",)
        case Split(shares=shares):
            total = sum(share.weight for share in shares) or 1
            yield from (f"{100 * share.weight / total:.3g} % of calls" for share in shares)
        case Fallback(branches=inner):
            yield from ("first" if index == 0 else "if that fails" for index in range(len(inner)))
        case Cascade(branches=inner, confidence=confidence, threshold=threshold):
            below = f"if {confidence} < {threshold:g}"
            yield from ("first" if index == 0 else below for index in range(len(inner)))
        case Race(branches=inner, delay_s=delay_s):
            yield from (
                f"after {_ms(delay_s * index)}" if index and delay_s else "at once" for index in range(len(inner))
            )
        case Loop(until=until):
            yield f"until {until}" if until else "each time"
        case Cache():
            yield "if not remembered"
        case _:
            yield from ("" for _ in node.branches)


def does(node: Node) -> str:
    """Return what a node does, in one line: ``map of model ocr-read over crop, 8 a call, 4 at once``."""
    text = _kind(node)
    return f"{text}, within {_ms(node.timeout_s)}" if node.timeout_s else text


def _kind(node: Node) -> str:
    text = str(node.kind)
    match node.kind:
        case Map(over=over, batch_size=batch_size, max_concurrency=max_concurrency):
            size = f"{batch_size} a call" if batch_size else "one by one"
            text += f" over {', '.join(over)}, {size}, {max_concurrency or DEFAULT_CONCURRENCY} at once"
        case Split(key=key) if key:
            text += f" by {key}"
        case Parallel(join=Join.QUORUM, quorum=quorum, aggregate=aggregate):
            text = f"parallel, quorum of {quorum}, {aggregate.value}"
        case Fallback(on=on) if on:
            text += f" on {', '.join(on)}"
        case Race(delay_s=delay_s, branches=(_, _, *_)):
            text = f"race, {_ms(delay_s)} apart" if delay_s else "race, all at once"
        case Race(delay_s=delay_s):
            text = f"race with itself, started again after {_ms(delay_s)}"
        case Loop(carry=carry) if carry:
            text += f", carrying {', '.join(f'{one.source} to {one.name}' for one in carry)}"
        case Cache(ttl_s=ttl_s, max_entries=max_entries):
            text += f", {max_entries or DEFAULT_CACHE_ENTRIES} answers for {_ms(ttl_s or DEFAULT_TTL_S)}"
    return text


def columns(graph: Graph) -> tuple[tuple[Node, ...], ...]:
    """Return the nodes by level of running order; if there is none, each alone, as written."""
    try:
        return levels(graph)
    except (InvalidGraph, KeyError):  # a cycle, or a source that does not exist
        return tuple((node,) for node in graph.nodes)


def ordered(graph: Graph) -> list[Node]:
    """Return the nodes in running order; as written if there is none."""
    return [node for column in columns(graph) for node in column]


def typed(shown: str, source: str, types: Mapping[str, TensorSpec]) -> str:
    """Return ``shown: FP32 (N, 3)``, or what is shown alone if the type of ``source`` is not known."""
    spec = types.get(source)
    return f"{shown}: {spec.type}" if spec else shown


def given(path: str, types: Mapping[str, TensorSpec]) -> list[tuple[str, TensorSpec]]:
    """Return what the step or branch at ``path`` gives, by name; none if its types are not known."""
    return [(source.removeprefix(f"{path}."), spec) for source, spec in types.items() if source.startswith(f"{path}.")]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
