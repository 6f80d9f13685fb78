"""Operations in every form: what is written comes back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_type_hints

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.yaml_tree import compose
from graphmesh.graph.transforms.operations import KINDS, Cast, Compare, Operation, Pad, Reshape, Softmax
from graphmesh.graph.transforms.wire import operation_from_wire, operation_to_wire
from graphmesh.graph.transforms.yaml_form import operation_form, operation_from_tree
from graphmesh.v1 import operation_pb2

if TYPE_CHECKING:
    from graphmesh.graph.transforms.operations import What

_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
_REALS = st.floats(allow_nan=False) | st.integers(-3, 3).map(float)
_SETTINGS: dict[object, st.SearchStrategy[object]] = {
    str: _TEXTS,
    str | None: st.none() | _TEXTS,
    bool: st.booleans(),
    int: st.integers(-(2**31), 2**31 - 1),
    float: _REALS,
    float | None: st.none() | _REALS,
    tuple[int, ...]: st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3).map(tuple),
    tuple[float, ...]: st.lists(_REALS, max_size=3).map(tuple),
    tuple[str, ...]: st.lists(_TEXTS, max_size=3).map(tuple),
}


def _what(what: type[What]) -> st.SearchStrategy[What]:
    return st.builds(what, **{name: _SETTINGS[kind] for name, kind in get_type_hints(what).items()})


_NAMES = st.lists(_TEXTS, max_size=3).map(tuple)
_OPERATIONS = st.builds(Operation, what=st.one_of(*map(_what, KINDS.values())), inputs=_NAMES, outputs=_NAMES)


def _read(written: str) -> Operation:
    return operation_from_tree(compose(written))


@given(_OPERATIONS)
def test_every_operation_survives_both_forms(operation: Operation) -> None:
    """Messages and YAML, whatever the settings."""
    assert operation_from_wire(operation_to_wire(operation)) == operation
    written = yaml.safe_dump(operation_form(operation), allow_unicode=False)
    assert _read(written) == operation


def test_short_forms() -> None:
    """The first setting may stand for all, and one name needs no list."""
    cast = Operation(what=Cast("FP32"), inputs=("x",), outputs=("y",))
    assert _read("{cast: FP32, inputs: x, outputs: y}") == cast
    assert _read("{cast: {datatype: FP32}, inputs: [x], outputs: [y]}") == cast
    assert operation_form(cast) == {"cast": "FP32", "inputs": "x", "outputs": "y"}
    assert _read("{reshape: [0, -1], inputs: x, outputs: y}").what == Reshape((0, -1))
    assert _read("{reshape: 5, inputs: x, outputs: y}").what == Reshape((5,))
    assert _read("{softmax: {}, inputs: x, outputs: y}").what == Softmax(axis=-1)
    assert _read("{softmax: 1, inputs: x, outputs: y}").what == Softmax(axis=1)
    assert operation_form(_read("{softmax: {}, inputs: x, outputs: y}"))["softmax"] == {}


def test_numbers_as_yaml_writes_them() -> None:
    """Infinities, NaN and exponents."""
    assert _read("{pad: {value: -.inf}, inputs: x, outputs: y}").what == Pad(value=-math.inf)
    assert _read("{pad: {value: 1.0e-05}, inputs: x, outputs: y}").what == Pad(value=1e-5)
    what = _read("{pad: {value: .nan}, inputs: x, outputs: y}").what
    assert isinstance(what, Pad)
    assert math.isnan(what.value)


def test_a_setting_that_is_not_there_is_not_zero() -> None:
    """A comparison with 0 is one, and an axis that is not given is the last."""
    zero = Operation(what=Compare("less", value=0.0), inputs=("x",), outputs=("y",))
    assert operation_from_wire(operation_to_wire(zero)) == zero
    assert _read("{compare: {operator: less, value: 0}, inputs: x, outputs: y}") == zero
    message = operation_pb2.Operation(softmax=operation_pb2.Operation.Softmax())
    assert operation_from_wire(message).what == Softmax(axis=-1)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "{inputs: x, outputs: y}",
            r"line 1: an operation must say exactly one of copy, cast, .*, got none; .*lower: {}",
        ),
        ("{lower: , inputs: x, outputs: y}", r"got none; one without settings is written `lower: {}`"),
        ("{lower: {}, upper: {}, inputs: x}", r"got lower, upper"),
        ("{softmx: {}, inputs: x}", r"has no field 'softmx'.*softmax"),
        ("{softmax: {axes: 1}, inputs: x}", r"`softmax` has no field 'axes'.*axis"),
        ("{lower: 1, inputs: x}", r"`lower` must be a mapping, got '1'"),
        ("{softmax: 1.5, inputs: x}", r"axis must be a whole number, got '1.5'"),
        (f"{{top_k: {2**63}, inputs: x}}", r"k must be a number of 64 bits"),
        ("{pad: {value: much}, inputs: x}", r"value must be a number, got 'much'"),
        ("{argmax: {keepdims: 1}, inputs: x}", r"keepdims must be true or false, got '1'"),
        ("{reshape: {shape: {a: 1}}, inputs: x}", r"shape` ?must be a list|shape must be a list"),
        ("{lower: {}, inputs: {a: b}}", r"inputs must be a list, got a mapping"),
    ],
)
def test_what_cannot_be_read_names_its_line(written: str, message: str) -> None:
    """And what would do."""
    with pytest.raises(InvalidGraph, match=message):
        _read(written)


def test_a_message_without_a_kind() -> None:
    """It may come from a newer version."""
    with pytest.raises(InvalidGraph, match="got none that this version knows"):
        operation_from_wire(operation_pb2.Operation(inputs=["x"]))
