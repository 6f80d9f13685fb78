"""How many bytes a tensor is on the network, as far as its type tells."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from graphmesh.core.signature import show_dimension
from graphmesh.core.tensor import itemsize

if TYPE_CHECKING:
    from graphmesh.core.signature import TensorSpec

__all__ = ["Traffic", "traffic_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A tensor that crosses the network."""

    tensor: str
    """Its source."""
    type: str
    """As signatures show it; empty if it is not known."""
    unit_bytes: int | None
    """Bytes for each combination of `open` sizes; None if elements have no fixed size or the type is not known."""
    open: tuple[str, ...]
    """Sizes that a request decides, by name; ``?`` for those without one."""

    @property
    def total_bytes(self) -> int | None:
        """All bytes; None if that depends on the request."""
        return None if self.open else self.unit_bytes

    def to_dict(self) -> dict[str, object]:
        """Return it ready for JSON."""
        return {
            "tensor": self.tensor,
            "type": self.type,
            "bytes": self.total_bytes,
            "unit_bytes": self.unit_bytes,
            "open": list(self.open),
        }


def traffic_of(source: str, spec: TensorSpec | None) -> Traffic:
    """Return a tensor's traffic; ``spec`` is its type, None if it is not known."""
    if spec is None:
        return Traffic(tensor=source, type="", unit_bytes=None, open=())
    size = itemsize(spec.datatype)
    known = prod(dimension for dimension in spec.shape if isinstance(dimension, int))
    return Traffic(
        tensor=source,
        type=spec.type,
        unit_bytes=None if size is None else size * known,
        open=tuple(show_dimension(dimension) for dimension in spec.shape if not isinstance(dimension, int)),
    )
