"""Calls put together and taken apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidRequest, LoadFailed, ModelFailed
from graphmesh.core.signature import Signature, TensorSpec, parse_type
from graphmesh.worker.batching import Batching
from graphmesh.worker.batching.assemble import Assembler, check_batchable

if TYPE_CHECKING:
    from graphmesh.core.tensor import Tensor


def spec(name: str, kind: str) -> TensorSpec:
    """Return a tensor's specification in short."""
    datatype, shape, text = parse_type(kind)
    return TensorSpec(name=name, datatype=datatype, shape=shape, text=text)


def signature(inputs: dict[str, str], outputs: dict[str, str]) -> Signature:
    """Return a signature in short."""
    return Signature(
        tuple(spec(name, kind) for name, kind in inputs.items()),
        tuple(spec(name, kind) for name, kind in outputs.items()),
    )


PLAIN = signature({"x": "FP32 (N, 2)"}, {"y": "FP32 (N, 2)"})
RAGGED = signature({"ids": "INT64 (N, T)", "names": "BYTES (N, T)"}, {"out": "INT64 (N, T)", "sum": "INT64 (N,)"})


def rows(count: int, start: float = 0.0) -> dict[str, Tensor]:
    """Return a call of `PLAIN`."""
    return {"x": np.arange(start, start + count * 2, dtype=np.float32).reshape(count, 2)}


def tokens(count: int, length: int) -> dict[str, Tensor]:
    """Return a call of `RAGGED`."""
    names = np.full((count, length), b"n", dtype=object)
    return {"ids": np.arange(1, 1 + count * length, dtype=np.int64).reshape(count, length), "names": names}


def test_single_call_is_not_copied() -> None:
    """A call that is alone is handed over and back as it is."""
    one = Assembler(PLAIN, Batching())
    call, answer = rows(3), rows(3)
    assert one.join([call]) is call
    assert one.split(answer, [call]) == [answer]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_round_trip(counts: list[int]) -> None:
    """Every call gets its own rows back, in order, as views of the batch's output."""
    one = Assembler(PLAIN, Batching())
    calls = [rows(count, start=100.0 * i) for i, count in enumerate(counts)]
    joined = one.join(calls)
    assert joined["x"].shape == (sum(counts), 2)
    outputs = {"y": joined["x"] * 2}
    for call, answer in zip(calls, one.split(outputs, calls), strict=True):
        assert np.array_equal(answer["y"], call["x"] * 2)
        assert answer["y"].base is not None or len(calls) == 1


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8)), min_size=1, max_size=6))
def test_padded_round_trip(shapes: list[tuple[int, int]]) -> None:
    """Calls of one key are padded with zeros and empty bytes to an allowed size, and their outputs are cut back."""
    one = Assembler(RAGGED, Batching(pad={"T": (2, 4, 8)}))
    groups: dict[object, list[dict[str, Tensor]]] = {}
    for count, length in shapes:
        call = tokens(count, length)
        groups.setdefault(one.measure(call)[2], []).append(call)
    for calls in groups.values():
        joined = one.join(calls)
        size = joined["ids"].shape[1]
        assert size in {2, 4, 8}
        assert joined["names"].shape == joined["ids"].shape
        assert all(value in {b"n", b""} for value in joined["names"].reshape(-1))
        outputs = {"out": joined["ids"], "sum": joined["ids"].sum(axis=1)}
        for call, answer in zip(calls, one.split(outputs, calls), strict=True):
            assert np.array_equal(answer["out"], call["ids"])
            assert np.array_equal(answer["sum"], call["ids"].sum(axis=1))


def test_calls_share_a_batch_if_they_are_equal_after_padding() -> None:
    """The key is the padded shape without the rows."""
    one = Assembler(RAGGED, Batching(pad={"T": (4, 8)}))
    keys = [one.measure(tokens(count, length))[2] for count, length in ((1, 2), (3, 4), (1, 5))]
    assert keys[0] == keys[1] != keys[2]
    plain = Assembler(RAGGED, Batching())
    assert plain.measure(tokens(1, 2))[2] != plain.measure(tokens(1, 3))[2]


