"""Meshes for the gateway's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.harness import running_mesh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.harness import GatewayProcess, Mesh


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """A mesh of its own, for tests that break things."""
    with running_mesh() as started:
        yield started


@pytest.fixture(scope="session")
def served() -> Iterator[GatewayProcess]:
    """A gateway over two healthy workers, one with broken models and one that lies; tests must not break it."""
    with running_mesh() as mesh:
        mesh.start_worker("w1", "add", {"name": "only-one"})
        mesh.start_worker("w2", "add", {"name": "add", "version": "2"})
        mesh.start_worker(
            "w3",
            {"name": "corrupt", "state": "FAILED", "message": "corrupt.onnx: truncated"},
            {"name": "slow-start", "state": "LOADING"},
        )
        mesh.start_worker("w4", "liar")
        gateway = mesh.start_gateway()
        for worker in ("w1", "w2"):
            gateway.wait_for_worker(worker)
        yield gateway
