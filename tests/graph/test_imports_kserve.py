"""KServe's InferenceGraphs as graphs of ours."""

from __future__ import annotations

import textwrap
import time

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.structure import check_structure
from graphmesh.graph.conditions import Condition
from graphmesh.graph.forms.imports import read
from graphmesh.graph.forms.imports.kserve_condition import read_condition
from graphmesh.graph.forms.text import parse_yaml

HEAD = "apiVersion: serving.kserve.io/v1alpha1\nkind: InferenceGraph\nmetadata: {name: dog-breeds}\nspec:\n  nodes:\n"
V1 = "inputs 'instances' and outputs 'predictions' stand for bodies of the V1 protocol; write your models' own names"
SOFT = (
    "soft dependencies (right): there an error is handed on as an answer, here it fails the request; give a step that "
    "may fail a `fallback`"
)
CHAIN = (
    "node chain: a sequence inside another router must be a graph of its own here; import it with 'chain' renamed to "
    "'root', and call it 'dog-breeds-chain'"
)
FOLLOWED = (
    "step b: its condition is not carried over, since steps follow it or there are several tensors; put what follows "
    "into a graph of its own"
)
NOBODY = "switch: a request that no case is for is refused here with FAILED_PRECONDITION"


@pytest.mark.parametrize(
    ("nodes", "expected", "notes"),
    [
        (
            """
            root:
              routerType: Sequence
              steps:
              - {name: first, serviceName: cat-dog-classifier, dependency: Hard}
              - {name: second, serviceName: plain, data: $request, dependency: Hard}
              - {name: third, serviceName: dog-breed, data: $response, dependency: Hard}
            """,
            """
            nodes:
              second: {model: plain, inputs: {instances: instances}}
              third: {model: dog-breed, inputs: {instances: second.predictions}}
            outputs: {predictions: third.predictions}
            """,
            ["step first: nothing reads its answer, left out", V1],
        ),
        (
            """
            root:
              routerType: Sequence
              steps:
              - {name: is-dog, serviceName: cat-dog, dependency: Hard}
              - name: breed
                serviceName: dog-breed
                data: $request
                condition: '[@this].#(predictions.0=="dog")'
                dependency: Hard
            """,
            """
            nodes:
              is-dog: {model: cat-dog, inputs: {instances: instances}}
              breed:
                switch:
                - {when: 'inputs.previous == "dog"', name: breed, model: dog-breed, inputs: {instances: instances}}
                - default:
                    name: otherwise
                    transform: [{copy: {}, inputs: previous, outputs: predictions}]
                    inputs: {previous: previous}
                inputs: {instances: instances, previous: is-dog.predictions}
            outputs: {predictions: breed.predictions}
            """,
            ["step breed: its condition is for requests with a single item", V1],
        ),
        (
            """
            root:
              routerType: Splitter
              steps:
              - {serviceName: sklearn-iris, weight: 20, dependency: Hard}
              - {serviceName: xgboost.iris, weight: 80, dependency: Hard}
            """,
            """
            nodes:
              root:
                split: [{weight: 20, model: sklearn-iris}, {weight: 80, name: xgboost-iris, model: xgboost.iris}]
                inputs: {instances: instances}
            outputs: {predictions: root.predictions}
            """,
            [V1],
        ),
        (
            """
            root:
              routerType: Switch
              steps:
              - {name: a, serviceName: m, condition: '[@this].#(modelId==4)', dependency: Hard}
              - {name: b, serviceUrl: "http://other.svc:8080/v1", condition: 'x', dependency: Hard}
            """,
            """
            nodes:
              root:
                switch:
                - {when: has(params.modelId) && params.modelId == 4, name: a, model: m}
                - {when: "false", name: b, model: other.svc}
                inputs: {instances: instances}
            outputs: {predictions: root.predictions}
            """,
            [
                "step b: http://other.svc:8080/v1 is called as the model 'other.svc'; make it known by that name",
                NOBODY,
                "step a: the field 'modelId' of its condition must be sent as a parameter",
                "step b: the condition 'x' is not carried over and never holds; write it in CEL",
                V1,
            ],
        ),
        (
            """
            root:
              routerType: Sequence
              steps:
              - {nodeName: both, name: both, dependency: Hard}
              - {serviceName: judge, data: $response, dependency: Hard}
            both:
              routerType: Ensemble
              steps:
              - {name: left one, serviceName: Left, dependency: Hard}
              - {nodeName: right, dependency: Soft}
            right:
              routerType: Splitter
              steps: [{serviceName: r, weight: 100, dependency: Hard}]
            """,
            """
            nodes:
              both:
                parallel:
                - {name: left-one, model: left, outputs: {left-one: predictions}}
                - {name: right, split: [{weight: 100, model: r}], outputs: {right: predictions}}
                inputs: {instances: instances}
              judge: {model: judge, inputs: {left-one: both.left-one, right: both.right}}
            outputs: {predictions: judge.predictions}
            """,
            [
                "the model or graph 'Left' is called 'left' here, since names are of other characters",
                V1,
                SOFT,
            ],
        ),
        (
            """
            root:
              routerType: Ensemble
              steps: [{nodeName: chain, dependency: Hard}, {nodeName: one, dependency: Hard}]
            chain:
              routerType: Sequence
              steps: [{serviceName: a, dependency: Hard}, {serviceName: b, data: $response, dependency: Hard}]
            one: {routerType: Sequence, steps: [{serviceName: c, dependency: Hard, retries: 3}]}
            """,
            """
            nodes:
              root:
                parallel:
                - {name: chain, graph: dog-breeds-chain, outputs: {chain: predictions}}
                - {name: one, model: c, outputs: {one: predictions}}
                inputs: {instances: instances}
            outputs: {chain: root.chain, one: root.one}
            """,
            [
                CHAIN,
                "step c: retries not carried over",
                V1,
            ],
        ),
    ],
)
def test_routers_become_nodes_and_branches(nodes: str, expected: str, notes: list[str]) -> None:
    """Every kind of router, inside and after one another, and what could not be carried over."""
    imported = read(HEAD + nodes, kind="kserve")
    assert imported.graph == parse_yaml("name: dog-breeds\ninputs: [instances]\n" + textwrap.dedent(expected))
    assert list(imported.notes) == notes
    assert check_structure(imported.graph)


