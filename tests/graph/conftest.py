"""Short ways to write signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.spec import parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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
