"""What nodes of a graph written in Python read: tensors, by the names of the inputs that they go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphmesh.core.errors import InvalidGraph

__all__ = ["Built", "Source", "by_name", "source_name"]

_INPUTS = "inputs must be keywords or a mapping, as x=tensor or {'x': tensor}"


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor that nodes and outputs can read."""

    name: str
    """``input`` or ``node.output``."""


@dataclass(frozen=True, slots=True)
class Built:
    """A node; ``node["boxes"]`` is its output of that name."""

    name: str
    """The node's name."""

    def __getitem__(self, output: str) -> Source:
        """Return one of the node's outputs."""
        return Source(f"{self.name}.{output}")


def by_name(node: str, given: object, form: str = _INPUTS) -> Mapping[str, Source]:
    """Return tensors by input, or raise InvalidGraph with the form that is wanted.

    Args:
        node: The node, for errors.
        given: What was given; None is an empty mapping.
        form: What it is, and how to write it.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        got = f"the tensor {given.name!r} alone" if isinstance(given, Source) else repr(given)[:140]
        raise InvalidGraph(f"node {node}: {form}, got {got}")
    return given


def source_name(where: str, source: object) -> str:
    """Return the text of a tensor, or raise InvalidGraph with what to write instead."""
    if isinstance(source, Source):
        return source.name
    what = f"node {source.name!r}; name its output, as {source.name}['output']" if isinstance(source, Built) else source
    raise InvalidGraph(f"{where}: must read a graph input or a node's output, got {what}")
