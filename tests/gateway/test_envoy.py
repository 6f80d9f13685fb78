"""The supervisor's memory of the Envoy it left running."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson
import pytest

from graphmesh.gateway import envoy
from graphmesh.gateway.config import GatewayConfig
from graphmesh.gateway.envoy import Envoy
from graphmesh.gateway.os_process import OsProcess

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def left(tmp_path: Path) -> GatewayConfig:
    """A gateway whose Envoy runs, played by this process."""
    config = GatewayConfig(gateway_id="g1", run_dir=tmp_path)
    own = OsProcess.find(os.getpid())
    assert own
    state = {"pid": own.pid, "started": own.started, "digest": Envoy(config)._digest, "admin": config.sockets.admin}
    (tmp_path / "state.json").write_bytes(orjson.dumps(state))
    return config


def test_same_envoy_is_adopted(left: GatewayConfig) -> None:
    """Same process, configuration and version: taken over."""
    after = Envoy(left)
    assert after.adopt()
    assert (after.statistics.pid, after.statistics.adopted) == (os.getpid(), True)


def test_envoy_of_another_version_is_not_adopted(left: GatewayConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade of the binary the old process, though configured alike, is replaced."""
    monkeypatch.setattr(envoy, "version", lambda _: "99.0.0")
    assert not Envoy(left).adopt()
