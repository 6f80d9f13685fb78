"""Which extra workers `graphmesh up` runs so that each model has the replicas that `graphmesh scale` asked for.

Pure. mesh.yaml places every model on its groups of workers; a model scaled past that gets extra workers that host it
alone, so each model scales on its own. Scaling below what mesh.yaml places is not done here: it would take a model
away from a worker that hosts others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.cli.mesh_file import MeshFile

__all__ = ["base_replicas", "extra_workers"]


def base_replicas(mesh: MeshFile) -> dict[str, int]:
    """Return how many workers mesh.yaml places each model on."""
    count: dict[str, int] = {}
    for worker in mesh.workers:
        for name in {model.name for model in worker.models}:
            count[name] = count.get(name, 0) + worker.replicas
    return count


def extra_workers(base: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, str]:
    """Return the model that each extra worker hosts, by worker id.

    Args:
        base: Replicas that mesh.yaml places, by model.
        wanted: Replicas asked for, by model; 0 asks for nothing. Models that mesh.yaml does not have are left alone.
    """
    return {
        f"{model}-x{number}": model
        for model, placed in base.items()
        for number in range(1, wanted.get(model, 0) - placed + 1)
    }
