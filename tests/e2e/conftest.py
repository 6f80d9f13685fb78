"""Fixtures of the end-to-end tests: meshes and processes, all ended when the tests are over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.running import Processes, RunningMesh, start_mesh, stop_mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningMesh]]:
    """Start meshes that end with the module."""
    started: list[RunningMesh] = []

    def _start(mesh_yaml: str, *flags: str) -> RunningMesh:
        mesh = start_mesh(tmp_path_factory.mktemp("mesh"), mesh_yaml, *flags)
        started.append(mesh)
        return mesh

    yield _start
    for mesh in started:
        stop_mesh(mesh)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Start processes by hand."""
    running = Processes(tmp_path)
    yield running
    running.end_all()