def test_cost_is_rows_or_elements_or_what_a_function_says() -> None:
    """Rows are the cost unless an input's elements (as padded) or a function are named."""
    call = tokens(3, 5)
    assert Assembler(RAGGED, Batching()).measure(call)[:2] == (3, 3.0)
    assert Assembler(RAGGED, Batching(cost="ids")).measure(call)[1] == 15.0
    assert Assembler(RAGGED, Batching(cost="ids", pad={"T": (8,)})).measure(call)[1] == 24.0
    assert Assembler(RAGGED, Batching(cost=lambda inputs: inputs["ids"].max())).measure(call)[1] == 15.0


@pytest.mark.parametrize("cost", [0.0, -5.0, float("nan"), float("inf")])
def test_senseless_costs_are_bounded(cost: float) -> None:
    """Whatever a cost function returns, it can be added up."""
    found = Assembler(PLAIN, Batching(cost=lambda _: cost)).measure(rows(1))[1]
    assert 0 < found < 1e20


def test_rows_that_differ_are_refused() -> None:
    """All inputs of a call have as many rows; the message names the two that differ."""
    both = signature({"a": "FP32 (N,)", "b": "FP32 (M,)"}, {"y": "FP32 (N,)"})
    one = Assembler(both, Batching())
    with pytest.raises(InvalidRequest, match=r"'a' has 2, 'b' has 3"):
        one.measure({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})


def test_no_rows_are_refused() -> None:
    """A call brings one row or more."""
    with pytest.raises(InvalidRequest, match="at least 1 row"):
        Assembler(PLAIN, Batching()).measure(rows(0))


def test_size_beyond_the_allowed_is_refused() -> None:
    """A dimension larger than the largest allowed size cannot be padded."""
    with pytest.raises(InvalidRequest, match="T must be at most 4, got 5"):
        Assembler(RAGGED, Batching(pad={"T": (2, 4)})).measure(tokens(1, 5))


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.float32), np.zeros((), np.float32)])
def test_outputs_must_have_the_batchs_rows(wrong: Tensor) -> None:
    """A model that gives another number of rows than it got has failed."""
    calls = [rows(1), rows(2)]
    with pytest.raises(ModelFailed, match="one row for each of the batch's 3"):
        Assembler(PLAIN, Batching()).split({"y": wrong}, calls)


@pytest.mark.parametrize(
    ("inputs", "outputs", "batching", "message"),
    [
        ({"x": "FP32 (1, 3)"}, {"y": "FP32 (N,)"}, Batching(), "'x' is FP32"),
        ({"x": "FP32 (N, 3)"}, {"y": "FP32 ()"}, Batching(), "'y' is FP32"),
        ({"x": "FP32 (N, N)"}, {"y": "FP32 (N,)"}, Batching(), "only its axis 0"),
        ({"x": "FP32 (N, T)"}, {"y": "FP32 (N,)"}, Batching(pad={"S": (1,)}), r"which are \['T'\]"),
        ({"x": "FP32 (N, T)"}, {"y": "FP32 (N,)"}, Batching(pad={"N": (1,)}), "beyond axis 0"),
        ({"x": "FP32 (N,)"}, {"y": "FP32 (N,)"}, Batching(cost="z"), "one of the inputs"),
        ({}, {"y": "FP32 (N,)"}, Batching(), "must have an input"),
    ],
)
def test_models_that_cannot_be_batched(
    inputs: dict[str, str], outputs: dict[str, str], batching: Batching, message: str
) -> None:
    """What cannot be batched as it was said is refused when the model is loaded, and the reason says what to change."""
    with pytest.raises(LoadFailed, match=message):
        check_batchable(signature(inputs, outputs), batching)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_batch_size": 0},
        *({"max_delay_ms": value} for value in (-1, math.nan, math.inf, 60_001)),
        *({"max_cost": value} for value in (-1, math.nan, math.inf)),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    """What is no number, endless or absurd is refused, with its name and the value."""
    (name, value), *_ = settings.items()
    with pytest.raises(InvalidRequest, match=f"{name} must be .*, got {value}"):
        Batching(**settings)
    Batching(max_delay_ms=60_000, max_cost=1e18)


def test_streaming_models_are_not_batched() -> None:
    """A model that streams cannot be batched."""
    streaming = Signature(PLAIN.inputs, PLAIN.outputs, streaming=True)
    with pytest.raises(LoadFailed, match="stream"):
        check_batchable(streaming, Batching())
    check_batchable(PLAIN, Batching())
    check_batchable(RAGGED, Batching(pad={"T": (1, 2)}, cost="ids"))
