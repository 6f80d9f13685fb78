"""A graph whose nodes run on two workers; `tests/contract` has the clients that people already have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.running import MODELS, RunningMesh

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

MESH = f"""
workers:
  - name: left
    models:
      - {{name: add, source: "{MODELS}:Add"}}
  - name: right
    models:
      - {{name: add-ten, source: "{MODELS}:Add", parameters: {{amount: 10}}}}
graphs: [chain.yaml]
"""
CHAIN = """
name: chain
inputs: [{name: x}]
nodes:
  - {name: one, model: add, inputs: {x: x}}
  - {name: ten, model: add-ten, inputs: {x: one.y}}
outputs: {y: ten.y}
"""


@pytest.fixture(scope="module")
def mesh(start: Callable[..., RunningMesh], tmp_path_factory: pytest.TempPathFactory) -> RunningMesh:
    """Two workers and a graph over both."""
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "chain.yaml").write_text(CHAIN)
    return start(MESH.replace("chain.yaml", str(folder / "chain.yaml")))


def test_explain_tells_fused_from_remote(mesh: RunningMesh) -> None:
    """The answer itself says which node ran where: one on the executing worker, one on the other."""
    done = mesh.graphmesh("infer", "chain", "x=[1]", "--explain", "-o", "json")
    nodes = {node["node"]: node for node in json.loads(done.stdout)["explain"]["nodes"]}
    assert {nodes["one"]["fused"], nodes["ten"]["fused"]} == {True, False}
    assert {nodes["one"]["worker"], nodes["ten"]["worker"]} == {"left-1", "right-1"}
    assert all(node["duration_ms"] > 0 for node in nodes.values())
