"""OIP protobuf messages to requests and answers, and every lie that a message can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import Code, GraphmeshError, InvalidRequest, InvalidTensor, Unsupported
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.core.signature import TensorSpec
from graphmesh.core.tensor import BYTES, DTYPES
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.forms.wire import (
    decode_request,
    encode_request,
    encode_response,
    metadata_to_wire,
    request_from_wire,
    response_from_wire,
)

if TYPE_CHECKING:
    from graphmesh.core.tensor import Tensor

NUMBERS = sorted(set(DTYPES) - {BYTES})


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Return an array of any datatype and a small shape."""
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = int(np.prod(shape))
    datatype = draw(st.sampled_from(sorted(DTYPES)))
    if datatype == BYTES:
        array = np.empty(count, dtype=object)
        array[:] = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
        return array.reshape(shape)
    dtype = DTYPES[datatype]
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    if datatype == "BOOL":
        raw = bytes(byte & 1 for byte in raw)
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


def _same(one: Tensor, two: Tensor) -> bool:
    return (
        one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
        if (one.dtype != object)
        else one.tolist() == two.tolist() and one.shape == two.shape
    )


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), tensors()), st.text(max_size=5))
def test_requests_round_trip(inputs: dict[str, Tensor], request_id: str) -> None:
    """A request that is encoded and decoded is the same: names, order, datatypes, shapes, bytes."""
    parameters: dict[str, bool | int | float | str] = {"explain": True, "n": -3, "f": 0.5, "s": "x"}
    request = InferenceRequest(
        model="m", version="3", inputs=inputs, id=request_id, parameters=parameters, outputs=("y",)
    )
    back = decode_request(encode_request(request))
    assert (back.model, back.version, back.id, back.outputs) == ("m", "3", request_id, ("y",))
    assert back.parameters == parameters
    assert list(back.inputs) == list(inputs)
    assert all(_same(back.inputs[name], inputs[name]) for name in inputs)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), tensors()))
def test_responses_round_trip(outputs: dict[str, Tensor]) -> None:
    """An answer that is encoded and decoded is the same."""
    response = InferenceResponse(model="m", version="1", outputs=outputs, id="i", parameters={"explain": "{}"})
    back = response_from_wire(encode_response(response))
    assert (back.model, back.version, back.id, back.parameters) == ("m", "1", "i", {"explain": "{}"})
    assert all(_same(back.outputs[name], outputs[name]) for name in outputs)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_invalid(data: bytes) -> None:
    """Random bytes are refused as INVALID_ARGUMENT or UNIMPLEMENTED, never anything else."""
    try:
        decode_request(data)
    except GraphmeshError as error:
        assert error.code in {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED}  # noqa: PT017


@given(st.data())
def test_any_message_is_a_request_or_invalid(data: st.DataObject) -> None:
    """Well-formed messages with any content in any field are refused in the same way."""
    integers = st.integers(-(2**31), 2**31 - 1)
    message = pb.ModelInferRequest(model_name="m")
    for _ in range(data.draw(st.integers(0, 2))):
        tensor = message.inputs.add(
            name=data.draw(st.sampled_from(["x", ""])),
            datatype=data.draw(st.sampled_from([*DTYPES, "FP8"])),
            shape=data.draw(st.lists(st.sampled_from([-1, 0, 1, 2, 2**62]), max_size=3)),
        )
        if data.draw(st.booleans()):
            tensor.contents.int_contents.extend(data.draw(st.lists(integers, max_size=3)))
            tensor.contents.fp32_contents.extend(data.draw(st.lists(st.floats(width=32), max_size=3)))
            tensor.contents.bytes_contents.extend(data.draw(st.lists(st.binary(max_size=2), max_size=3)))
    message.raw_input_contents.extend(data.draw(st.lists(st.binary(max_size=12), max_size=2)))
    try:
        request_from_wire(message)
    except GraphmeshError as error:
        assert error.code in {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED}  # noqa: PT017


