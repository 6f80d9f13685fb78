"""What a caller is told about a model that no worker serves: pure, from the snapshot alone.

Envoy sends here what matches no worker's subset: names and versions nobody serves, names that cannot be names, and
requests whose model it could not tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError, InvalidRequest, ModelNotReady, NotFound, Unavailable
from graphmesh.core.names import check_model_name, check_version, close_names
from graphmesh.registry.records import ModelState, WorkerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphmesh.registry.snapshot import Replica, Snapshot

__all__ = ["absence", "check_timeout", "reason"]

_LONGEST_TIMEOUT_DIGITS = 9
_URGENCY = (
    ModelState.FAILED,
    ModelState.LOADING,
    ModelState.UNLOADING,
    ModelState.UNLOADED,
    ModelState.AVAILABLE,
)
"""Of several replicas, the state that says most about why none answers."""


def reason(snapshot: Snapshot | None, model: str, version: str = "") -> GraphmeshError:
    """Return why ``model`` is not served.

    InvalidRequest for a malformed name, NotFound with close names for an unknown one or an unknown version, Unavailable
    for a model that is known but has no replica to answer.
    """
    try:
        check_model_name(model)
        if version:
            check_version(version)
    except InvalidRequest as error:
        return error
    if snapshot is None:
        return Unavailable("this gateway has not read the registry yet; repeat in a moment")
    replicas = snapshot.replicas(model)
    return _not_served(replicas, model, version) if replicas else _not_hosted(snapshot, model)


def absence(snapshot: Snapshot, model: str) -> str:
    """Return `reason` for a sentence that has named the model or graph, which is known; of use if it is not served."""
    return "it " + reason(snapshot, model).message.removeprefix(f"model {model!r} ").removeprefix(f"graph {model!r} ")


def _not_hosted(snapshot: Snapshot, model: str) -> GraphmeshError:
    if model in snapshot.graphs:
        return ModelNotReady(f"graph {model!r} is known, but no worker is ready to run it; start a worker")
    if model in snapshot.models:
        hint = "start one, or see its workers' logs"
        return ModelNotReady(f"model {model!r} is known, but no worker hosts it now; {hint}")
    return _unknown(snapshot, model)


def _not_served(replicas: Sequence[Replica], model: str, version: str) -> GraphmeshError:
    versions = sorted({hosted.version for _, hosted in replicas}, key=int)
    if version and version not in versions:
        return NotFound(
            f"model {model!r} has no version {version}, there are {', '.join(versions)}",
            metadata={"model": model, "version": version},
        )
    return _not_ready(model, [replica for replica in replicas if not version or replica[1].version == version])


def check_timeout(value: str | None) -> None:
    """Raise InvalidRequest when a REST call's timeout header is not what it must be."""
    if value is None:
        return
    if not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_TIMEOUT_DIGITS and int(value) > 0):
        raise InvalidRequest(
            f"x-graphmesh-timeout-ms must be 1 to 999999999, digits only, got {value[:40]!r}",
        )


def _unknown(snapshot: Snapshot, model: str) -> NotFound:
    known = sorted({*snapshot.models, *snapshot.graphs})
    near = close_names(model, known)
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        hint = "GET /v1/models lists what there is" if known else "there are none yet"
    return NotFound(f"no model or graph is named {model!r}; {hint}", metadata={"model": model})


def _not_ready(model: str, replicas: list[Replica]) -> ModelNotReady:
    worker, hosted = min(replicas, key=lambda replica: _URGENCY.index(replica[1].state))
    where = f"on worker {worker.worker_id}"
    if hosted.state is ModelState.FAILED:
        return ModelNotReady(f"model {model!r} failed {where}: {hosted.message}", metadata={"model": model})
    if hosted.state is ModelState.UNLOADED:
        return ModelNotReady(
            f"model {model!r} was unloaded {where}; load it with: graphmesh model load {model}",
            metadata={"model": model},
        )
    if worker.state is WorkerState.DRAINING:
        return ModelNotReady(f"model {model!r} has no replica left, the last is draining {where}; repeat in a moment")
    what = {ModelState.LOADING: "is still loading", ModelState.UNLOADING: "is being unloaded"}
    said = what.get(hosted.state, "has just become ready")
    return ModelNotReady(f"model {model!r} {said} {where}; repeat in a moment", metadata={"model": model})
