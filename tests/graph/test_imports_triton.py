"""Triton's ensembles as graphs of ours."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.structure import check_structure
from graphmesh.graph.forms.imports import read
from graphmesh.graph.forms.text import parse_yaml

ENSEMBLE = """
name: "Image.Ensemble"
platform: "ensemble"
max_batch_size: 8
input [ { name: "IMAGE" data_type: TYPE_STRING dims: [ 1 ] }, { name: "seed.x" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]
output [ { name: "CLASS" data_type: TYPE_FP32 dims: [ 1000 ] } ]
version_policy: { all {} }
ensemble_scheduling {
  step [
    {
      model_name: "classify" model_version: 2
      input_map { key: "data" value: "prepared" }
      input_map { key: "seed" value: "seed.x" }
      output_map { key: "probs" value: "CLASS" }
    },
    {
      model_name: "prepare" model_version: -1 model_namespace: "n"
      input_map: { key: "raw", value: "IMAGE" };
      output_map < key: 'out.0' value: "prepared" >
    }
  ]
}
"""


def test_steps_are_nodes_and_maps_are_edges() -> None:
    """Names inside the ensemble become edges, whatever the order of steps; types and versions are kept."""
    imported = read(ENSEMBLE, kind="triton")
    assert imported.graph == parse_yaml("""
        name: image.ensemble
        inputs: {IMAGE: "BYTES (N, 1)", seed_x: "FP32 (N, ?, 3)"}
        nodes:
          classify: {model: {name: classify, version: 2}, inputs: {data: prepare.out.0, seed: seed_x}}
          prepare: {model: prepare, inputs: {raw: IMAGE}}
        outputs: {CLASS: classify.probs}
    """)
    assert imported.notes == (
        "config.pbtxt: version_policy not carried over",
        "the tensor 'seed.x' is called 'seed_x' here, since names are of other characters",
        "the model or graph 'Image.Ensemble' is called 'image.ensemble' here, since names are of other characters",
        "the step of model prepare: model_namespace not carried over",
        (
            "models that must be in the mesh by these names: classify, prepare; a Triton that serves them can be their "
            'source in mesh.yaml: {name: classify, source: "grpc://triton:8001/classify"}'
        ),
    )
    assert len(check_structure(imported.graph)) == 2


def test_without_batches_dims_are_the_shape() -> None:
    """max_batch_size 0 adds no axis; a model that is called twice is two nodes; an odd datatype is inferred."""
    imported = read(
        """
        input { name: "x" data_type: TYPE_BF99 dims: 3 }
        input { name: "y" data_type: TYPE_INT64 dims: 3 dims: 4 optional: true }
        output { name: "z" }
        ensemble_scheduling { step { model_name: "m"
                                     input_map { key: "a" value: "x" } output_map { key: "b" value: "t" } }
                              step { model_name: "m" input_map { key: "a" value: "t" } input_map { key: "c" value: "y" }
                                     output_map { key: "b" value: "z" } } }
        """,
        kind="triton",
    )
    assert imported.graph == parse_yaml("""
        name: ensemble
        inputs: {x: , y: "INT64 (3, 4)"}
        nodes:
          m: {model: m, inputs: {a: x}}
          m-2: {model: m, inputs: {a: m.b, c: y}}
        outputs: {z: m-2.b}
    """)
    assert imported.notes == (
        "input x: there is no datatype 'BF99'; the type is taken from what reads it",
        "input y: optional not carried over",
        (
            "models that must be in the mesh by these names: m; a Triton that serves them can be their source in "
            'mesh.yaml: {name: m, source: "grpc://triton:8001/m"}'
        ),
    )


def test_the_source_of_a_renamed_model_keeps_its_name_there() -> None:
    """It is called by an allowed name here, and by its own at Triton."""
    imported = read(ENSEMBLE.replace('"classify"', '"Classify"'), kind="triton")
    assert imported.notes[-1].endswith('{name: classify, source: "grpc://triton:8001/Classify"}')


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (ENSEMBLE, 'name: "m"', "a config.pbtxt must have `ensemble_scheduling` with a step"),
        (ENSEMBLE, 'name: "m', "not protobuf's text format: 1:7"),
        (ENSEMBLE, "a {" * 40, "not protobuf's text format: messages must be nested at most 32 levels deep"),
        (ENSEMBLE, "ensemble_scheduling: 3", "ensemble_scheduling must be a message, got 3"),
        (
            'value: "prepared" }',
            'value: "prep" }',
            "the step of model classify reads 'prep', which is neither an input",
        ),
        ('value: "CLASS"', 'value: "KIND"', "the ensemble's output reads 'CLASS', which is neither"),
        ('value: "CLASS"', 'value: "IMAGE"', "the ensemble's tensor 'IMAGE' is given twice; each must be given once"),
        ('"prepare"', "{ a: 1 }", "model_name must be one value, got a message"),
        ('model_name: "prepare"', 'model_name: "a" model_name: "b"', "model_name must be one value, got 2"),
    ],
)
def test_what_is_no_ensemble_is_refused(old: str, new: str, expected: str) -> None:
    """The message names the step or field, what was expected and what was found."""
    with pytest.raises(InvalidGraph) as caught:
        read(ENSEMBLE.replace(old, new, 1), kind="triton")
    assert caught.value.message.startswith(expected)
