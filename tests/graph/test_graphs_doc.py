"""docs/graphs.md does what it says."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from graphmesh.core.errors import FailedPrecondition, InvalidGraph
from graphmesh.graph import limits
from graphmesh.graph.checks.structure import check_structure
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.conditions import Condition, Key, Scope
from graphmesh.graph.forms.text import dump_textproto, dump_yaml, parse_textproto, parse_yaml
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes
from graphmesh.graph.spec import Aggregate, Binding, GraphInput, Join, Kind, Split, Switch, Transform
from graphmesh.graph.transforms.operations import KINDS
from graphmesh.v1 import graph_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.graph.spec import Graph

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]

TEXT = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return [str(block) for block in re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)]


def _run(python: str) -> Graph:
    scope: dict[str, Any] = {}
    exec(python, scope)  # noqa: S102 - our own documentation
    graph: Graph = scope["graph"]
    return graph


def _around(nodes: str) -> Graph:
    """Return a graph of the nodes of one example: what they read are its inputs, and each gives an output."""
    graph = parse_yaml("name: example\nnodes:\n" + textwrap.indent(nodes, "  "))
    names = {node.name for node in graph.nodes}
    read = (binding for node in graph.nodes for binding in node.inputs)
    sources = dict.fromkeys(binding.source for binding in read if binding.node not in names)
    return replace(
        graph,
        inputs=tuple(GraphInput(name=source) for source in sources),
        outputs=tuple(Binding(name=f"{node.name}_y", source=f"{node.name}.y") for node in graph.nodes),
    )


PAGE, *EXAMPLES = _blocks("yaml")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.partition(":")[0])
def test_each_example_is_sound_and_survives_every_form(example: str) -> None:
    """The nodes of an example pass all checks of structure, and YAML, textproto and bytes give them back."""
    graph = _around(example)
    assert check_structure(graph)
    assert parse_yaml(dump_yaml(graph)) == graph
    assert parse_textproto(dump_textproto(graph)) == graph
    assert graph_from_bytes(graph_to_bytes(graph)) == graph


def test_every_kind_has_a_section_and_an_example() -> None:
    """The table of kinds names all there are, each with a link to a section, and the examples have all of them."""
    kinds = [field.name for field in graph_pb2.Node.DESCRIPTOR.oneofs_by_name["kind"].fields]
    assert re.findall(r"^\| \[`(\w+)`\]\(#", TEXT, flags=re.MULTILINE) == kinds
    sections = {re.sub(" ", "-", title.lower()) for title in re.findall(r"^#+ (.*)$", TEXT, flags=re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= sections
    shown = {type(node.kind).__name__ for example in EXAMPLES for top in _around(example).nodes for node in top.walk()}
    assert shown == {kind.__name__ for kind in get_args(Kind)}


def test_every_operation_is_in_the_table() -> None:
    """Each operation is written there as the YAML form reads it, and there are no others."""
    table = TEXT[TEXT.index("| operation | what it gives |") : TEXT.index("What each does at its edges")]
    cells = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    written = [form for cell in cells for form in re.findall("`([^`]+)`", cell)]
    node = _around(
        "n: {transform: [" + ", ".join(f"{{{form}, inputs: x, outputs: y}}" for form in written) + "]}"
    ).nodes[0]
    assert isinstance(node.kind, Transform)
    assert sorted(operation.kind for operation in node.kind.operations) == sorted(KINDS)


def test_the_enumerations_of_the_page_are_those_of_the_code() -> None:
    """Every join and every aggregate has a row."""
    for choices, title in ((Join, "| `join` |"), (Aggregate, "| `aggregate` |")):
        rows = TEXT[TEXT.index(title) :].split("\n\n")[0].splitlines()[2:]
        assert [row.split("`")[1] for row in rows] == [choice.value for choice in choices]


def test_the_python_with_branches_is_its_yaml() -> None:
    """Branches written in Python are the graph that the page's YAML forms would write."""
    assert _run(_blocks("python")[1]) == parse_yaml("""
        name: sorted
        inputs: {text: , lang: TEXT}
        nodes:
          classify:
            switch:
            - {when: "inputs.lang == 'en'", model: english}
            - {when: "size(inputs.text) > 1000", graph: long-text, inputs: {t: text}}
            - default: {model: multilingual, timeout: 200ms}
            inputs: {text: text, lang: lang}
        outputs: {label: classify.label}
    """)


def test_the_three_forms_are_one_graph(sign: Sign) -> None:
    """The YAML, the textproto and the Python of the page give the same graph, and it is valid."""
    graph = parse_yaml(PAGE)
    assert parse_textproto(_blocks("textproto")[0]) == graph
    assert _run(_blocks("python")[0]) == graph
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
    assert caught.value.message + "\n" == _blocks("text")[1]


