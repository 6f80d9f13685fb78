"""Every error that graphmesh raises on purpose, as one tree.

    GraphmeshError                  code, reason (a subclass that has no entry below is a bug; a test looks)
    +-- InvalidRequest              INVALID_ARGUMENT      the request itself is wrong
    |   +-- SignatureMismatch       INVALID_ARGUMENT      names, datatypes or shapes differ from the signature
    |   +-- InvalidTensor           INVALID_ARGUMENT      a tensor's bytes do not fit its own shape or datatype
    |   +-- InvalidGraph            INVALID_ARGUMENT      a graph that cannot work; names the node or edge
    +-- NotFound                    NOT_FOUND             no such model, graph, worker
    +-- AlreadyExists               ALREADY_EXISTS        the name is taken by something else
    +-- Conflict                    ABORTED               someone else changed it first
    +-- FailedPrecondition          FAILED_PRECONDITION   possible later, after something else was done
    |   +-- Quarantined             FAILED_PRECONDITION   this very request ended its model's process twice
    +-- Overloaded                  RESOURCE_EXHAUSTED    too large, or too many waiting
    |   +-- MessageTooLarge         RESOURCE_EXHAUSTED    more bytes than this server takes; HTTP says 413
    +-- DeadlinePassed              DEADLINE_EXCEEDED     the caller's time is up
    +-- Cancelled                   CANCELLED             the caller went away
    +-- Unsupported                 UNIMPLEMENTED         a feature this server does not offer
    +-- Unavailable                 UNAVAILABLE           safe to repeat, here or elsewhere
    |   +-- ModelNotReady           UNAVAILABLE           known, but no replica can answer now
    |   +-- RegistryUnavailable     UNAVAILABLE           etcd cannot be reached
    +-- ModelFailed                 INTERNAL              the model raised; its text stays in the log
    |   +-- ModelProcessDied        INTERNAL              the model's own process ended while it ran the call
    +-- LoadFailed                  FAILED_PRECONDITION   a model could not be loaded; names the file and the reason
    +-- StartFailed                 FAILED_PRECONDITION   a process of the mesh could not start; says what to do

The code decides everything a client sees: the gRPC status is the code, the HTTP status derives from it (never the
other way round), by the table of google.rpc.Code.
"""

from __future__ import annotations

import copy
import enum
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "Code",
    "Conflict",
    "DeadlinePassed",
    "FailedPrecondition",
    "GraphmeshError",
    "InvalidGraph",
    "InvalidRequest",
    "InvalidTensor",
    "LoadFailed",
    "MessageTooLarge",
    "ModelFailed",
    "ModelNotReady",
    "ModelProcessDied",
    "NotFound",
    "Overloaded",
    "Quarantined",
    "RegistryUnavailable",
    "SignatureMismatch",
    "StartFailed",
    "Unavailable",
    "Unsupported",
    "from_code",
]


class Code(enum.IntEnum):
    """The gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http_status(self) -> int:
        """The HTTP status that stands for this code."""
        return _HTTP[self]


_HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,  # "client closed request": not in the RFC, but what google.rpc.Code and nginx use
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,  # not 412, which belongs to conditional headers
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class GraphmeshError(Exception):
    """Base of all errors that graphmesh raises on purpose.

    Args:
        message: What is wrong, what was expected, and the next step; safe to show to any client.
        metadata: The variable parts of the message, for programs.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    """Stable name for programs, as in google.rpc.ErrorInfo."""

    def __init__(self, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})

    def reworded(self, message: str) -> Self:
        """Return this error with another message, itself the cause; class, code, reason and metadata stay."""
        other = copy.copy(self)
        other.message = message
        other.args = (message,)
        other.metadata = dict(self.metadata)
        other.__cause__ = self
        return other


class InvalidRequest(GraphmeshError):
    """The request itself is wrong; repeating it does not help."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"


class SignatureMismatch(InvalidRequest):
    """Names, datatypes or shapes differ from the signature."""

    reason = "SIGNATURE_MISMATCH"


class InvalidTensor(InvalidRequest):
    """A tensor's bytes do not fit its own shape or datatype."""

    reason = "INVALID_TENSOR"


