"""Graphs written in Python.

    g = GraphBuilder("ocr")
    image = g.input("image")
    boxes = g.model("detect", "ocr-detect", image=image)["boxes"]
    text = g.map("read", over={"crop": boxes}, model="ocr-read", batch_size=8)["text"]
    g.output("lines", text)
    graph = g.build()

The builder only writes down what it is told, in order; `validate` finds mistakes, as it does for the text forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node, parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.graph.spec import Kind

__all__ = ["Built", "GraphBuilder", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor that nodes and outputs can read."""

    name: str
    """``input`` or ``node.output``."""


@dataclass(frozen=True, slots=True)
class Built:
    """A node; ``node["boxes"]`` is its output of that name."""

    name: str
    """The node's name."""

    def __getitem__(self, output: str) -> Source:
        """Return one of the node's outputs."""
        return Source(f"{self.name}.{output}")


class GraphBuilder:
    """Collects a graph.

    Args:
        name: The graph's name, as clients call it.
        description: For people.
    """

    def __init__(self, name: str, *, description: str = "") -> None:
        self._name = name
        self._description = description
        self._inputs: list[GraphInput] = []
        self._nodes: list[Node] = []
        self._outputs: list[Binding] = []

    def input(self, name: str, type: str = "", *, description: str = "") -> Source:  # noqa: A002
        """Add a tensor that requests carry.

        Args:
            name: The input's name.
            type: As ``UINT8 (H, W, 3)`` or ``TEXT (N,)``; empty takes it from what reads the input.
            description: For people.

        Raises:
            InvalidGraph: the type is not of that form (INVALID_ARGUMENT, retry: no).
        """
        datatype, shape, text = parse_type(type) if type else ("", (), False)
        self._inputs.append(GraphInput(name=name, datatype=datatype, shape=shape, text=text, description=description))
        return Source(name)

    def model(
        self,
        node: str,
        model: str,
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        version: str = "",
        **more: Source,
    ) -> Built:
        """Add a node that calls a model.

        Args:
            node: The node's name.
            model: The model's name.
            inputs: Tensors by input; for input names that Python does not take as keywords.
            version: A fixed version; empty follows the mesh's choice.
            more: Tensors by input.
        """
        return self._add(node, ModelCall(name=model, version=version), {**(inputs or {}), **more})

    def graph(self, node: str, graph: str, inputs: Mapping[str, Source] | None = None, /, **more: Source) -> Built:
        """Add a node that calls another graph; arguments as for `model`."""
        return self._add(node, GraphCall(name=graph), {**(inputs or {}), **more})

    def map(
        self,
        node: str,
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        over: Mapping[str, Source],
        model: str = "",
        graph: str = "",
        version: str = "",
        batch_size: int = 0,
        max_concurrency: int = 0,
        **more: Source,
    ) -> Built:
        """Add a node that calls a model or graph for the items of tensors.

        Args:
            node: The node's name.
            inputs: Tensors that go to every call unchanged, by input.
            over: Tensors that are divided along axis 0, by input.
            model: The model to call; this or ``graph``.
            graph: The graph to call.
            version: A fixed version of the model; empty follows the mesh's choice.
            batch_size: 0 hands over single items and stacks the answers; n up to n items and concatenates them.
            max_concurrency: Calls in flight at once for one request; 0 means 4.
            more: As ``inputs``.

        Raises:
            InvalidGraph: not exactly one of ``model`` and ``graph`` (INVALID_ARGUMENT, retry: no).
        """
        if bool(model) == bool(graph):
            raise InvalidGraph(f"node {node}: a map must call exactly one of model and graph, got {model!r}, {graph!r}")
        kind = Map(
            target=ModelCall(name=model, version=version) if model else GraphCall(name=graph),
            over=tuple(over),
            batch_size=batch_size,
            max_concurrency=max_concurrency,
        )
        return self._add(node, kind, {**over, **(inputs or {}), **more})

    def _add(self, node: str, kind: Kind, inputs: Mapping[str, Source]) -> Built:
        bindings = tuple(Binding(name=name, source=_source(node, source)) for name, source in inputs.items())
        self._nodes.append(Node(name=node, kind=kind, inputs=bindings))
        return Built(node)

    def output(self, name: str, source: Source) -> None:
        """Add a tensor that answers carry.

        Raises:
            InvalidGraph: ``source`` is a node instead of one of its outputs (INVALID_ARGUMENT, retry: no).
        """
        self._outputs.append(Binding(name=name, source=_source(f"output {name}", source)))

    def build(self) -> Graph:
        """Return the graph as collected so far."""
        return Graph(
            name=self._name,
            description=self._description,
            inputs=tuple(self._inputs),
            nodes=tuple(self._nodes),
            outputs=tuple(self._outputs),
        )


def _source(where: str, source: object) -> str:
    if isinstance(source, Source):
        return source.name
    what = f"node {source.name!r}; name its output, as {source.name}['output']" if isinstance(source, Built) else source
    raise InvalidGraph(f"{where}: must read a graph input or a node's output, got {what}")