def test_the_conditions_of_the_page_have_a_value_without_headers_and_parameters() -> None:
    """As they are guarded there, they only hold where what they ask for is there."""
    nodes = _around(next(example for example in EXAMPLES if example.startswith("tier:"))).nodes
    tier, hashed = (node.kind for node in nodes)
    assert isinstance(tier, Switch)
    assert isinstance(hashed, Split)
    gold, long = (Condition.parse(case.when, sees=frozenset({"inputs"})) for case in tier.cases)
    key = Key.parse(hashed.key)
    scope = Scope(headers={"x-tier": "gold", "x-user": "ann"}, params={"limit": 200})
    assert (gold.holds(scope), long.holds(scope), key.value(scope)) == (True, True, "ann")
    assert (gold.holds(Scope()), long.holds(Scope()), key.value(Scope())) == (False, False, "")
    with pytest.raises(FailedPrecondition):
        Condition.parse("headers['x-tier'] == 'gold'", sees=frozenset()).holds(Scope())


def test_the_scores_of_a_detector_are_reduced_as_the_page_says(sign: Sign) -> None:
    """Its example is accepted for 8,400 scores, and asking all of them in a condition is refused."""
    written = textwrap.indent(next(example for example in EXAMPLES if "\nfound:" in example), "  ")
    around = "name: g\ninputs: {scores: 'FP32 (8400,)', image: FP32}\nnodes:\n%s\noutputs: {y: found.y}"
    signature = sign({"image": "FP32 ()"}, {"y": "FP32 ()"})
    assert validate(parse_yaml(around % written), lambda _: signature, graphs=lambda _: None).outputs
    asked = written.replace("inputs.score > 0.5", '"inputs.score.exists(s, s > 0.5)"').replace("best.score", "scores")
    asked = asked[asked.index("  found:") :]
    with pytest.raises(
        InvalidGraph, match=r"inputs.score is FP32 \(8400,\), 8400 elements, but it sees .* at most 1024"
    ):
        validate(parse_yaml(around % asked), lambda _: signature, graphs=lambda _: None)


def test_the_message_about_a_condition_is_the_message(sign: Sign) -> None:
    """The example of a refused condition is what validation says."""
    graph = parse_yaml("""
        name: g
        inputs: {text: TEXT, lang: TEXT}
        nodes:
          route: {switch: [{when: inputs.lang > 5, model: english}], inputs: {text: text, lang: lang}}
        outputs: {y: route.y}
    """)
    catalog = {"english": sign({"text": "TEXT ()"}, {"y": "FP32 ()"})}
    with pytest.raises(InvalidGraph) as caught:
        validate(graph, catalog.get, graphs=lambda _: None)
    assert caught.value.message + "\n" == _blocks("text")[0]


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("document | 512 KiB", limits.MAX_DOCUMENT_BYTES // 1024),
        ("nodes of one graph, branches counted | 1,000", limits.MAX_NODES),
        ("steps inside one another | 8", limits.MAX_BRANCH_DEPTH),
        ("graphs inside one another | 8", limits.MAX_DEPTH),
        ("known lengths of maps included | 10,000", limits.MAX_CALLS),
        ("that the maps of one run make | 10,000", limits.MAX_CALLS),
        ("`max_concurrency` | 256", limits.MAX_CONCURRENCY),
        ("`max_concurrency` calls (default 4)", limits.DEFAULT_CONCURRENCY),
        ("`max_iterations` | 1,000", limits.MAX_ITERATIONS),
        ("operations of one transform | 100", limits.MAX_OPERATIONS),
        ("`timeout` and `delay` | 1h", round(limits.MAX_STEP_S / 3600)),
        ("`ttl` | 30 days", round(limits.MAX_TTL_S / 86_400)),
        ("kept for `ttl` (default 60s", round(limits.DEFAULT_TTL_S)),
        ("`max_entries` (default\n1,000)", limits.DEFAULT_CACHE_ENTRIES),
        ("`max_bytes` (default 64MiB)", limits.DEFAULT_CACHE_BYTES >> 20),
        ("more than 1,024\nelements", limits.MAX_CONDITION_ELEMENTS),
        ("at most 2,000 characters", limits.MAX_CONDITION_CHARACTERS),
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
          race: {race: {model: small, delay: 50ms}, inputs: {x: more.y}}
          both: {parallel: {branches: {a: small, b: big}, join: quorum, quorum: 1, aggregate: max}, inputs: {x: race.y}}
          route: {switch: [{when: "true", model: small}, {default: small}], inputs: {x: both.y}}
          safe: {fallback: [small, {cache: {body: big, ttl: 1.5s, max_bytes: 64MiB}}], inputs: {x: route.y}}
        outputs: {y: safe.y}
    """)
    assert len(graph.nodes) == 6
    assert parse_yaml("{name: g, inputs: [image]}").inputs[0].name == "image"
