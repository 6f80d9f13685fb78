"""Pictures of graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.explain import to_mermaid, to_text
from graphmesh.graph.validate import type_graph
from graphmesh.graph.yaml_form import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]

GRAPH = parse_yaml("""
    name: ocr
    description: reads a page
    inputs: [image]
    nodes:
      read: {map: {model: ocr-read, over: crop, batch_size: 8}, inputs: {crop: detect.crops}}
      detect: {model: {name: ocr-detect, version: 2}, inputs: {image: image}}
    outputs: {lines: read.text}
""")


def test_a_terminal_shows_nodes_in_running_order_with_types(sign: Sign) -> None:
    """What runs first stands first, and every edge carries its type."""
    catalog = {
        "ocr-detect": sign({"image": "UINT8 (H, W, 3)"}, {"crops": "UINT8 (N, 48, 320, 3)"}),
        "ocr-read": sign({"crop": "UINT8 (B, 48, 320, 3)"}, {"text": "TEXT (B,)"}),
    }
    assert to_text(GRAPH, type_graph(GRAPH, catalog.get, graphs=lambda _: None).tensors) == (
        "graph ocr: reads a page\n"
        "\n"
        "inputs\n"
        "  image: UINT8 (H, W, 3)\n"
        "\n"
        "detect = model ocr-detect@2\n"
        "  image <- image: UINT8 (H, W, 3)\n"
        "\n"
        "read = map of model ocr-read over crop, 8 a call, 4 at once\n"
        "  crop <- detect.crops: UINT8 (N, 48, 320, 3)\n"
        "\n"
        "outputs\n"
        "  lines <- read.text: TEXT (N,)\n"
    )


def test_types_are_left_out_where_they_are_unknown() -> None:
    """A graph can be drawn before any signature is known."""
    assert "  image <- image\n" in to_text(GRAPH)
    assert '  i0 -->|"image to image"| n0\n' in to_mermaid(GRAPH)


def test_mermaid_shows_inputs_nodes_and_outputs(sign: Sign) -> None:
    """Every input, node and output is a shape, every edge an arrow with the tensor's name and type."""
    catalog = {
        "ocr-detect": sign({"image": "UINT8 (H, W, 3)"}, {"crops": "UINT8 (N, 3)"}),
        "ocr-read": sign({"crop": "UINT8 (B, 3)"}, {"text": "TEXT (B,)"}),
    }
    assert to_mermaid(GRAPH, type_graph(GRAPH, catalog.get, graphs=lambda _: None).tensors) == (
        "flowchart LR\n"
        '  i0(["image"])\n'
        '  n0["detect<br/>model ocr-detect@2"]\n'
        '  n1["read<br/>map of model ocr-read over crop, 8 a call, 4 at once"]\n'
        '  o0(["lines"])\n'
        '  n0 -->|"crops to crop<br/>UINT8 (N, 3)"| n1\n'
        '  i0 -->|"image to image<br/>UINT8 (H, W, 3)"| n0\n'
        '  n1 -->|"text<br/>TEXT (N,)"| o0\n'
    )


def test_a_broken_graph_is_drawn_as_written() -> None:
    """Circles and missing sources do not stop the drawing, and hostile names stay text."""
    graph = parse_yaml("""
        name: g
        nodes:
          a: {model: '<b>"x"&', inputs: {x: b.y, z: nowhere}}
          b: {map: {model: m, over: x}, inputs: {x: a.y}}
        outputs: {y: gone.y}
    """)
    assert to_text(graph).index("a = ") < to_text(graph).index("b = ")
    drawn = to_mermaid(graph)
    assert '  n0["a<br/>model &lt;b>&quot;x&quot;&amp;"]\n' in drawn
    assert "one by one" in drawn
    assert "nowhere" not in drawn
    assert "--> o0" not in drawn
