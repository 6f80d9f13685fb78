"""Graphs written in Python.

    g = GraphBuilder("ocr")
    image = g.input("image")
    boxes = g.model("detect", "ocr-detect", image=image)["boxes"]
    text = g.map("read", over={"crop": boxes}, model="ocr-read", batch_size=8)["text"]
    g.output("lines", text)
    graph = g.build()

Steps that run other steps take branches (see `branches`), and have the inputs that they are given:

    lang, words = g.input("lang", "TEXT"), g.input("words")
    cases = {"inputs.lang == 'en'": "english", "inputs.lang == 'de'": model("german", timeout_s=0.2)}
    label = g.switch("classify", cases, default="multilingual", lang=lang, words=words)["label"]

The builder only writes down what it is told, in order; `validate` finds mistakes, as it does for the text forms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.builder_steps import StepBuilder
from graphmesh.graph.forms.sources import Built, Source, by_name, source_name
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Built", "GraphBuilder", "Source"]


class GraphBuilder(StepBuilder):
    """Collects a graph.

    Every method for a kind of node takes the node's name, what it calls or runs, its inputs (as keywords; as a mapping
    where Python does not take their names as keywords), and ``timeout_s``: the longest that it may take, seconds, 0 for
    no other limit than the call's.

    Args:
        name: The graph's name, as clients call it.
        description: For people.
    """

    def __init__(self, name: str, *, description: str = "") -> None:
        super().__init__()
        self._name = name
        self._description = description
        self._inputs: list[GraphInput] = []
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
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that calls a model, at a fixed ``version`` or else the one that the mesh chooses."""
        return self._add(node, ModelCall(name=model, version=version), inputs, more, timeout_s)

    def graph(
        self,
        node: str,
        graph: str,
        inputs: Mapping[str, Source] | None = None,
        /,
        *,
        timeout_s: float = 0.0,
        **more: Source,
    ) -> Built:
        """Add a node that calls another graph."""
        return self._add(node, GraphCall(name=graph), inputs, more, timeout_s)

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
        timeout_s: float = 0.0,
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
            timeout_s: The longest that it may take, seconds.
            more: As ``inputs``.

        Raises:
            InvalidGraph: not exactly one of ``model`` and ``graph``, or no mapping for ``over`` (INVALID_ARGUMENT,
                retry: no).
        """
        if bool(model) == bool(graph):
            raise InvalidGraph(f"node {node}: a map must call exactly one of model and graph, got {model!r}, {graph!r}")
        divided = by_name(node, over, "`over` must be a mapping, as over={'x': tensor}")
        kind = Map(
            target=ModelCall(name=model, version=version) if model else GraphCall(name=graph),
            over=tuple(divided),
            batch_size=batch_size,
            max_concurrency=max_concurrency,
        )
        return self._add(node, kind, divided, {**by_name(node, inputs), **more}, timeout_s)

    def output(self, name: str, source: Source) -> None:
        """Add a tensor that answers carry.

        Raises:
            InvalidGraph: ``source`` is a node instead of one of its outputs (INVALID_ARGUMENT, retry: no).
        """
        self._outputs.append(Binding(name=name, source=source_name(f"output {name}", source)))

    def build(self) -> Graph:
        """Return the graph as collected so far."""
        return Graph(
            name=self._name,
            description=self._description,
            inputs=tuple(self._inputs),
            nodes=tuple(self._nodes),
            outputs=tuple(self._outputs),
        )
