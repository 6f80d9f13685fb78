"""Short ways to write signatures, and a driver that answers calls at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.spec import parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.run import GraphRun


def _spec(name: str, written: str) -> TensorSpec:
    datatype, shape, text = parse_type(written)
    return TensorSpec(name=name, datatype=datatype, shape=shape, text=text, description=f"the {name}")


@pytest.fixture
def sign() -> Callable[[Mapping[str, str], Mapping[str, str]], Signature]:
    """Make a signature of inputs and outputs that are written as types."""

    def make(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Signature:
        return Signature(
            inputs=tuple(_spec(*entry) for entry in inputs.items()),
            outputs=tuple(_spec(*entry) for entry in outputs.items()),
        )

    return make


@pytest.fixture
def drive() -> Callable[[GraphRun, Mapping[str, Callable[..., Mapping[str, Tensor]]]], list[str]]:
    """Answer every call of a run with the function of its target; return the paths in the order they were given out."""

    def run_to_end(run: GraphRun, functions: Mapping[str, Callable[..., Mapping[str, Tensor]]]) -> list[str]:
        paths = []
        while not run.done:
            calls = run.ready()
            assert calls, "a run that is not done must give out calls or have some in flight"
            for call in calls:
                paths.append(call.path)
                run.complete(call, functions[call.target](**call.inputs))
        return paths

    return run_to_end
