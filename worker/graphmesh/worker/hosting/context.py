"""What a model's author can know of a call, and say beside the outputs.

A `predict` with a parameter annotated ``Context`` gets one; a batched `predict` annotates ``list[Context]`` and gets
one for each call of the batch, in the order of their rows.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.inference import Parameter
    from graphmesh.core.tensor import Tensor

__all__ = ["Context"]

_HEADER_NAME = re.compile(r"[a-z0-9._-]{1,128}(?<!-bin)")  # what gRPC takes; -bin would be base64
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4096}")
_RESERVED = ("grpc-", "x-envoy-", "x-graphmesh-", "content-", "inference-header-", "proxy-")
_HOP_BY_HOP = frozenset(
    {"connection", "date", "host", "keep-alive", "server", "te", "trailer", "transfer-encoding", "upgrade"}
)
_NONE: Mapping[str, str] = MappingProxyType({})
_NO_INPUTS: Mapping[str, Tensor] = MappingProxyType({})


class Context:
    """One call, seen by the model that runs it. Safe to use from the model's thread."""

    __slots__ = (
        "_cancelled",
        "_listener",
        "_response_headers",
        "deadline",
        "headers",
        "inputs",
        "model",
        "parameters",
        "request_id",
        "rows",
        "version",
    )

    def __init__(
        self,
        *,
        model: str = "",
        version: str = "",
        request_id: str = "",
        deadline: Deadline = NO_DEADLINE,
        headers: Mapping[str, str] = _NONE,
        parameters: Mapping[str, Parameter] | None = None,
        rows: int = 1,
    ) -> None:
        self.model = model
        """The model's name."""
        self.version = version
        """The version that runs."""
        self.request_id = request_id
        """The caller's `x-request-id`, also in the log; empty if there is none."""
        self.deadline = deadline
        """The instant by which the caller wants the answer."""
        self.headers = headers
        """Headers (gRPC: metadata) that the call came with, lower-case names."""
        self.parameters: Mapping[str, Parameter] = parameters or {}
        """The Open Inference Protocol's request parameters."""
        self.rows = rows
        """How many rows of the batch are this call's."""
        self.inputs: Mapping[str, Tensor] = _NO_INPUTS
        """What the call came with, before it was joined to a batch; the worker sets and reads this."""
        self._response_headers: dict[str, str] = {}
        self._cancelled = False
        self._listener: Callable[[], None] | None = None

    @property
    def response_headers(self) -> Mapping[str, str]:
        """What `set_header` was told; the worker reads this."""
        return MappingProxyType(self._response_headers)

    @property
    def cancelled(self) -> bool:
        """Whether the caller has left: its answer is of use to nobody."""
        return self._cancelled

    def cancel(self) -> None:
        """Note that the caller has left; the worker calls this."""
        self._cancelled = True
        if self._listener is not None:
            self._listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called once the caller has left, at once if that was before; the worker calls this."""
        self._listener = listener
        if self._cancelled:
            listener()

    def remaining(self) -> float:
        """Return the seconds until the deadline: infinity if there is none, negative once it has passed."""
        return self.deadline.remaining()

    def check(self) -> None:
        """Raise if going on is of no use; long computations call this between steps.

        Raises:
            Cancelled: the caller has left (CANCELLED, retry: no).
            DeadlinePassed: the deadline has passed (DEADLINE_EXCEEDED, retry: no).
        """
        if self._cancelled:
            raise Cancelled("the caller left")
        self.deadline.check("the model was done")

    def set_header(self, name: str, value: str) -> None:
        """Set a response header (gRPC: initial metadata).

        A stream's headers leave with its first answer; what is set later is not sent.

        Raises:
            ValueError: the name is not of ``a-z0-9._-``, ends in ``-bin`` or is reserved (``grpc-``, ``content-``,
                ``x-envoy-``, ``x-graphmesh-``, ``inference-header-``, ``proxy-``, hop-by-hop), or the value has more
                than printable ASCII.
        """
        if not _HEADER_NAME.fullmatch(name) or name in _HOP_BY_HOP or name.startswith(_RESERVED):
            raise ValueError(f"a response header's name must be of a-z0-9._- and not reserved, got {name[:128]!r}")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name!r} must be up to 4096 printable ASCII characters")
        self._response_headers[name] = value
