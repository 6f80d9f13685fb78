"""Sizes written out for people and signatures: each size gets one name, and no name stands for two sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.checks.sizes import Unknown, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.core.signature import Dimension, TensorSpec
    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.checks.sizes import Size

__all__ = ["Names"]

_MAX_STEM = 56
"""Characters of a name that is counted on; names of sizes have at most 64."""


class Names:
    """The names of one graph's sizes: the second size that is called N becomes N2."""

    def __init__(self) -> None:
        self._names: dict[Unknown, str] = {}
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def first(self, flows: Iterable[Flow]) -> None:
        """Give out the names of these flows' sizes, so that they stay as they are."""
        for flow in flows:
            self._written(flow)

    def specs(self, flows: Mapping[str, Flow]) -> dict[str, TensorSpec]:
        """Return the specs of tensors by source, each named as what gives it names it."""
        return {
            source: flow.spec(source.partition(".")[2] or source, self._written(flow)) for source, flow in flows.items()
        }

    def _written(self, flow: Flow) -> list[Dimension]:
        return [self._write(resolve(size)) for size in flow.shape]

    def _write(self, size: Size) -> Dimension:
        if not isinstance(size, Unknown) or size.name is None:
            return size if isinstance(size, int) else None
        if size not in self._names:
            self._names[size] = self._free(size.name)
        return self._names[size]

    def _free(self, name: str) -> str:
        choice, count = name, self._counts.get(name, 1)  # goes on counting where it stopped: many sizes are called N
        while choice in self._taken:
            count += 1
            choice = f"{name[:_MAX_STEM]}{count}"
        self._counts[name] = count
        self._taken.add(choice)
        return choice
