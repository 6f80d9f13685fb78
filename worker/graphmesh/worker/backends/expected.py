"""Whether a model is what a description beside its file says: Triton's `config.pbtxt`, MLflow's `MLmodel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed

if TYPE_CHECKING:
    from graphmesh.core.signature import Signature, TensorSpec

__all__ = ["check_expected"]


def check_expected(expected: Signature, actual: Signature) -> None:
    """Compare what is described with what a file has; sizes that either leaves open fit.

    Every input must be described; outputs may be left out.

    Raises:
        LoadFailed: a name, datatype or shape differs; names the tensor and both sides.
    """
    missing = [spec.name for spec in actual.inputs if spec.name not in {spec.name for spec in expected.inputs}]
    if missing and expected.inputs:
        raise LoadFailed(f"input {missing[0]!r} of the file is missing from its description")
    for kind, described, there in (
        ("input", expected.inputs, actual.inputs),
        ("output", expected.outputs, actual.outputs),
    ):
        by_name = {spec.name: spec for spec in there}
        for spec in described:
            if spec.name not in by_name:
                raise LoadFailed(f"{kind} {spec.name!r} is described, but the file has {list(by_name)}")
            if not _fits(spec, by_name[spec.name]):
                raise LoadFailed(
                    f"{kind} {spec.name!r} is described as {spec.type}, but the file has {by_name[spec.name].type}"
                )


def _fits(described: TensorSpec, there: TensorSpec) -> bool:
    return (
        described.datatype == there.datatype
        and len(described.shape) == len(there.shape)
        and all(
            one == other or not (isinstance(one, int) and isinstance(other, int))
            for one, other in zip(described.shape, there.shape, strict=True)
        )
    )
