"""Natural JSON and the protocol's JSON: values to tensors and back, and everything malformed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import Code, GraphmeshError, InvalidRequest, InvalidTensor, Unsupported
from graphmesh.core.inference import InferenceResponse
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.core.tensor import BYTES, DTYPES
from graphmesh.worker.forms import natural, oip_json
from graphmesh.worker.forms.text_properties import text_from_properties, text_properties

if TYPE_CHECKING:
    from graphmesh.core.tensor import Tensor


def _signature(*inputs: tuple[str, str, int]) -> Signature:
    """Return a signature with inputs of (name, datatype or TEXT, rank)."""
    specs = tuple(
        TensorSpec(name=name, datatype=BYTES if kind == "TEXT" else kind, shape=(None,) * rank, text=kind == "TEXT")
        for name, kind, rank in inputs
    )
    return Signature(specs, specs)


def _natural(body: object, kind: str = "FP32") -> Tensor:
    return natural.decode_inputs(orjson.dumps(body), _signature(("x", kind, 1)))["x"]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ([[1, 2], [3, 4]], "FP32", np.array([[1, 2], [3, 4]], dtype=np.float32)),
        ([1, 2.5], "FP64", np.array([1, 2.5])),
        ([0.5], "FP16", np.array([0.5], dtype=np.float16)),
        ([0.5, 3], "BF16", np.array([0.5, 3], dtype=DTYPES["BF16"])),
        (3, "INT64", np.array(3)),
        ([True], "BOOL", np.array([True])),
        ([255], "UINT8", np.array([255], dtype=np.uint8)),
        ([18446744073709551615], "UINT64", np.array([2**64 - 1], dtype=np.uint64)),
        ([], "FP32", np.zeros(0, dtype=np.float32)),
        ([[], []], "FP32", np.zeros((2, 0), dtype=np.float32)),
    ],
)
def test_natural_numbers(value: object, kind: str, expected: Tensor) -> None:
    """Nested lists become arrays of the declared datatype, a bare value a scalar."""
    array = _natural({"x": value}, kind)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("kind", ["FP16", "BF16", "FP32", "FP64"])
def test_null_is_nan(kind: str) -> None:
    """Where fractions are taken null stands for NaN, as it does in answers; OIP's JSON has no such thing."""
    array = _natural({"x": [[1, None], [None, 2.5]]}, kind).astype(np.float64)
    np.testing.assert_array_equal(array, [[1, np.nan], [np.nan, 2.5]])
    assert np.isnan(_natural({"x": None}, kind).astype(np.float64))
    if not kind.endswith("16"):  # those have no OIP JSON at all
        body = {"inputs": [{"name": "x", "datatype": kind, "shape": [1], "data": [None]}]}
        with pytest.raises(InvalidTensor, match="must be numbers, got null"):
            oip_json.decode_infer(orjson.dumps(body), None)


@pytest.mark.parametrize(("value", "kind"), [([1, 2], "FP32"), ([[1]], "INT64"), ("a", "TEXT"), (True, "BOOL")])
def test_inputs_are_read_only(value: object, kind: str) -> None:
    """A model that writes into its inputs fails by JSON as it does by raw bytes."""
    assert not _natural({"x": value}, kind).flags.writeable
    if kind == "FP32":
        body = {"inputs": [{"name": "x", "datatype": kind, "shape": [1, 2], "data": value}]}
        assert not oip_json.decode_infer(orjson.dumps(body), None)[0].inputs["x"].flags.writeable


def test_what_json_lacks_is_null() -> None:
    """Infinity as well as NaN."""
    response = InferenceResponse(model="m", version="1", outputs={"y": np.array([np.inf, -np.inf, np.nan, 1.0])})
    assert orjson.loads(natural.encode_answer(response, _signature(("y", "FP64", 1))))["outputs"]["y"] == [
        None,
        None,
        None,
        1.0,
    ]


