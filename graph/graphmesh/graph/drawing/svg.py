"""A graph as an SVG picture: self-contained, readable on light and dark, with words for those who do not see it.

Colours follow what the reader's system prefers. What is cut short is told whole by the element's `<title>`, which
browsers show where the pointer rests. There is no script and nothing is loaded.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from graphmesh.graph.drawing.layout import lay_out
from graphmesh.graph.drawing.text import to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.signature import TensorSpec
    from graphmesh.graph.drawing.cards import Card, Line
    from graphmesh.graph.drawing.layout import Label, Picture, Placed, Wire
    from graphmesh.graph.spec import Graph

__all__ = ["to_svg"]

_STYLE = """
text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1c2430; }
.title { font-size: 14px; font-weight: 600; }
.text, .port, .name { font-size: 11.5px; fill: #566173; }
.when { font-size: 11.5px; font-style: italic; fill: #8a4b08; }
.type { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: 10.5px; fill: #3b5b8c; }
.page { fill: #ffffff; }
.box { fill: #f7f8fa; stroke: #c3cad5; }
.input .box, .output .box { fill: #e8edf5; stroke: #9fb0c9; }
.mark { fill: #7b8798; }
.model > .mark { fill: #2f6fde; } .graph > .mark { fill: #7a4fd0; } .map > .mark { fill: #0f8a8a; }
.transform > .mark { fill: #3a8f3d; } .cache > .mark { fill: #a16a00; } .loop > .mark { fill: #c2410c; }
.switch > .mark, .split > .mark, .cascade > .mark { fill: #c28a00; }
.parallel > .mark, .race > .mark { fill: #0b7fb3; } .fallback > .mark { fill: #c43b52; }
.wire { fill: none; stroke: #7f8da3; stroke-width: 1.5; }
.arrow { fill: #7f8da3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6eaf0; }
  .text, .port, .name { fill: #a3aebd; }
  .when { fill: #f0b36a; }
  .type { fill: #9cc0f5; }
  .page { fill: #12161c; }
  .box { fill: #1c222b; stroke: #3d4857; }
  .input .box, .output .box { fill: #222c3a; stroke: #4a5d78; }
  .wire { stroke: #7c8ba1; }
  .arrow { fill: #7c8ba1; }
}
"""
_MARK = 4.0
_HALF = 4.0
_LENGTH = 8.0


def to_svg(graph: Graph, tensors: Mapping[str, TensorSpec] | None = None) -> str:
    """Return an SVG document, layered from left to right; arguments as for `text.to_text`."""
    types = tensors or {}
    picture = lay_out(graph, types)
    return "\n".join([*_head(graph, picture, types), *_body(picture), "</svg>"]) + "\n"


def _head(graph: Graph, picture: Picture, types: Mapping[str, TensorSpec]) -> Iterator[str]:
    width, height = f"{picture.width:.0f}", f"{picture.height:.0f}"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" aria-labelledby="graph-title graph-description">'
    )
    yield f'<title id="graph-title">{_text(f"graph {graph.name}")}</title>'
    yield f'<desc id="graph-description">{_text(to_text(graph, types))}</desc>'
    yield f"<style>{_STYLE}</style>"
    yield f'<rect class="page" width="{width}" height="{height}" rx="8"/>'


def _body(picture: Picture) -> Iterator[str]:
    for wire in picture.wires:
        yield _wire(wire)
    for box in picture.boxes:
        yield from _box(box)
    for label in picture.labels:
        yield from _label(label)


def _wire(wire: Wire) -> str:
    end = wire.x1 - (_LENGTH if wire.arrow else 0)
    middle = (wire.bend + end) / 2
    path = (
        f"M{wire.x0:.1f} {wire.y0:.1f}H{wire.bend:.1f}"
        f"C{middle:.1f} {wire.y0:.1f} {middle:.1f} {wire.y1:.1f} {end:.1f} {wire.y1:.1f}"
    )
    line = f'<path class="wire" d="{path}"><title>{_text(wire.source)}</title></path>'
    if not wire.arrow:
        return line
    tip = f"M{wire.x1:.1f} {wire.y1:.1f}l-{_LENGTH} -{_HALF}v{2 * _HALF}z"
    return f'{line}<path class="arrow" d="{tip}"/>'


def _box(box: Placed) -> Iterator[str]:
    yield from _card(box.card, box.x, box.y, box.width)


def _card(card: Card, x: float, y: float, width: float) -> Iterator[str]:
    end = card.kind in {"input", "output"}
    radius = card.height / 2 if end else 6
    yield f'<g class="{card.kind}" transform="translate({x:.1f} {y:.1f})"><title>{_text(card.about)}</title>'
    yield f'<rect class="box" width="{width:.1f}" height="{card.height:.1f}" rx="{radius:g}"/>'
    if not end:
        yield f'<rect class="mark" y="6" width="{_MARK}" height="{card.height - 12:.1f}" rx="2"/>'
    for line in card.lines:
        yield _line(line)
    for inner in card.inside:
        yield from _card(inner.card, inner.x, inner.y, width - 2 * inner.x)
    yield "</g>"


def _line(line: Line) -> str:
    full = f"<title>{_text(line.full)}</title>" if line.text != line.full else ""
    return f'<text class="{line.style}" x="{line.x:.1f}" y="{line.y:.1f}">{full}{_text(line.text)}</text>'


def _label(label: Label) -> Iterator[str]:
    port = label.port
    full = f"<title>{_text(port.full)}</title>"
    if port.above:
        yield f'<text class="name" x="{label.x:.1f}" y="{label.y - 4:.1f}">{full}{_text(port.above)}</text>'
    if port.below:
        yield f'<text class="type" x="{label.x:.1f}" y="{label.y + 12:.1f}">{full}{_text(port.below)}</text>'


def _text(text: str) -> str:
    """Return text as XML takes it: a graph that nobody has validated may hold anything, control characters too."""
    return escape("".join(character if character >= " " or character in "\n\t" else "�" for character in text))
