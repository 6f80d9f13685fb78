"""A whole mesh.yaml in one process: its models and graphs as a `LocalMesh`, for a team's own tests."""

from __future__ import annotations

from pathlib import Path

from graphmesh.cli.mesh_file import load_mesh_file
from graphmesh.worker.local import LocalMesh

__all__ = ["local_mesh"]


def local_mesh(mesh_file: str | Path = "mesh.yaml") -> LocalMesh:
    """Return the mesh that a file describes: every model once, whichever workers host it, and the graphs.

    Example::

        with local_mesh("mesh.yaml").sync() as mesh:
            assert mesh.predict("review", text=["I love it"])["label"] == ["good"]

    Raises:
        InvalidRequest: the file cannot be read, or a field is wrong; names the file and the field (INVALID_ARGUMENT).
    """
    parsed = load_mesh_file(Path(mesh_file))
    models = {name: [entry.config() for entry in versions] for name, versions in parsed.models().items()}
    return LocalMesh(models, graphs=parsed.graphs)