def test_a_body_that_is_no_json_says_where() -> None:
    """By line and column, as editors count them."""
    with pytest.raises(InvalidRequest, match=r"must be a JSON object: .* at line 2 column 7$"):
        natural.load_object(b'{"a": 1,\n "b": }')


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_natural_answers_of_half_precision(datatype: str) -> None:
    """Half precision is written as numbers, as arrays and as scalars; what JSON lacks is null."""
    values = {"y": np.array([1.5, np.nan], DTYPES[datatype]), "z": np.array(2, DTYPES[datatype])}
    response = InferenceResponse(model="m", version="1", outputs=values)
    signature = _signature(("y", datatype, 1), ("z", datatype, 0))
    assert orjson.loads(natural.encode_answer(response, signature))["outputs"] == {"y": [1.5, None], "z": 2.0}


def test_natural_text_and_bytes() -> None:
    """A string is UTF-8 text; an object with b64 is bytes."""
    assert _natural({"x": ["né", {"b64": "/w=="}]}, "BYTES").tolist() == ["né".encode(), b"\xff"]
    assert _natural({"x": "a"}, "TEXT").item() == b"a"


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ([1, "2"], "FP32", "elements must be numbers, got a string"),
        ([True], "FP32", "elements must be numbers, got a boolean"),
        ([None], "INT32", "elements must be whole numbers, got null"),
        ([None], "BOOL", "elements must be true or false, got null"),
        ([None], "TEXT", "got null"),
        ([[None], None], "FP32", "lists at level 1 must have equal lengths"),
        ([1.5], "INT32", "elements must be whole numbers, got a fraction"),
        ([True], "INT32", "elements must be whole numbers, got a boolean"),
        ([1], "BOOL", "elements must be true or false, got a number"),
        ([300], "UINT8", "elements must be from 0 to 255"),
        ([-1], "UINT64", "elements must be from 0"),
        ([1e39], "FP32", "elements must be within its range"),
        ([1e39], "BF16", "elements must be within its range"),
        (["1"], "BF16", "elements must be numbers, got a string"),
        ([[1], [2, 3]], "FP32", "lists at level 1 must have equal lengths"),
        ([[1], 2], "FP32", "lists at level 1 must have equal lengths"),
        ([1, [2]], "FP32", "elements must be numbers, got a list"),
        ([{"b64": "?"}], "BYTES", "b64 must be base64"),
        ([{"b65": "aa"}], "BYTES", 'must be {"b64": "..."}'),
        ([1], "TEXT", 'elements must be strings or {"b64": "..."}, got a number'),
    ],
)
def test_natural_values_are_not_coerced(value: object, kind: str, said: str) -> None:
    """A value of another type, out of range or ragged is INVALID_ARGUMENT and names the input."""
    with pytest.raises(InvalidTensor) as caught:
        _natural({"x": value}, kind)
    assert said in caught.value.message
    assert "'x'" in caught.value.message


MALFORMED = [
    b"",
    b"{",
    b"[1]",
    b"null",
    b'"text"',
    b'{"x": 1e999',
    b'{"x": NaN}',
    b"\xff",
    b'{"x": "\\ud800"}',
    b"\xef\xbb\xbf{}",
    b"[" * 10_000,
    b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b'{"a":' * 10_000,
]


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_json(body: bytes) -> None:
    """What is not a JSON object, or is nested too deep, is INVALID_ARGUMENT."""
    with pytest.raises(InvalidRequest):
        natural.decode_inputs(body, _signature(("x", "FP32", 1)))
    with pytest.raises(InvalidRequest):
        oip_json.decode_infer(body or b"[]", None)


def test_nesting_beyond_any_tensor() -> None:
    """JSON that parses but is nested deeper than tensors can be is refused."""
    with pytest.raises(InvalidTensor, match="at most 32 dimensions"):
        natural.decode_inputs(b'{"x":' + b"[" * 40 + b"]" * 40 + b"}", _signature(("x", "FP32", 1)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b64", "k"]), inner, max_size=2),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["x", "y"]), VALUES), st.sampled_from([*DTYPES, "TEXT"]))
def test_any_natural_body(body: dict[str, object], kind: str) -> None:
    """Whatever JSON comes, the answer is tensors or INVALID_ARGUMENT."""
    try:
        natural.decode_inputs(orjson.dumps(body), _signature(("x", kind, 1)))
    except GraphmeshError as error:
        assert error.code is Code.INVALID_ARGUMENT  # noqa: PT017


@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "parameters", "id", "x"]), VALUES))
def test_any_oip_body(body: dict[str, object]) -> None:
    """Whatever JSON comes, the answer is a request or a client's error."""
    try:
        oip_json.decode_infer(orjson.dumps(body), None)
    except GraphmeshError as error:
        assert error.code in {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED}  # noqa: PT017