def _message(**contents: Any) -> pb.ModelInferRequest:  # noqa: ANN401
    tensor = {"name": "x", "datatype": "FP32", "shape": [2]}
    raw = contents.pop("raw", None)
    tensor.update({key: contents.pop(key) for key in ("datatype", "shape") if key in contents})
    message = pb.ModelInferRequest(model_name="m")
    added = message.inputs.add(**tensor)
    for field, values in contents.items():
        getattr(added.contents, field).extend(values)
    if raw is not None:
        message.raw_input_contents.extend(raw)
    return message


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT32", "int_contents", [-1, 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [0.5, -1]),
        ("FP64", "fp64_contents", [0.1, 1e300]),
        ("BYTES", "bytes_contents", [b"", b"\xff"]),
    ],
)
def test_typed_contents(datatype: str, field: str, values: list[object]) -> None:
    """Typed contents become tensors of the declared datatype."""
    array = request_from_wire(_message(datatype=datatype, **{field: values})).inputs["x"]
    assert array.dtype == DTYPES[datatype]
    assert array.tolist() == values


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (_message(raw=[b"1234"]), "'x': FP32 of shape [2] takes 8 bytes, got 4"),
        (_message(raw=[]), "inputs[0].contents.fp32_contents: shape [2] takes 2 elements, got 0"),
        (_message(raw=[b"", b""]), "raw_input_contents must have one entry for each of 1 inputs, got 2"),
        (_message(raw=[b"12345678"], fp32_contents=[1, 2]), "inputs[0].contents must be empty"),
        (_message(shape=[-1], raw=[b""]), "must not be negative"),
        (_message(shape=[2**40, 2**40], raw=[b"12345678"]), "takes 4835703278458516698824704 bytes"),
        (_message(shape=[0, 2**62], raw=[b""]), "dimensions are too large"),
        (_message(shape=[2**40, 2**40], fp32_contents=[1.0]), "takes 1208925819614629174706176 elements"),
        (_message(shape=[1] * 33, raw=[b"1234"]), "at most 32 dimensions"),
        (_message(datatype="FP99", raw=[b"12345678"]), "datatype must be one of"),
        (_message(datatype="FP16", fp32_contents=[1, 2]), "inputs[0].datatype FP16 has no typed contents"),
        (_message(int_contents=[1, 2]), "FP32 elements belong into fp32_contents, got int_contents"),
        (_message(datatype="INT8", int_contents=[1, 300]), "INT8 elements must be from -128 to 127"),
        (_message(datatype="BYTES", shape=[1], raw=[b"\xff\xff\xff\xff1"]), "goes past the end"),
        (_message(datatype="BYTES", shape=[2**30], raw=[b"1234"]), "take at least"),
    ],
)
def test_lies_are_named(message: pb.ModelInferRequest, said: str) -> None:
    """Each contradiction is INVALID_ARGUMENT and names the field or tensor."""
    with pytest.raises(InvalidRequest) as caught:
        request_from_wire(message)
    assert said in caught.value.message


def test_names_must_be_unique() -> None:
    """Two inputs of one name are refused."""
    message = _message(raw=[b"12345678", b"12345678"])
    message.inputs.add(name="x", datatype="FP32", shape=[2])
    with pytest.raises(InvalidRequest, match="names must be unique"):
        request_from_wire(message)


def test_what_is_not_offered_is_said() -> None:
    """Shared memory, classification and sequences are UNIMPLEMENTED rather than ignored."""
    region = _message(raw=[b"12345678"])
    region.inputs[0].parameters["shared_memory_region"].string_param = "r"
    classes = _message(raw=[b"12345678"])
    classes.outputs.add(name="y").parameters["classification"].int64_param = 3
    sequence = _message(raw=[b"12345678"])
    sequence.parameters["sequence_id"].int64_param = 7
    for message in (region, classes, sequence):
        with pytest.raises(Unsupported):
            request_from_wire(message)


def test_parameter_without_value() -> None:
    """A parameter that holds nothing is refused."""
    message = _message(raw=[b"12345678"])
    message.parameters["p"].SetInParent()
    with pytest.raises(InvalidRequest, match="must have a value"):
        request_from_wire(message)


def test_raw_tensors_are_not_copied_again() -> None:
    """Raw tensors of fixed size are read-only views of the message's bytes."""
    array = request_from_wire(_message(raw=[b"12345678"])).inputs["x"]
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_metadata() -> None:
    """Named and open dimensions are -1 in metadata."""
    message = metadata_to_wire(TensorSpec(name="x", datatype="FP32", shape=("N", None, 3)))
    assert (message.name, message.datatype, list(message.shape)) == ("x", "FP32", [-1, -1, 3])


def test_answer_that_lies() -> None:
    """An answer from elsewhere is checked like a request."""
    message = pb.ModelInferResponse()
    message.outputs.add(name="y", datatype="FP32", shape=[2])
    with pytest.raises(InvalidRequest, match="one entry for each output"):
        response_from_wire(message.SerializeToString())
    message.raw_output_contents.append(b"1")
    with pytest.raises(InvalidTensor):
        response_from_wire(message.SerializeToString())


def test_inputs_are_read_only() -> None:
    """Typed and raw, numbers and bytes: a model that writes into its inputs fails in every form."""
    typed = pb.ModelInferRequest(model_name="m")
    typed.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(1)
    typed.inputs.add(name="y", datatype=BYTES, shape=[1]).contents.bytes_contents.append(b"a")
    raw = InferenceRequest(model="m", inputs=dict(request_from_wire(typed).inputs))
    for request in (request_from_wire(typed), decode_request(encode_request(raw))):
        assert [array.flags.writeable for array in request.inputs.values()] == [False, False]
