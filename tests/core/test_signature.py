"""Signatures: what they accept, and what they say of what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphmesh.core.errors import InvalidRequest, SignatureMismatch
from graphmesh.core.signature import Dimension, Signature, TensorSpec, parse_dimension, parse_type, show_dimension
from graphmesh.core.wire import signature_from_wire, signature_to_wire


def spec(name: str, datatype: str, *shape: Dimension, text: bool = False) -> TensorSpec:
    """Return a spec in one line."""
    return TensorSpec(name=name, datatype=datatype, shape=shape, text=text)


SIGNATURE = Signature(
    (spec("image", "FP32", "N", 3, None), spec("label", "BYTES", "N", text=True)), (spec("score", "FP32", "N"),)
)


def request_(**changes: object) -> dict[str, Any]:
    """Return a request that fits, with changes."""
    return {"image": np.zeros((2, 3, 5), np.float32), "label": np.array([b"a", b"b"], dtype=object)} | changes


def test_accepts_what_fits() -> None:
    """Named dimensions may be of any size if they agree; an unknown one may be of any size."""
    SIGNATURE.check_inputs(request_())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image": np.zeros((2, 3, 5))}, r"'image' must be FP32 \(N, 3, \?\), got datatype FP64"),
        ({"image": np.zeros((2, 4, 5), np.float32)}, "got 4 at axis 1"),
        ({"image": np.zeros((2, 3), np.float32)}, "got 2 dimensions"),
        ({"label": np.array([b"a"], dtype=object)}, "N is 1 here but 2 in 'image'"),
        ({"imgae": np.zeros(1)}, "did you mean 'image'"),
    ],
)
def test_refuses_what_does_not(changes: dict[str, Any], expected: str) -> None:
    """A wrong datatype, size, rank, disagreeing name or unknown input is refused, and the message says what fits."""
    with pytest.raises(SignatureMismatch, match=expected):
        SIGNATURE.check_inputs(request_(**changes))


def test_missing_input_is_named() -> None:
    """A missing input is named."""
    with pytest.raises(SignatureMismatch, match="input 'label' is missing"):
        SIGNATURE.check_inputs({"image": np.zeros((2, 3, 5), np.float32)})


def test_outputs_are_checked_alike() -> None:
    """What a model gives is held to its signature too."""
    with pytest.raises(SignatureMismatch, match="output 'score' must be FP32"):
        SIGNATURE.check_outputs({"score": np.zeros(2)})


@pytest.mark.parametrize("text", ["3", "N", "?"])
def test_dimensions_read_back(text: str) -> None:
    """A dimension's text reads back as itself."""
    assert show_dimension(parse_dimension(text)) == text


@pytest.mark.parametrize("text", ["-2", "n n", "", "3x", "²", "9" * 5000])
def test_bad_dimensions(text: str) -> None:
    """Anything but a number, a name or ? is refused."""
    with pytest.raises(InvalidRequest, match="a dimension must be"):
        parse_dimension(text)


def test_wire_round_trip_keeps_the_digest() -> None:
    """A signature read back from its message is the same, digest included."""
    again = signature_from_wire(signature_to_wire(SIGNATURE))
    assert again == SIGNATURE
    assert again.digest == SIGNATURE.digest


def test_digest_ignores_descriptions_only() -> None:
    """Two signatures differ in digest exactly if requests could tell them apart."""
    described = Signature((TensorSpec(name="x", datatype="FP32", description="pixels"),), ())
    plain, other = Signature((spec("x", "FP32"),), ()), Signature((spec("x", "FP64"),), ())
    assert described.digest == plain.digest
    assert plain.digest != other.digest


def test_bad_specs() -> None:
    """Unknown datatypes, text that is not BYTES and repeated names are refused."""
    with pytest.raises(InvalidRequest, match="datatype must be one of"):
        spec("x", "FLOAT")
    with pytest.raises(InvalidRequest, match="only BYTES can be text"):
        spec("x", "FP32", text=True)
    with pytest.raises(InvalidRequest, match="must be unique"):
        Signature((spec("x", "FP32"), spec("x", "FP32")), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FP32 (N, 3)", ("FP32", ("N", 3), False)),
        ("float32 (?, 3)", ("FP32", (None, 3), False)),
        ("text (N,)", ("BYTES", ("N",), True)),
        ("uint8", ("UINT8", (), False)),
    ],
)
def test_types_are_read(text: str, expected: tuple[object, ...]) -> None:
    """A type is a datatype, in the protocol's or numpy's spelling, and its dimensions."""
    assert parse_type(text) == expected


@pytest.mark.parametrize("text", ["", "FLOAT (N,)", "FP32 [N]", "complex128 (N,)"])
def test_what_is_no_type(text: str) -> None:
    """Anything else is refused with the form and the datatypes."""
    with pytest.raises(InvalidRequest, match="a type must look like"):
        parse_type(text)