TENSOR = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y", 3]), "datatype": st.sampled_from([*DTYPES, "FP8", 1])},
    optional={
        "shape": VALUES | st.lists(st.integers(-1, 3), max_size=3),
        "data": VALUES,
        "parameters": VALUES | st.fixed_dictionaries({"binary_data_size": VALUES}),
    },
)


@given(st.lists(TENSOR, max_size=2), st.binary(max_size=8), st.none() | st.sampled_from(["x", "-1", "5", "99999"]))
def test_any_oip_tensor(inputs: list[object], tail: bytes, length: str | None) -> None:
    """Whatever tensors and binary tails come, the answer is a request or a client's error."""
    head = orjson.dumps({"inputs": inputs})
    try:
        oip_json.decode_infer(head + tail, str(len(head)) if length == "x" else length)
    except GraphmeshError as error:
        assert error.code in {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED}  # noqa: PT017


def _answer(**outputs: Tensor) -> InferenceResponse:
    return InferenceResponse(model="m", version="1", outputs=outputs, id="i")


def test_natural_answer() -> None:
    """Answers are nested lists; text is strings, bytes are b64, NaN is null."""
    signature = _signature(("t", "TEXT", 1), ("b", "BYTES", 1), ("f", "FP32", 2), ("s", "INT64", 0))
    response = _answer(
        t=np.array([b"a"], dtype=object),
        b=np.array([b"\xff"], dtype=object),
        f=np.array([[1, np.nan]], dtype=np.float32).T,
        s=np.array(3),
    )
    response.parameters = {"explain": '{"worker":"w"}'}
    assert orjson.loads(natural.encode_answer(response, signature)) == {
        "model": "m",
        "version": "1",
        "id": "i",
        "outputs": {"t": ["a"], "b": [{"b64": "/w=="}], "f": [[1.0], [None]], "s": 3},
        "explain": {"worker": "w"},
    }


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2)))
def test_natural_round_trip(value: list[list[float]]) -> None:
    """Numbers that go in as natural JSON come out the same."""
    array = natural.decode_inputs(orjson.dumps({"x": value}), _signature(("x", "FP32", 2)))["x"]
    answer = natural.encode_answer(_answer(x=array), _signature(("x", "FP32", 2)))
    assert np.array(orjson.loads(answer)["outputs"]["x"], dtype=np.float32).tolist() == value


def _oip(*tensors: dict[str, object], **more: object) -> bytes:
    return orjson.dumps({"inputs": list(tensors), **more})


def _x(**more: object) -> dict[str, object]:
    return {"name": "x", "datatype": "FP32", "shape": [2], **more}


def test_oip_data_may_be_nested_or_flat() -> None:
    """The protocol takes data nested by rows or flat."""
    for data in ([[1, 2]], [1, 2]):
        request, _ = oip_json.decode_infer(_oip(_x(shape=[1, 2], data=data)), None)
        assert request.inputs["x"].tolist() == [[1.0, 2.0]]


def test_oip_binary() -> None:
    """Binary tensors follow the JSON in their order, and may stand beside JSON ones."""
    head = _oip(
        _x(parameters={"binary_data_size": 8}),
        {"name": "t", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}},
        {"name": "j", "datatype": "INT64", "shape": [1], "data": [7]},
        id="i",
        outputs=[{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}],
    )
    tail = np.array([1, 2], dtype=np.float32).tobytes() + b"\x01\x00\x00\x00z"
    request, wanted = oip_json.decode_infer(head + tail, str(len(head)))
    assert {name: array.tolist() for name, array in request.inputs.items()} == {"x": [1, 2], "t": [b"z"], "j": [7]}
    assert (request.id, request.outputs) == ("i", ("a", "b"))
    answer = oip_json.encode_infer(_answer(a=np.array([1], dtype=np.int8), b=np.array([2])), wanted)
    assert answer.header_length is not None
    body = orjson.loads(answer.body[: answer.header_length])
    assert body["outputs"][0]["parameters"] == {"binary_data_size": 1}
    assert body["outputs"][1]["data"] == [2]
    assert answer.body[answer.header_length :] == b"\x01"


