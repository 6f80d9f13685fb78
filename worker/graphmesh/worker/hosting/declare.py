"""Decorators by which a model's author says how it is to be served; whoever deploys it can say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from graphmesh.core.names import check_version
from graphmesh.worker.batching import Batching

if TYPE_CHECKING:
    from graphmesh.worker.batching.settings import CostFunction

__all__ = ["Declaration", "batched", "declared_batching", "declared_model", "model"]

_Kind = TypeVar("_Kind", bound=type[Any])
_Predict = TypeVar("_Predict", bound=Callable[..., Any])

_MODEL = "__graphmesh_model__"
_BATCHING = "__graphmesh_batching__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What `model` was told."""

    version: str = ""
    """Digits; empty if nothing was said."""
    instances: int = 0
    """Calls or batches at once; 0 if nothing was said."""


def model(*, version: str | int = "", instances: int = 0) -> Callable[[_Kind], _Kind]:
    """Declare the version a class is, and how many calls or batches its sync `predict` runs at once.

    Raises:
        InvalidRequest: the version is not digits.
    """
    declaration = Declaration(version=check_version(str(version)) if str(version) else "", instances=instances)

    def declare(kind: _Kind) -> _Kind:
        setattr(kind, _MODEL, declaration)
        return kind

    return declare


def batched(
    *,
    max_batch_size: int = 32,
    max_delay_ms: float = 0.0,
    cost: str | CostFunction = "",
    max_cost: float = 0.0,
    pad: Mapping[str, tuple[int, ...]] | None = None,
) -> Callable[[_Predict], _Predict]:
    """Declare that `predict` takes the rows of several calls at once; see `Batching` for the arguments.

    Axis 0 of every input and output must be the batch.
    """
    batching = Batching(
        max_batch_size=max_batch_size, max_delay_ms=max_delay_ms, cost=cost, max_cost=max_cost, pad=pad or {}
    )

    def declare(predict: _Predict) -> _Predict:
        setattr(predict, _BATCHING, batching)
        return predict

    return declare


def declared_model(kind: type[Any]) -> Declaration:
    """Return what a class declares."""
    found = kind.__dict__.get(_MODEL)
    return found if isinstance(found, Declaration) else Declaration()


def declared_batching(predict: Callable[..., Any]) -> Batching | None:
    """Return what a `predict`, bound or not, declares."""
    found = getattr(predict, _BATCHING, None)
    return found if isinstance(found, Batching) else None
