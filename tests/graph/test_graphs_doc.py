"""docs/graphs.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph import limits
from graphmesh.graph.text import parse_textproto, parse_yaml
from graphmesh.graph.validate import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.spec import Graph

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]

TEXT = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    return str(block)


def _built() -> Graph:
    scope: dict[str, Any] = {}
    exec(_block("python"), scope)  # noqa: S102 - our own documentation
    graph: Graph = scope["graph"]
    return graph


def test_the_three_forms_are_one_graph(sign: Sign) -> None:
    """The YAML, the textproto and the Python of the page give the same graph, and it is valid."""
    graph = parse_yaml(_block("yaml"))
    assert parse_textproto(_block("textproto")) == graph
    assert _built() == graph
    catalog = {
        "line-detect": sign({"image": "UINT8 (H, W, 3)"}, {"crops": "UINT8 (N, 48, 320, 3)", "boxes": "FP32 (N, 4)"}),
        "line-read": sign({"crop": "UINT8 (N, 48, 320, 3)"}, {"text": "TEXT (N,)"}),
    }
    signature = validate(graph, catalog.get, graphs=lambda _: None)
    assert [str(spec) for spec in signature.outputs] == ["boxes: FP32 (N, 4)", "lines: TEXT (N,)"]


def test_the_message_of_the_page_is_the_message(sign: Sign) -> None:
    """The example of a refused edge is what validation says."""
    graph = parse_yaml("""
        name: g
        inputs: [data]
        nodes: {decode: {model: decode, inputs: {data: data}}, detect: {model: detect, inputs: {image: decode.image}}}
        outputs: {y: detect.y}
    """)
    catalog = {
        "decode": sign({"data": "BYTES ()"}, {"image": "UINT8 (H, W, 3)"}),
        "detect": sign({"image": "FP32 (N, 3, H, W)"}, {"y": "FP32 ()"}),
    }
    with pytest.raises(InvalidGraph) as caught:
        validate(graph, catalog.get, graphs=lambda _: None)
    assert caught.value.message + "\n" == _block("text")


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("document | 512 KiB", limits.MAX_DOCUMENT_BYTES // 1024),
        ("nodes of one graph | 1,000", limits.MAX_NODES),
        ("graphs inside one another | 8", limits.MAX_DEPTH),
        ("known lengths of maps included | 10,000", limits.MAX_CALLS),
        ("that the maps of one run make | 10,000", limits.MAX_CALLS),
        ("`max_concurrency` | 256", limits.MAX_CONCURRENCY),
        ("`max_concurrency` calls (default 4)", limits.DEFAULT_CONCURRENCY),
    ],
)
def test_the_limits_of_the_page_are_the_limits(row: str, limit: int) -> None:
    """Numbers in the page are those in the code."""
    assert row in TEXT
    assert str(limit) in row.replace(",", "")


def test_each_short_form_of_the_page_is_read() -> None:
    """Every form in the first column is understood."""
    graph = parse_yaml("""
        name: g
        inputs: {image: "UINT8 (H, W, 3)", words: }
        nodes:
          detect: {model: line-read, inputs: {image: image}}
          more: {map: {graph: page, over: crop}, inputs: {crop: detect.y, w: words}}
        outputs: {y: more.y}
    """)
    assert len(graph.nodes) == 2
    assert parse_yaml("{name: g, inputs: [image]}").inputs[0].name == "image"