def test_oip_binary_by_default() -> None:
    """`binary_data_output` asks for all outputs as raw bytes, and is no parameter of the model."""
    request, wanted = oip_json.decode_infer(_oip(_x(data=[1, 2]), parameters={"binary_data_output": True}), None)
    assert not request.parameters
    assert oip_json.encode_infer(_answer(y=np.zeros(2)), wanted).body.endswith(bytes(16))


@pytest.mark.parametrize(
    ("body", "length", "said"),
    [
        (_oip(_x()), None, "inputs[0].data is missing"),
        (_oip(_x(data=[1])), None, "inputs[0].data: shape [2] takes 2 elements"),
        (_oip(_x(data=[1, "2"])), None, "got a string"),
        (_oip(_x(shape=[-1], data=[1])), None, "must not be negative"),
        (_oip(_x(shape="2", data=[1])), None, "inputs[0].shape must be a list"),
        (_oip(_x(datatype="FP99", data=[1])), None, "datatype must be one of"),
        (_oip(_x(datatype="FP16", data=[1, 2])), None, "FP16 has no JSON form"),
        (_oip(_x(datatype="BF16", data=[1, 2])), None, "BF16 has no JSON form"),
        (_oip(_x(parameters={"binary_data_size": 8})), None, "binary_data_size must be from 0 to 0, got 8"),
        (_oip(_x(data=[1, 2], parameters={"binary_data_size": 0})), None, "either data or binary_data_size"),
        (_oip(_x(data=[1, 2])) + b"1", str(len(_oip(_x(data=[1, 2])))), "1 bytes are left over"),
        (_oip(_x(data=[1, 2])), "9999", "Inference-Header-Content-Length must be from 0"),
        (_oip(_x(data=[1, 2])), "1e3", "Inference-Header-Content-Length must be from 0"),
        (_oip(_x(data=[1, 2]), _x(data=[1, 2])), None, "inputs[1].name must be unique"),
        (_oip({"datatype": "FP32"}), None, "inputs[0].name must be a string"),
        (b'{"inputs": 3}', None, "inputs must be a list of objects"),
        (_oip(_x(data=[1, 2]), id=3), None, "id must be a string"),
        (_oip(_x(data=[1, 2]), parameters=[1]), None, "parameters must be an object"),
    ],
)
def test_oip_lies_are_named(body: bytes, length: str | None, said: str) -> None:
    """Each contradiction is INVALID_ARGUMENT and names the field."""
    with pytest.raises(InvalidRequest) as caught:
        oip_json.decode_infer(body, length)
    assert said in caught.value.message


def test_oip_not_offered() -> None:
    """Shared memory, classification and sequences are UNIMPLEMENTED rather than ignored."""
    for body in (
        _oip(_x(parameters={"shared_memory_region": "r"})),
        _oip(_x(data=[1, 2]), outputs=[{"name": "y", "parameters": {"classification": 3}}]),
        _oip(_x(data=[1, 2]), parameters={"sequence_id": 3}),
    ):
        with pytest.raises(Unsupported):
            oip_json.decode_infer(body, None)


def test_oip_outputs_without_a_json_form() -> None:
    """FP16, BF16 and bytes that are not text must be asked for as binary data."""
    for array in (np.zeros(1, dtype=np.float16), np.zeros(1, dtype=DTYPES["BF16"]), np.array([b"\xff"], dtype=object)):
        with pytest.raises(InvalidRequest, match="ask for binary_data"):
            oip_json.encode_infer(_answer(y=array), oip_json.Wanted())
        assert oip_json.encode_infer(_answer(y=array), oip_json.Wanted(binary=True)).header_length