def test_what_a_graph_cannot_say_is_noted() -> None:
    """Settings of the deployment, and a condition with steps after it."""
    imported = read(
        HEAD
        + """
    root:
      routerType: Sequence
      steps:
      - {serviceName: a, dependency: Hard}
      - {serviceName: b, condition: '[@this].#(predictions.0>1)', data: $response, dependency: Hard}
      - {serviceName: c, data: $response, dependency: Hard}
  timeout: 10
  resources: {}
""",
        kind="kserve",
    )
    assert imported.notes == (
        "spec: resources, timeout not carried over",
        FOLLOWED,
        V1,
    )
    assert [node.name for node in imported.graph.nodes] == ["a", "b", "c"]
    assert check_structure(imported.graph)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('[@this].#(predictions.0=="cat")', 'inputs.x == "cat"'),
        ("#(instances.1.2 >= -0.5)", "inputs.x[1][2] >= -0.5"),
        ("[@this].#(urgent==true)", "has(params.urgent) && params.urgent == true"),
        ("[@this].#(a.b==1)", "false"),
        ('[@this].#(a=="b") || x', "false"),
        ("", "false"),
    ],
)
def test_conditions_are_cel(written: str, expected: str) -> None:
    """Comparisons with a constant are carried over, and what comes out is a condition."""
    notes: list[str] = []
    assert read_condition(written, "s", "x", notes) == expected
    assert Condition.parse(expected, sees=frozenset({"inputs"}))
    assert (expected == "false") == any("is not carried over" in note for note in notes)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("kind: Service", "`kind` must be InferenceGraph, got 'Service'"),
        ("[]", "the document must be a mapping, got a list"),
        (HEAD + "    other: {}", "there is no node 'root' in spec.nodes"),
        (HEAD + "    root: {routerType: Sequence}", "node root: must have steps and a routerType Sequence"),
        (
            HEAD + "    root: {routerType: Odd, steps: [{serviceName: a}]}",
            "node root: must have steps and a routerType",
        ),
        (HEAD + "    root: {routerType: Sequence, steps: [{}]}", "a step must have one of serviceName, serviceUrl"),
        (HEAD + "    root: {routerType: Sequence, steps: [a]}", "a step of node root must be a mapping, got 'a'"),
        (HEAD + "    root: {routerType: Sequence, steps: {a: b}}", "steps of node root must be a list, got a mapping"),
        (HEAD + "    root: {routerType: [a], steps: [{serviceName: a}]}", "routerType must be text, got a list"),
        (
            HEAD + "    root: {routerType: Splitter, steps: [{serviceName: a, weight: x}]}",
            "weight must be a whole number",
        ),
        (
            HEAD + "    root: {routerType: Sequence, steps: [{nodeName: root}]}",
            "nodes must not lead to one another in a cycle",
        ),
        (
            HEAD + "    root: {routerType: Switch, steps: [{nodeName: root}]}",
            "nodes must not lead to one another in a cycle",
        ),
    ],
)
def test_what_is_no_inference_graph_is_refused(document: str, expected: str) -> None:
    """The message names the node or field, what was expected and what was found."""
    with pytest.raises(InvalidGraph) as caught:
        read(document, kind="kserve")
    assert caught.value.message.startswith(expected)


def test_routers_that_multiply_are_refused_at_once() -> None:
    """Eight routers that each lead twenty times to the next are not followed to the end."""
    routers = [
        f"    n{level}: {{routerType: Ensemble, steps: [{', '.join([f'{{nodeName: n{level + 1}}}'] * 20)}]}}\n"
        for level in range(7)
    ]
    last = "    n7: {routerType: Ensemble, steps: [{serviceName: a}]}\n"
    start = time.perf_counter()
    with pytest.raises(InvalidGraph, match="at most 1000 nodes"):
        read((HEAD + "".join(routers) + last).replace("n0:", "root:"), kind="kserve")
    assert time.perf_counter() - start < 5


def test_nodes_that_the_root_does_not_lead_to_are_noted() -> None:
    """Through routers of any kind and sequences inside them; what is left out is not read at all."""
    document = """
    root: {routerType: Switch, steps: [{nodeName: chain, condition: x}, {serviceName: a, condition: x}]}
    chain: {routerType: Sequence, steps: [{serviceName: b}, {nodeName: inner}]}
    inner: {routerType: Sequence, steps: [{serviceName: c}]}
    alone: {routerType: Sequence, steps: [{nodeName: other}]}
    other: {routerType: Strange}
    """
    notes = read(HEAD + document, kind="kserve").notes
    assert [note for note in notes if "left out" in note] == [
        "nodes that the root does not lead to: alone, other, left out"
    ]
    without = document.partition("alone:")[0]
    assert not any("left out" in note for note in read(HEAD + without, kind="kserve").notes)


def test_an_import_has_the_structure_of_a_graph() -> None:
    """What comes out passes all checks that need no models."""
    document = HEAD + "    root: {routerType: Sequence, steps: [{serviceName: a}, {serviceName: b, data: $response}]}"
    assert [node.name for node in check_structure(read(document, kind="kserve").graph)] == ["a", "b"]