class InvalidGraph(InvalidRequest):
    """A graph that cannot work; the message names the node or edge."""

    reason = "INVALID_GRAPH"


class NotFound(GraphmeshError):
    """No such model, graph, worker or revision."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(GraphmeshError):
    """The name is taken by something else."""

    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class Conflict(GraphmeshError):
    """Someone else changed it first: read again, then repeat."""

    code = Code.ABORTED
    reason = "CONFLICT"


class FailedPrecondition(GraphmeshError):
    """Possible later, after something else was done."""

    code = Code.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class Quarantined(FailedPrecondition):
    """This very request ended its model's process twice, and is not tried again."""

    reason = "QUARANTINED"


class Overloaded(GraphmeshError):
    """Too large, or too many waiting; repeat after a pause.

    Args:
        message: As for every error.
        retry_after_s: After how long a repeat has a chance; 0 if that is not known. Clients get it as RetryInfo, as
            `grpc-retry-pushback-ms` and as `Retry-After`.
        metadata: As for every error.
    """

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_s: float = 0.0, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, metadata=metadata)
        self.retry_after_s = retry_after_s


class MessageTooLarge(Overloaded):
    """The message is larger than this server takes; HTTP says 413."""

    reason = "MESSAGE_TOO_LARGE"


class DeadlinePassed(GraphmeshError):
    """The caller's time is up."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_PASSED"


class Cancelled(GraphmeshError):
    """The caller went away."""

    code = Code.CANCELLED
    reason = "CANCELLED"


class Unsupported(GraphmeshError):
    """A feature this server does not offer."""

    code = Code.UNIMPLEMENTED
    reason = "UNSUPPORTED"


class Unavailable(GraphmeshError):
    """Nothing was done; safe to repeat, here or elsewhere."""

    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"


class ModelNotReady(Unavailable):
    """The model is known, but no replica can answer now."""

    reason = "MODEL_NOT_READY"


class RegistryUnavailable(Unavailable):
    """etcd cannot be reached; inference goes on, changes are refused."""

    reason = "REGISTRY_UNAVAILABLE"


class ModelFailed(GraphmeshError):
    """The model raised; the message carries an id, the text stays in the log."""

    reason = "MODEL_FAILED"


class ModelProcessDied(ModelFailed):
    """The model's own process ended while it ran the call; the message says how."""

    reason = "MODEL_PROCESS_DIED"


class LoadFailed(FailedPrecondition):
    """A model could not be loaded; the message names the file and the reason."""

    reason = "LOAD_FAILED"


class StartFailed(FailedPrecondition):
    """A process of the mesh could not start; the message says what to do."""

    reason = "START_FAILED"


class _Remote(GraphmeshError):
    """An error that came over the wire with a code that no class above stands for."""


_BY_CODE: dict[Code, type[GraphmeshError]] = {
    Code.INVALID_ARGUMENT: InvalidRequest,
    Code.NOT_FOUND: NotFound,
    Code.ALREADY_EXISTS: AlreadyExists,
    Code.ABORTED: Conflict,
    Code.FAILED_PRECONDITION: FailedPrecondition,
    Code.RESOURCE_EXHAUSTED: Overloaded,
    Code.DEADLINE_EXCEEDED: DeadlinePassed,
    Code.CANCELLED: Cancelled,
    Code.UNIMPLEMENTED: Unsupported,
    Code.UNAVAILABLE: Unavailable,
    Code.INTERNAL: ModelFailed,
}


def from_code(code: int, message: str) -> GraphmeshError:
    """Return the error that stands for a status received over the wire."""
    known = Code(code) if code in Code._value2member_map_ else Code.UNKNOWN
    error = _BY_CODE.get(known, _Remote)(message)
    error.code = known  # type: ignore[misc]
    return error