def test_oip_metadata() -> None:
    """Metadata lists inputs and outputs, open dimensions as -1."""
    facts = orjson.loads(oip_json.metadata_json("m", ("2", "1"), "onnx", _signature(("x", "FP32", 1))))
    assert facts == {
        "name": "m",
        "versions": ["2", "1"],
        "platform": "onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
        "outputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    }


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize(
    ("datatype", "value", "text"),
    [
        ("FP32", 0.1, b"0.1"),
        ("FP32", 16777217, b"16777216.0"),
        ("FP64", 0.1, b"0.1"),
        ("FP16", 0.1, b"0.1"),
        ("FP16", 65504, b"65500.0"),
        ("BF16", 0.1, b"0.1"),
        ("BF16", 3.3895e38, b"3.39e+38"),
        ("INT8", -128, b"-128"),
        ("BOOL", 1, b"true"),
        ("FP32", np.nan, b"null"),
        ("FP16", np.inf, b"null"),
        ("BF16", np.nan, b"null"),
        ("FP16", -0.0, b"-0.0"),
    ],
)
def test_numbers_are_as_short_as_their_datatype_allows(
    shape: tuple[int, ...], datatype: str, value: float, text: bytes
) -> None:
    """The shortest decimal is written, not that of the same number as FP64; of scalars, too."""
    array = np.array(value).astype(DTYPES[datatype]).reshape(shape)
    body = natural.encode_answer(_answer(y=array), _signature(("y", datatype, len(shape))))
    expected = b"[" * len(shape) + text + b"]" * len(shape)
    assert body.endswith(b'"outputs":{"y":%b}}' % expected)


def _digits(text: str) -> int:
    """Return how many digits of a number's text count."""
    return len(text.strip("[]-").partition("e")[0].replace(".", "").strip("0"))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_every_number_of_16_bits_reads_back_as_itself(datatype: str) -> None:
    """All of them, and none takes more digits than as single precision; of FP16, none more than numpy prints."""
    every = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[datatype])
    every = every[(every.view(np.uint16) << 1) < (np.array(np.inf).astype(DTYPES[datatype]).view(np.uint16) << 1)]
    text = orjson.dumps(natural.to_json(every, text=False), option=orjson.OPT_SERIALIZE_NUMPY)
    assert np.array_equal(np.array(orjson.loads(text)).astype(every.dtype).view(np.uint16), every.view(np.uint16))
    single = orjson.dumps(every.astype(np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
    others = [single.decode(), ",".join(map(str, every))]
    for other in others:
        pairs = zip(text.decode().split(","), other.split(","), strict=True)
        assert [(mine, its) for mine, its in pairs if _digits(mine) > _digits(its)] == []


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_fp32_reads_back_as_itself(bits: int) -> None:
    """In the protocol's JSON and in natural JSON, whatever the number."""
    number = np.array(bits, dtype=np.uint32).view(np.float32)
    if not np.isfinite(number):
        return
    texts = [
        orjson.loads(natural.encode_answer(_answer(y=number), _signature(("y", "FP32", 0))))["outputs"]["y"],
        orjson.loads(oip_json.encode_infer(_answer(y=number), oip_json.Wanted()).body)["outputs"][0]["data"][0],
    ]
    assert [np.array(text).astype(np.float32).view(np.uint32) for text in texts] == [bits, bits]


def test_metadata_says_what_is_text() -> None:
    """Its properties do, which OIP's datatypes cannot; names that are no such tensor's are passed over."""
    bare = TensorSpec(name="t", datatype=BYTES)
    signature = Signature((_signature(("t", "TEXT", 0)).inputs[0], TensorSpec(name="b", datatype=BYTES)), (bare,))
    facts = orjson.loads(oip_json.metadata_json("m", ("1",), "python", signature))
    assert facts["properties"] == {"graphmesh.text_inputs": "t"} == text_properties(signature)
    unmarked = Signature((bare, TensorSpec(name="b", datatype=BYTES)), (bare,))
    assert text_from_properties(unmarked, facts["properties"]) == signature
    odd = {"graphmesh.text_inputs": "nobody,x", "graphmesh.text_outputs": 3}
    assert text_from_properties(_signature(("x", "FP32", 0)), odd) == _signature(("x", "FP32", 0))
