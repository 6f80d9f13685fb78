"""TorchServe's workflows as graphs of ours, and the entrance to all imports."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.structure import check_structure
from graphmesh.graph.forms.imports import KINDS, read
from graphmesh.graph.forms.text import parse_yaml
from graphmesh.graph.limits import MAX_DOCUMENT_BYTES

WORKFLOW = """
models:
    min-workers: 1
    batch-size: 3
    timeout-ms : 5000
    nmt_en_de: {url: a.mar, timeout-ms: 200}
    nmt_de_en: {url: b.mar}
    spare: {url: c.mar}
dag:
  pre : [nmt_en_de, nmt_de_en]
  nmt_en_de : [post]
  nmt_de_en : [post]
"""
NOTES = (
    "a specification has no name: the graph is called 'workflow' until you give it one",
    "inputs 'data' and outputs 'output' stand for bytes without a name; write your models' own names",
)


def test_a_dag_is_nodes_and_edges() -> None:
    """Nodes with one before them read `data`, with several one input for each; time limits are kept."""
    imported = read(WORKFLOW, kind="torchserve")
    assert imported.graph == parse_yaml("""
        name: workflow
        inputs: [data]
        nodes:
          pre: {model: pre, inputs: {data: data}, timeout: 5s}
          nmt_en_de: {model: nmt_en_de, inputs: {data: pre.output}, timeout: 200ms}
          nmt_de_en: {model: nmt_de_en, inputs: {data: pre.output}, timeout: 5s}
          post: {model: post, inputs: {nmt_en_de: nmt_en_de.output, nmt_de_en: nmt_de_en.output}, timeout: 5s}
        outputs: {output: post.output}
    """)
    assert imported.notes == (
        *NOTES,
        "pre, post: functions of the workflow's handler; write a model for each, or use `transform`",
        "spare: models that `dag` does not name, left out",
        "models: batch-size, min-workers not carried over",
        "model nmt_en_de: url not carried over",
        "model nmt_de_en: url not carried over",
        "model spare: url not carried over",
    )
    assert len(check_structure(imported.graph)) == 4


def test_several_ends_are_several_outputs() -> None:
    """Each end of the dag gives an output that is called as it is."""
    graph = read("{models: {a: {}, b: {}, c: {}}, dag: {a: [b, c]}}", kind="torchserve").graph
    assert {binding.name: binding.source for binding in graph.outputs} == {"b": "b.output", "c": "c.output"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("models: {}", "a workflow must have `dag`, which says what each node hands on to, got none"),
        ("dag: [a]", "dag must be a mapping, got a list"),
        ("dag: {a: {b: c}}", "dag: a must be a list, got a mapping"),
        ("dag: {a: [[b]]}", "an entry of dag: a must be text, got a list"),
        ("{models: {timeout-ms: soon}, dag: {a: b}}", "timeout-ms must be a whole number, 0 or more, got 'soon'"),
        ("dag: [", "line 1: "),
    ],
)
def test_what_is_no_workflow_is_refused(document: str, expected: str) -> None:
    """The message names the field, what was expected and what was found."""
    with pytest.raises(InvalidGraph) as caught:
        read(document, kind="torchserve")
    assert caught.value.message.startswith(expected)


def test_kinds_and_sizes_are_looked_at_first() -> None:
    """An unknown kind is named with those that there are, and no large document is read."""
    assert KINDS == ("kserve", "torchserve", "triton")
    with pytest.raises(InvalidGraph, match="must be one of kserve, torchserve, triton, got 'seldon'"):
        read("", kind="seldon")
    for kind in KINDS:
        with pytest.raises(InvalidGraph, match="at most 524288 bytes"):
            read("x" * (MAX_DOCUMENT_BYTES + 1), kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_of_ours_needs_no_import(kind: str) -> None:
    """Whatever it is taken for, and also if something in it is wrong; what is neither has its reader's message."""
    form = 'nodes { name: "a" odd: 1 }' if kind == "triton" else "nodes: {a: {odd: 1}}"
    with pytest.raises(InvalidGraph, match=r"^this is a graph of graphmesh already.*graphmesh graph apply"):
        read(form, kind=kind)
    with pytest.raises(InvalidGraph, match="must"):
        read(form.replace("nodes", "knots"), kind=kind)
