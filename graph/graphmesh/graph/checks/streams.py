"""Which steps of a graph give a stream of answers, which run once for each of them, and where a stream cannot go.

A step that calls something that streams is a source; `switch`, `split` and `fallback` pass their branch's stream on. A
step that reads from a source, or from a step that does, runs once for each position of the stream. Any other kind needs
one answer of each branch, so that a stream inside it is refused.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.flows import Place
from graphmesh.graph.checks.structure import edge_name
from graphmesh.graph.order import levels, producers
from graphmesh.graph.spec import Fallback, GraphCall, Map, ModelCall, Split, Switch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.graph.spec import Graph, Node, Target

__all__ = ["Streaming", "classify"]


class Streaming(enum.Enum):
    """How often a step answers in one request."""

    SINGLE = "single"
    """Once."""
    SOURCE = "source"
    """Once run, it gives a stream of answers."""
    POSITION = "position"
    """It runs, and answers, once for each position of the streams that it depends on."""


def classify(graph: Graph, streams: Callable[[Target], bool]) -> Mapping[str, Streaming]:
    """Return how often each of a graph's own steps answers, by name.

    Args:
        graph: A graph of valid structure.
        streams: Whether a model or graph gives a stream of answers.

    Raises:
        InvalidGraph: a stream where one answer is needed; names the step and the fix (INVALID_ARGUMENT, retry: no).
    """
    needs = producers(graph)
    modes: dict[str, Streaming] = {}
    for level in levels(graph):
        for node in sorted(level, key=lambda node: node.name):
            reads = [producer for producer in needs[node.name] if modes[producer] is not Streaming.SINGLE]
            streaming = _streaming(Place(node, node.name), streams)
            if streaming and reads:
                raise _refused(node, streaming, reads[0])
            modes[node.name] = Streaming.SOURCE if streaming else Streaming.POSITION if reads else Streaming.SINGLE
    return modes


def _streaming(place: Place, streams: Callable[[Target], bool]) -> str:
    """Return what makes a step give a stream, as errors name it; empty if it does not."""
    kind = place.node.kind
    if isinstance(kind, ModelCall | GraphCall):
        return str(kind) if streams(kind) else ""
    if isinstance(kind, Map):
        if streams(kind.target):
            raise place.wrong(
                f"{kind.target} streams its answers, but a map needs one answer for each item; call it in a step of "
                "its own, whose readers run once for each answer"
            )
        return ""
    sources = [(branch, _streaming(place.inside(branch), streams)) for branch in place.node.branches]
    branch, source = next((entry for entry in sources if entry[1]), (None, ""))
    if branch is not None and not isinstance(kind, Switch | Split | Fallback):
        name = type(kind).__name__.lower()
        raise place.wrong(
            f"its branch {branch.name} streams, as {source} does, but a {name} needs one answer of each branch; call "
            f"{source} in a step before it, which then runs once for each answer"
        )
    return source


def _refused(node: Node, source: str, reads: str) -> InvalidGraph:
    binding = next(binding for binding in node.inputs if binding.node == reads)
    return InvalidGraph(
        f"{edge_name(node.name, binding)}: {binding.source} is a stream of answers, and {source} "
        f"would stream for each of them; let {node.name} read what is not streamed"
    )
