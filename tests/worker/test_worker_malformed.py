"""Bytes that are no message: refused in bounded time and memory, whatever they are."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import Code, GraphmeshError
from graphmesh.core.oip import RPCS
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.worker.forms.oip_json import decode_infer
from graphmesh.worker.forms.wire import decode_request, parse
from tests.contract.lies import LIES, Lie

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSALS = {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED}
TAGS = st.integers(0, 255).map(lambda byte: bytes([byte]))


@contextlib.contextmanager
def blaming_the_caller() -> Iterator[None]:
    """Run what may refuse its input, and check that a refusal blames the caller."""
    code = Code.INVALID_ARGUMENT
    try:
        yield
    except GraphmeshError as error:
        code = error.code
    assert code in _REFUSALS


@given(st.one_of(st.binary(max_size=400), st.lists(TAGS, max_size=60).map(b"".join)))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    """Whatever bytes come, they are a request or an error that blames the caller."""
    with blaming_the_caller():
        decode_request(data)


@given(st.sampled_from(sorted(RPCS)), st.binary(max_size=200))
def test_any_bytes_at_the_other_methods(rpc: str, data: bytes) -> None:
    """The other methods' messages parse, or are INVALID_ARGUMENT."""
    with blaming_the_caller():
        parse(RPCS[rpc][0], data)


@given(st.binary(max_size=300), st.one_of(st.none(), st.text(max_size=4)))
def test_any_body_is_a_request_or_refused(body: bytes, length: str | None) -> None:
    """The same of the protocol's JSON, with any header."""
    with blaming_the_caller():
        decode_infer(body, length)


def _valid() -> bytes:
    message = pb.ModelInferRequest(model_name="add", raw_input_contents=[bytes(80)])
    message.inputs.add(name="x", datatype="FP32", shape=[20])
    message.parameters["p"].string_param = "value"
    data: bytes = message.SerializeToString()
    return data


@given(st.data())
def test_any_damage_to_a_request(data: st.DataObject) -> None:
    """A request that was cut short, or had bytes changed, is a request or refused."""
    good = bytearray(_valid())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with blaming_the_caller():
        decode_request(bytes(good[: data.draw(st.integers(0, len(good)))]))


@pytest.mark.parametrize(
    "data",
    [
        b"\x0b" * 10_000,  # groups in groups
        b"\x2a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x0a" + b"\xff" * 1000,
        b"\x3a\x00" * 5_000,  # many raw tensors, no input
        b"\x2a\x00" * 5_000,  # many inputs without a name
        b"\x22\x00" * 5_000,  # many parameters without a name
    ],
)
def test_malice_is_cheap(data: bytes) -> None:
    """Deep nesting, long lengths and thousands of empty fields are refused within milliseconds and little memory."""
    decode_attempt(data)
    tracemalloc.start()
    try:
        begun = time.perf_counter()
        decode_attempt(data)
        seconds, peak = time.perf_counter() - begun, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 0.1
    assert peak < 100 * len(data) + 8192


def decode_attempt(data: bytes) -> None:
    """Decode what must be refused."""
    with pytest.raises(GraphmeshError) as caught:
        decode_request(data)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("lie", LIES, ids=[lie.name for lie in LIES])
def test_lies_allocate_nothing(lie: Lie) -> None:
    """A tensor that claims more than it brings costs no memory: the claim is checked first."""
    for message in lie.protobufs():
        data = message.SerializeToString()
        decode_attempt(data)
        tracemalloc.start()
        try:
            decode_attempt(data)
            assert tracemalloc.get_traced_memory()[1] < 64 * 1024
        finally:
            tracemalloc.stop()
