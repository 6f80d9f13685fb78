"""Messages to other servers and back: what one side writes, the other reads as it was."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphmesh.core.errors import InvalidRequest, InvalidTensor
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.core.tensor import RAW_ONLY, Tensor, datatype_of
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.forms.oip_call import decode_answer, encode_call
from graphmesh.worker.forms.oip_json import Wanted, decode_infer, encode_infer
from graphmesh.worker.forms.wire import response_from_message

NUMBERS = ("bool", "u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Draw an array of any datatype but BF16, which numpy's strategies do not know."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    if draw(st.booleans()):
        texts = draw(st.lists(st.text(max_size=5), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        array = np.empty(len(texts), dtype=object)
        array[:] = [text.encode() for text in texts]
        return array.reshape(shape)
    dtype = np.dtype(draw(st.sampled_from(NUMBERS)))
    return draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)))


@given(array=tensors(), binary=st.booleans(), text=st.text(max_size=5))
def test_requests_round_trip(array: Tensor, binary: bool, text: str) -> None:  # noqa: FBT001 - drawn
    """What is asked of another server is what a worker reads."""
    request = InferenceRequest(model="m", inputs={"x": array}, id=text, parameters={"k": 1})
    if datatype_of(array) in RAW_ONLY and not binary:
        with pytest.raises(InvalidRequest, match="no JSON form"):
            encode_call(request, binary)
        return
    call = encode_call(request, binary)
    found, wanted = decode_infer(call.body, None if call.header_length is None else str(call.header_length))
    assert found.inputs["x"].dtype == array.dtype
    assert np.array_equal(found.inputs["x"], array)
    assert (found.id, found.parameters, wanted.binary) == (text, {"k": 1}, binary)


@given(array=tensors(), binary=st.booleans())
def test_answers_round_trip(array: Tensor, binary: bool) -> None:  # noqa: FBT001 - drawn
    """What a worker answers is what is read of another server's answer."""
    response = InferenceResponse(model="m", version="3", outputs={"y": array}, parameters={"k": True})
    binary = binary or datatype_of(array) in RAW_ONLY
    body = encode_infer(response, Wanted(binary=binary))
    found = decode_answer(body.body, None if body.header_length is None else str(body.header_length))
    assert np.array_equal(found.outputs["y"], array)
    assert (found.model, found.version, found.parameters) == ("m", "3", {"k": True})


@given(body=st.binary(max_size=60), length=st.none() | st.text("0123456789-x", max_size=3))
def test_any_bytes_are_an_answer_or_invalid(body: bytes, length: str | None) -> None:
    """Whatever another server sends is read, or refused as malformed."""
    try:
        decode_answer(body, length)
    except InvalidRequest:
        return
    assert isinstance(orjson.loads(body[: len(body) if length is None else int(length)]), dict)


def test_typed_answers() -> None:
    """Typed contents of an answer are read like those of a request, and lies are named."""
    message = pb.ModelInferResponse()
    message.outputs.add(name="y", datatype="INT8", shape=[2]).contents.int_contents.extend([1, -1])
    message.outputs.add(name="z", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"b")
    found = response_from_message(message).outputs
    assert (found["y"].tolist(), found["y"].dtype, found["z"].tolist()) == ([1, -1], np.int8, [b"b"])
    message.outputs[0].contents.int_contents.append(3)
    with pytest.raises(InvalidTensor, match=r"outputs\[0\].contents.int_contents: shape \[2\] takes 2 elements, got 3"):
        response_from_message(message)
