"""`local_mesh`: a whole mesh.yaml in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphmesh.cli.testing import local_mesh
from graphmesh.core.errors import InvalidRequest

ROOT = Path(__file__).resolve().parents[2]


def test_a_whole_mesh_is_called() -> None:
    """Models with their parameters, and graphs, are those of the file, wherever the test runs."""
    with local_mesh(ROOT / "examples/tutorial/mesh.yaml").sync() as mesh:
        assert mesh.predict("clean", text=["What a GREAT film!"]) == {"output": ["what a great film"]}
        review = mesh.predict("review", text=["What a GREAT film!", "Awful. Boring."])
        assert review["label"] == ["good", "bad"]
        assert review["score"].tolist() == [1.0, -2.0]


def test_all_kinds_of_models(tmp_path: Path) -> None:
    """Versions, batching and streams come from the file and from the classes."""
    folder = ROOT / "examples/models"
    mesh_yaml = (folder / "mesh.yaml").read_text()
    for name in ("shout", "topics", "story"):
        mesh_yaml = mesh_yaml.replace(f"{name}.py:", f"{folder / name}.py:")
    (tmp_path / "mesh.yaml").write_text(mesh_yaml)
    with local_mesh(tmp_path / "mesh.yaml").sync() as mesh:
        assert mesh.predict("topics", text=["hot soup"]).version == "2"
        assert [answer["output"] for answer in mesh.stream("story", prompt="once", words=2)] == ["upon", "a"]


def test_a_file_that_is_wrong(tmp_path: Path) -> None:
    """A mistake in the file is reported as by every command."""
    with pytest.raises(InvalidRequest, match=r"mesh\.yaml"):
        local_mesh(tmp_path / "mesh.yaml")
