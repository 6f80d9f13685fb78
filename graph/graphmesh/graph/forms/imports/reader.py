"""The one entrance to all readers of other servers' graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.imports.fields import parse
from graphmesh.graph.forms.imports.kserve import read_kserve
from graphmesh.graph.forms.imports.plain import load
from graphmesh.graph.forms.imports.torchserve import read_torchserve
from graphmesh.graph.forms.imports.triton import read_triton
from graphmesh.graph.forms.wire import check_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.graph.forms.imports.imported import Imported

__all__ = ["KINDS", "read"]

_READERS: Mapping[str, Callable[[str], Imported]] = {
    "kserve": read_kserve,
    "torchserve": read_torchserve,
    "triton": read_triton,
}
KINDS = tuple(_READERS)
"""What can be read: KServe's InferenceGraph, TorchServe's workflow, Triton's ensemble."""


def read(text: str, *, kind: str) -> Imported:
    """Return another server's graph as one of ours.

    Args:
        text: The document: YAML for `kserve` and `torchserve`, `config.pbtxt` for `triton`.
        kind: One of `KINDS`.

    Raises:
        InvalidGraph: an unknown kind, too large, a graph of ours, or not such a document; names the line or place
            (INVALID_ARGUMENT, retry: no).
    """
    if kind not in _READERS:
        raise InvalidGraph(f"the kind of a graph to import must be one of {', '.join(KINDS)}, got {kind!r}")
    check_size(len(text))
    try:
        return _READERS[kind](text)
    except InvalidGraph as error:
        if _is_ours(text, kind):
            raise InvalidGraph(
                "this is a graph of graphmesh already, there is nothing to import: check it with `graphmesh graph "
                "validate`, put it into the mesh with `graphmesh graph apply`"
            ) from error
        raise


def _is_ours(text: str, kind: str) -> bool:
    """Return whether a document that is no graph of this kind has `nodes` at its top, as ours have and no other."""
    try:
        return "nodes" in (parse(text) if kind == "triton" else load(text))
    except InvalidGraph:
        return False
