"""When a mesh that starts is ready: its own gateway's record, and what is said of its models."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from graphmesh.cli.readiness import described, gateway_registered
from graphmesh.registry import GatewayRecord, HostedModel, ModelState, Snapshot, WorkerRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from graphmesh.registry import Mirror


def snapshot(*models: tuple[str, str, ModelState], gateway: str = "g") -> Snapshot:
    """Return a mesh of one gateway and one worker, which hosts models by name, version and state."""
    hosted = tuple(HostedModel(name=name, version=version, state=state) for name, version, state in models)
    worker = WorkerRecord(worker_id="w", host="127.0.0.1", http_port=1, grpc_port=2, models=hosted)
    record = GatewayRecord(gateway_id=gateway, host="127.0.0.1", port=3)
    return Snapshot(workers={"w": worker}, gateways={gateway: record})


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((("a", "1", ModelState.AVAILABLE), ("b", "1", ModelState.AVAILABLE)), "a, b"),
        (
            (("a", "1", ModelState.AVAILABLE), ("b", "1", ModelState.FAILED)),
            "a; failed: b (graphmesh models says why)",
        ),
        (
            (("a", "1", ModelState.FAILED), ("b", "1", ModelState.FAILED)),
            "none; failed: a, b (graphmesh models says why)",
        ),
        (
            (("b", "1", ModelState.AVAILABLE), ("b", "2", ModelState.FAILED), ("a", "1", ModelState.AVAILABLE)),
            "a, b; failed: b version 2 (graphmesh models says why)",
        ),
    ],
)
def test_models_of_a_ready_mesh(models: tuple[tuple[str, str, ModelState], ...], said: str) -> None:
    """What was loaded is told from what failed; a version, where another one is there."""
    assert described(["a", "b"], snapshot(*models)) == said


def test_a_mesh_without_models() -> None:
    """A mesh that was given none says where they are written."""
    assert described([], snapshot()) == "none yet: add workers to mesh.yaml"


async def test_only_the_own_gateway_counts() -> None:
    """Another gateway's record, even of the same mesh, is not waited for."""
    seen: list[str] = []

    class Changes:
        async def changes(self) -> AsyncIterator[Snapshot]:
            for gateway in ("other", "mine", "late"):
                seen.append(gateway)
                yield snapshot(gateway=gateway)

    await gateway_registered(cast("Mirror", Changes()), "mine")
    assert seen == ["other", "mine"]
