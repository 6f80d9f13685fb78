"""Graphs as Mermaid flowcharts."""

from __future__ import annotations

from graphmesh.graph.drawing.mermaid import to_mermaid
from graphmesh.graph.spec import Binding, Graph, GraphInput, ModelCall
from tests.graph.pictured import CLAIMS, TYPES, model, step


def test_inputs_nodes_branches_and_outputs() -> None:
    """Every input, node and output is a shape, composed steps are subgraphs, every edge has the tensor's type."""
    drawn = to_mermaid(CLAIMS, TYPES)
    assert drawn.startswith('flowchart LR\n  i0(["image"])\n  i1(["customer"])\n')
    assert (
        '  subgraph n0["detect: fallback on UNAVAILABLE, within 200 ms"]\n'
        '    n0b0["first<br/>big<br/>model big"]\n'
        '    n0b1["if that fails<br/>small<br/>model small"]\n'
        "  end\n"
    ) in drawn
    assert '    subgraph n8b1["if inputs.short: sure: cascade, sure at least 0.9"]\n' in drawn
    assert '      n8b1b1["if sure &lt; 0.9<br/>large<br/>model large"]\n    end\n' in drawn
    assert '  n0 -->|"crops to strip<br/>UINT8 (N, 48, 320, 3)"| n6\n' in drawn
    assert '  i1 -->|"customer to customer<br/>TEXT ()"| n8\n' in drawn
    assert drawn.endswith('  n7 -->|"y<br/>FP32 (N,)"| o2\n')
    assert drawn.count("subgraph") == drawn.count("\n  end\n") + drawn.count("\n    end\n")


def test_hostile_names_stay_text() -> None:
    """What a graph says cannot leave its label, and an edge from nowhere is left out."""
    graph = Graph(
        name="g",
        inputs=(GraphInput(name="x"),),
        nodes=(step("a", ModelCall(name='<b>"x"&'), x="x", z="nowhere"),),
        outputs=(Binding(name="y", source="gone.y"),),
    )
    drawn = to_mermaid(graph)
    assert '  n0["a<br/>model &lt;b>&quot;x&quot;&amp;"]\n' in drawn
    assert "nowhere" not in drawn
    assert "| o0" not in drawn


def test_a_circle_is_drawn_as_written() -> None:
    """A graph that cannot run has its edges, too."""
    drawn = to_mermaid(Graph(name="g", nodes=(model("a", x="b.y"), model("b", x="a.y"))))
    assert '  n1 -->|"y to x"| n0\n' in drawn
