"""A `Management` for tests: remembers what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import NotFound
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence


class FakeManagement:
    """One ready model, one that failed."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def index(self) -> Sequence[pb.RepositoryIndexResponse.ModelIndex]:
        """Return the two models."""
        entry = pb.RepositoryIndexResponse.ModelIndex
        return [
            entry(name="add", version="1", state="READY"),
            entry(name="bad", version="2", state="UNAVAILABLE", reason="no file"),
        ]

    async def load(self, name: str) -> None:
        """Remember the call; `nope` is not known."""
        if name == "nope":
            raise NotFound("no model is named 'nope'")
        self.asked.append(("load", name))

    async def unload(self, name: str) -> None:
        """Remember the call."""
        self.asked.append(("unload", name))

    async def statistics(self, name: str, version: str) -> Sequence[pb.ModelStatistics]:
        """Return one count past what fits into a double."""
        self.asked.append(("statistics", name, version))
        stats = pb.InferStatistics(success=pb.StatisticDuration(count=3, ns=2**60 + 1))
        return [pb.ModelStatistics(name=name or "add", version=version or "1", inference_stats=stats)]

    async def config(self, name: str, version: str) -> pb.ModelConfig:
        """Return a configuration with an enum, a map and a list."""
        self.asked.append(("config", name, version))
        config = pb.ModelConfig(name=name, max_batch_size=8)
        config.input.add(name="x", data_type="TYPE_FP32", dims=[-1])
        config.parameters["key"].string_value = "value"
        return config
