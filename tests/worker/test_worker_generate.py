"""Triton's generate JSON: shapes are filled in, outputs are flat."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import FailedPrecondition, InvalidRequest, InvalidTensor
from graphmesh.core.inference import InferenceResponse
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.worker.forms.generate import decode_generate, encode_generate, one_answer


def _signature(*shape: int | str | None) -> Signature:
    return Signature(inputs=(TensorSpec(name="x", datatype="INT64", shape=shape),), outputs=())


@pytest.mark.parametrize(
    ("shape", "value", "got"),
    [
        ((), 5, ()),
        ((1,), 5, (1,)),
        (("N", "M"), 5, (1, 1)),
        (("N",), [1, 2, 3], (3,)),
        (("N", 2), [1, 2, 3, 4], (2, 2)),
        (("N", "M", 2), [1, 2, 3, 4], (1, 2, 2)),
        (("N", 2), [[1, 2], [3, 4]], (2, 2)),
        (("N", 2), [], (0, 2)),
        ((2, 2), [1, 2, 3, 4], (2, 2)),
    ],
)
def test_shapes(shape: tuple[int | str, ...], value: object, got: tuple[int, ...]) -> None:
    """A value or a flat list takes the shape of its input; nested lists keep theirs."""
    request = decode_generate(orjson.dumps({"x": value}), _signature(*shape))
    assert request.inputs["x"].shape == got


@given(shape=st.lists(st.one_of(st.integers(0, 4), st.none(), st.just("N")), max_size=4), count=st.integers(0, 30))
def test_filled_shapes_fit(shape: list[int | str | None], count: int) -> None:
    """Whatever is filled in has as many elements as were given and the signature's fixed sizes, or is refused."""
    body = orjson.dumps({"x": list(range(count))})
    try:
        array = decode_generate(body, _signature(*shape)).inputs["x"]
    except InvalidTensor:
        return
    assert array.reshape(-1).tolist() == list(range(count))
    if len(shape) != 1:
        assert math.prod(array.shape) == count
        assert all(have == size for have, size in zip(array.shape, shape, strict=True) if isinstance(size, int))


def test_fields() -> None:
    """Inputs may be among the parameters, parameters among the fields; nothing may be given twice."""
    signature = _signature("N")
    request = decode_generate(b'{"parameters": {"x": 1, "a": true}, "b": 2.5, "id": "i"}', signature)
    assert (request.inputs["x"].tolist(), request.parameters, request.id) == ([1], {"b": 2.5, "a": True}, "i")
    with pytest.raises(InvalidRequest, match="once"):
        decode_generate(b'{"parameters": {"a": 1}, "a": 2}', signature)


def test_answers() -> None:
    """One element is bare, more are nested, bytes that are no text are base64."""
    outputs = {
        "one": np.array([[1.5]], np.float32),
        "more": np.array([[1, 2]]),
        "text": np.array(["é".encode()], dtype=object),
        "texts": np.array([b"a", b"b"], dtype=object),
        "raw": np.array([b"\xff"], dtype=object),
    }
    answer = orjson.loads(encode_generate(InferenceResponse(model="m", version="1", outputs=outputs), _signature()))
    assert answer == {
        "model_name": "m",
        "model_version": "1",
        "one": 1.5,
        "more": [[1, 2]],
        "text": "é",
        "texts": ["a", "b"],
        "raw": {"b64": "/w=="},
    }


def test_one_answer() -> None:
    """None and two are refused."""
    response = InferenceResponse(model="m", version="1", outputs={})
    assert one_answer([response]) is response
    for answers in ([], [response, response]):
        with pytest.raises(FailedPrecondition, match="exactly 1 response"):
            one_answer(answers)
