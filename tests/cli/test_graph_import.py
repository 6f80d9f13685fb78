"""`graphmesh graph import`, as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from graphmesh.cli.main import cli
from graphmesh.core.errors import InvalidRequest
from graphmesh.graph import parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

_TRITON = """
name: "chain" platform: "ensemble" max_batch_size: 8
input [{name: "x" data_type: TYPE_FP32 dims: [4]}]
output [{name: "y" data_type: TYPE_FP32 dims: [-1]}]
ensemble_scheduling { step [
  {model_name: "first" model_version: -1 input_map {key: "a" value: "x"} output_map {key: "b" value: "between"}},
  {model_name: "second" model_version: 3 input_map {key: "a" value: "between"} output_map {key: "b" value: "y"}}
]}
model_warmup [{name: "w"}]
"""

_KSERVE = """
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: pets}
spec:
  nodes:
    root:
      routerType: Sequence
      steps:
        - {serviceName: cat-dog, name: first}
        - {serviceName: breed, name: second, data: $response}
"""


def test_an_ensemble_becomes_a_graph_beside_its_notes(tmp_path: Path) -> None:
    """The graph goes to standard output, ready to be applied; what was lost goes to standard error."""
    path = tmp_path / "config.pbtxt"
    path.write_text(_TRITON)
    done = CliRunner().invoke(cli, ["graph", "import", str(path)])
    assert done.exit_code == 0, done.output
    graph = parse_yaml(done.stdout)
    assert [(node.name, str(node.kind)) for node in graph.nodes] == [
        ("first", "model first"),
        ("second", "model second@3"),
    ]
    assert "model_warmup" in done.stderr


def test_a_file_is_written_and_named(tmp_path: Path) -> None:
    """`--out` writes the graph; the kind of a YAML file is found out."""
    path, out = tmp_path / "pets.yaml", tmp_path / "ours.yaml"
    path.write_text(_KSERVE)
    done = CliRunner().invoke(cli, ["graph", "import", str(path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert [node.name for node in parse_yaml(out.read_text()).nodes] == ["first", "second"]
    assert done.stdout == ""
    assert str(out) in done.stderr


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    """`--out` never writes over a file, be it the imported one, unless it is told to."""
    path = tmp_path / "pets.yaml"
    path.write_text(_KSERVE)
    refused = CliRunner().invoke(cli, ["graph", "import", str(path), "--out", str(path)])
    assert isinstance(refused.exception, InvalidRequest)
    assert f"{path}: is there already; choose another name, or replace it with --force" in str(refused.exception)
    assert path.read_text() == _KSERVE
    again = CliRunner().invoke(cli, ["graph", "import", str(path), "--out", str(path), "--force"])
    assert (again.exit_code, parse_yaml(path.read_text()).name) == (0, "pets")
    path.write_text(_KSERVE)
    nowhere = CliRunner().invoke(cli, ["graph", "import", str(path), "--out", str(tmp_path / "no" / "g.yaml")])
    assert "cannot be written: No such file" in str(nowhere.exception)


def test_json_carries_graph_and_notes(tmp_path: Path) -> None:
    """A program gets both in one document."""
    path = tmp_path / "config.pbtxt"
    path.write_text(_TRITON)
    done = CliRunner().invoke(cli, ["graph", "import", str(path), "-o", "json"])
    document = json.loads(done.stdout)
    assert parse_yaml(document["graph"]).name == "chain"
    assert any("model_warmup" in note for note in document["notes"])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [("config.pbtxt", "name: [", "config.pbtxt"), ("no.yaml", None, "cannot be read"), ("a.yaml", "a: 1", "a.yaml")],
)
def test_what_is_no_graph_is_one_line(tmp_path: Path, name: str, text: str | None, expected: str) -> None:
    """A file that cannot be read, or is none of the kinds, is named with the reason."""
    if text is not None:
        (tmp_path / name).write_text(text)
    done = CliRunner().invoke(cli, ["graph", "import", str(tmp_path / name)])
    assert done.exit_code != 0
    assert expected in done.output or expected in str(done.exception)
