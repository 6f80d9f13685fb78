"""docs/operations.md does what it says."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from graphmesh.core.signature import TensorSpec, parse_type
from graphmesh.core.tensor import BYTES, DTYPES, Tensor, datatype_of
from graphmesh.graph.checks.flows import Flow
from graphmesh.graph.forms.text import parse_yaml
from graphmesh.graph.forms.yaml_tree import compose
from graphmesh.graph.spec import Transform
from graphmesh.graph.transforms.apply import compile_operations
from graphmesh.graph.transforms.operations import KINDS
from graphmesh.graph.transforms.typing import give
from graphmesh.graph.transforms.yaml_form import operation_from_tree
from graphmesh.v1 import operation_pb2

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(\{.*?)```\n```text\n(.*?)```", PAGE, flags=re.DOTALL)


def _tensor(line: str) -> tuple[TensorSpec, Tensor]:
    """Return the tensor that a line like ``x: FP32 (2,) [1, 2]`` stands for."""
    found = re.fullmatch(r"(\w+): (\w+ \(.*?\)) (.*)", line)
    assert found, line
    datatype, shape, text = parse_type(found[2])
    sizes = tuple(size for size in shape if isinstance(size, int))
    values = np.array(json.loads(found[3]), dtype=object)
    elements = [element.encode() if isinstance(element, str) else element for element in values.flat]
    array = np.empty(len(elements), dtype=DTYPES[datatype])
    array[:] = elements
    array = array.reshape(sizes)
    return TensorSpec(name=found[1], datatype=datatype, shape=shape, text=text), array


@pytest.mark.parametrize(("written", "shown"), EXAMPLES, ids=lambda text: text[:30])
def test_each_example_gives_what_it_shows(written: str, shown: str) -> None:
    """Values, datatypes and shapes, both as the rules promise and as they come out."""
    operation = operation_from_tree(compose(written))
    lines = shown.splitlines()
    inputs = [_tensor(line) for line in lines if not line.startswith("->")]
    outputs = [_tensor(line.removeprefix("-> ")) for line in lines if line.startswith("->")]
    flows = [Flow(spec.datatype, list(array.shape), text=spec.text) for spec, array in inputs]
    assert [flow.type for flow in give(operation, flows)] == [spec.type for spec, _ in outputs]
    results = compile_operations([operation], ())({spec.name: array for spec, array in inputs})
    assert list(results) == [spec.name for spec, _ in outputs]
    for spec, expected in outputs:
        result = results[spec.name]
        assert (datatype_of(result), result.shape) == (spec.datatype, expected.shape)
        if spec.datatype == BYTES:
            assert result.tolist() == expected.tolist()
        else:
            np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_every_operation_has_an_example_and_a_section() -> None:
    """And a row of the table that leads to it."""
    assert len(EXAMPLES) == PAGE.count("```text")
    assert {operation_from_tree(compose(written)).kind for written, _ in EXAMPLES} == KINDS.keys()
    assert re.findall(r"^### (\w+)$", PAGE, flags=re.MULTILINE) == list(
        dict.fromkeys(operation_from_tree(compose(written)).kind for written, _ in EXAMPLES)
    )
    assert set(re.findall(r"\(#(\w+)\)", PAGE)) == KINDS.keys()


def test_values_and_messages_have_the_same_settings() -> None:
    """Names and order, as the forms rely on."""
    messages = operation_pb2.Operation.DESCRIPTOR.oneofs_by_name["kind"].fields
    assert [message.name for message in messages] == list(KINDS)
    for message in messages:
        assert message.message_type is not None
        settings = [setting.name for setting in message.message_type.fields]
        assert settings == [setting.name for setting in fields(KINDS[message.name])]


def test_the_step_at_the_top_is_one() -> None:
    """As part of a graph."""
    found = re.search(r"```yaml\n(scores:.*?)```", PAGE, flags=re.DOTALL)
    assert found
    graph = parse_yaml("name: g\nnodes:\n" + textwrap.indent(found[1], "  "))
    kind = graph.nodes[0].kind
    assert isinstance(kind, Transform)
    assert kind.keep == ("p",)
    results = compile_operations(kind.operations, kind.keep)({"logits": np.eye(4, dtype=np.float32)})
    assert list(results) == ["p", "best", "labels"]
