"""Nothing in a picture overlaps, checked on the places themselves for graphs of all shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.graph.drawing.cards import PORT_HEIGHT
from graphmesh.graph.drawing.layout import lay_out
from graphmesh.graph.drawing.measure import text_width
from graphmesh.graph.spec import Binding, Graph, GraphInput, Parallel
from tests.graph.pictured import CLAIMS, TYPES, model, step, types

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.drawing.cards import Card
    from graphmesh.graph.drawing.layout import Picture, Wire
    from graphmesh.graph.spec import Node


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Area) -> bool:
        """Return whether they have more than an edge in common."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 0.01 and down > 0.01

    def holds(self, x: float, y: float) -> bool:
        """Return whether a point is within it, its edges not counted."""
        return self.left + 0.01 < x < self.right - 0.01 and self.top + 0.01 < y < self.bottom - 0.01


def _boxes(picture: Picture) -> list[Area]:
    return [Area(b.x, b.y, b.x + b.width, b.y + b.card.height) for b in picture.boxes]


def _words(picture: Picture) -> list[Area]:
    """Return the areas of the words above and below edges, each by itself: the edge runs between."""
    areas = []
    for label in picture.labels:
        width, half = label.port.label_width, PORT_HEIGHT / 2
        if label.port.above:
            areas.append(Area(label.x, label.y - half, label.x + width, label.y - 1))
        if label.port.below:
            areas.append(Area(label.x, label.y + 1, label.x + width, label.y + half))
    return areas


def _points(wire: Wire) -> Iterator[tuple[float, float]]:
    """Return points along an edge: the level part, then the Bezier curve that `svg` draws."""
    for part in range(11):
        yield wire.x0 + (wire.bend - wire.x0) * part / 10, wire.y0
    for part in range(21):
        t = part / 20
        begin, middle, end = (1 - t) ** 3 + 3 * t * (1 - t) ** 2, 0.0, t**3 + 3 * t**2 * (1 - t)
        half = (wire.bend + wire.x1) / 2
        x = wire.bend * (1 - t) ** 3 + half * 3 * t * (1 - t) + wire.x1 * t**3
        yield x, wire.y0 * begin + middle + wire.y1 * end


def check(picture: Picture) -> None:
    """Fail if anything overlaps or lies outside."""
    boxes, words = _boxes(picture), _words(picture)
    areas = boxes + words
    for index, area in enumerate(areas):
        assert not any(area.overlaps(other) for other in areas[:index])
        assert area.left >= 0
        assert area.top >= 0
        assert area.right <= picture.width
        assert area.bottom <= picture.height
    for wire in picture.wires:
        for x, y in _points(wire):
            assert not any(area.holds(x, y) for area in areas), wire
    for box in picture.boxes:
        _check_card(box.card)


def _check_card(card: Card) -> None:
    """Fail if what is in a card leaves it or overlaps."""
    inside = [Area(i.x, i.y, i.x + i.card.width, i.y + i.card.height) for i in card.inside]
    lines = []
    for line in card.lines:
        size = {"title": 14.0, "type": 10.5}.get(line.style, 11.5)
        width = text_width(line.text, size, mono=line.style == "type")
        lines.append(Area(line.x, line.y - size * 0.75, line.x + width, line.y + size * 0.2))
    areas = inside + lines
    for index, area in enumerate(areas):
        assert not any(area.overlaps(other) for other in areas[:index]), card
        assert area.left >= 0
        assert area.right <= card.width
        assert area.top >= 0
        assert area.bottom <= card.height
    for inner in card.inside:
        _check_card(inner.card)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, dict[str, TensorSpec]]:
    """Return a graph whose nodes read from any before them, some composed, with names of all lengths and some types."""
    inputs = tuple(
        GraphInput(name=f"in{index}" + "x" * draw(st.integers(0, 50))) for index in range(draw(st.integers(0, 3)))
    )
    sources = [one.name for one in inputs]
    nodes: list[Node] = []
    tensors: dict[str, TensorSpec] = {}
    for index in range(draw(st.integers(0, 9))):
        name = f"n{index}" + "-long" * draw(st.integers(0, 12))
        reads = draw(st.lists(st.sampled_from(sources), max_size=4)) if sources else []
        bindings = {f"x{number}": source for number, source in enumerate(reads)}
        if draw(st.booleans()):
            branches = tuple(model(f"b{number}", "m" * 40) for number in range(draw(st.integers(2, 3))))
            inner = (step("inner", Parallel(branches=branches)), model("other"))
            nodes.append(step(name, Parallel(branches=draw(st.sampled_from([branches, inner]))), **bindings))
        else:
            nodes.append(model(name, **bindings))
        for output in range(draw(st.integers(1, 3))):
            sources.append(f"{name}.y{output}")
            if draw(st.booleans()):
                tensors |= {f"{name}.y{output}": types(y="FP32 (N, 3, 48, 320)")["y"]}
    outputs = draw(st.lists(st.sampled_from(sources), max_size=4)) if sources else []
    return Graph(
        name="g",
        inputs=inputs,
        nodes=tuple(nodes),
        outputs=tuple(Binding(name=f"out{index}", source=source) for index, source in enumerate(outputs)),
    ), tensors


@given(graphs())
@settings(max_examples=60)
def test_nothing_overlaps(drawn: tuple[Graph, dict[str, TensorSpec]]) -> None:
    """Boxes, words and edges keep clear of each other, and texts stay in their boxes."""
    check(lay_out(*drawn))


def test_the_kinds() -> None:
    """A graph of all kinds keeps to it, too; nodes stand right of what they read, every edge ends where it is read."""
    picture = lay_out(CLAIMS, TYPES)
    check(picture)
    left = {box.card.path: box.x for box in picture.boxes}
    assert left["image"] < left["detect"] < left["read"] < left["route"] < left["decision"]
    assert sum(wire.arrow for wire in picture.wires) == len(list(CLAIMS.edges()))


def test_an_edge_passes_columns_in_a_lane() -> None:
    """A tensor that is read two columns further on goes there in pieces, joined end to start."""
    graph = Graph(name="g", inputs=(GraphInput(name="x"),), nodes=(model("a", x="x"), model("b", x="a.y", k="x")))
    first, *last = [wire for wire in lay_out(graph, {}).wires if wire.source == "x" and wire.x0 != wire.bend]
    begins = {(wire.x0, wire.y0) for wire in last}
    lanes = [wire for wire in (first, *last) if not wire.arrow]
    assert len(lanes) == 1
    assert (lanes[0].x1, lanes[0].y1) in begins


def test_what_cannot_run_is_laid_out_as_written() -> None:
    """Of a circle the edges against the order of writing are left out, as are those from nowhere."""
    graph = Graph(name="g", nodes=(model("a", x="b.y", k="gone.y"), model("b", x="a.y")))
    picture = lay_out(graph, {})
    check(picture)
    assert [wire.source for wire in picture.wires] == ["a.y"]


def test_a_thousand_nodes_in_a_chain() -> None:
    """The largest graph is laid out, without recursion."""
    nodes = [model("n0", x="x")] + [model(f"n{index}", x=f"n{index - 1}.y") for index in range(1, 1000)]
    picture = lay_out(Graph(name="g", inputs=(GraphInput(name="x"),), nodes=tuple(nodes)), {})
    assert len(picture.boxes) == 1001
