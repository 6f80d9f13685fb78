"""Items become calls, and answers one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidRequest, ModelFailed, ModelNotReady, Overloaded, SignatureMismatch
from graphmesh.graph.expand import Expansion
from graphmesh.graph.limits import MAX_CALLS
from graphmesh.graph.plan import make_plan
from graphmesh.graph.yaml_form import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]


def _expansion(
    inputs: Mapping[str, Tensor],
    *,
    over: str = "[x]",
    batch_size: int = 0,
    max_concurrency: int = 0,
    signatures: Callable[[str], Signature | None] = lambda _: None,
) -> Expansion:
    names = ", ".join(f"{name}: {name}" for name in inputs)
    settings = f"{{model: m, over: {over}, batch_size: {batch_size}, max_concurrency: {max_concurrency}}}"
    node = f"{{map: {settings}, inputs: {{{names}}}}}"
    graph = parse_yaml(f"{{name: g, inputs: [{', '.join(inputs)}], nodes: {{n: {node}}}, outputs: {{y: n.y}}}}")
    step = make_plan(graph, signatures).steps[0]
    assert step.map is not None
    return Expansion(step, step.map, inputs, budget=MAX_CALLS)


def test_items_are_views_and_other_inputs_pass_through() -> None:
    """An item is a view without axis 0, of rank 0 for a vector; what is not divided is the same object."""
    x, k = np.arange(3.0), np.ones(2)
    calls = list(_expansion({"x": x, "k": k}).calls())
    assert [call.index for call in calls] == [0, 1, 2]
    assert [call.inputs["x"].shape for call in calls] == [(), (), ()]
    assert [float(call.inputs["x"]) for call in calls] == [0.0, 1.0, 2.0]
    assert calls[0].inputs["x"].base is x
    assert calls[0].inputs["k"] is k


def test_chunks_keep_axis_0_and_the_last_may_be_short() -> None:
    """Up to `batch_size` items go together."""
    calls = list(_expansion({"x": np.arange(5)}, batch_size=2).calls())
    assert [call.inputs["x"].tolist() for call in calls] == [[0, 1], [2, 3], [4]]


def test_never_more_calls_in_flight_than_allowed() -> None:
    """An answer lets the next call start, whichever answer it is; each call is given out once."""
    expansion = _expansion({"x": np.arange(5)}, max_concurrency=2)
    assert [call.index for call in expansion.calls()] == [0, 1]
    assert list(expansion.calls()) == []
    expansion.complete(1, {"y": np.array(1)})
    assert [call.index for call in expansion.calls()] == [2]
    for index in (2, 0):
        expansion.complete(index, {"y": np.array(index)})
    assert [call.index for call in expansion.calls()] == [3, 4]
    for index in (4, 3):
        assert not expansion.done
        expansion.complete(index, {"y": np.array(index)})
    assert expansion.done
    assert expansion.outputs()["y"].tolist() == [0, 1, 2, 3, 4]


@given(length=st.integers(1, 40), batch_size=st.integers(0, 12), seed=st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_chunks_or_their_order(length: int, batch_size: int, seed: Any) -> None:  # noqa: ANN401
    """Whatever the batch size and the order of answers, a row-wise function gives what it gives to all rows at once."""
    x = np.arange(length * 3, dtype=np.float32).reshape(length, 3)
    words = np.array([b"%d" % i for i in range(length)], dtype=object)
    expansion = _expansion({"x": x, "w": words}, over="[x, w]", batch_size=batch_size, max_concurrency=3)
    waiting = list(expansion.calls())
    while waiting:
        call = waiting.pop(seed.randrange(len(waiting)))
        assert call.inputs["x"].ndim == (2 if batch_size else 1)
        expansion.complete(call.index, {"y": call.inputs["x"] * 2, "w": call.inputs["w"]})
        waiting.extend(expansion.calls())
        assert len(waiting) <= 3
    assert expansion.outputs()["y"].dtype == np.float32
    np.testing.assert_array_equal(expansion.outputs()["y"], x * 2)


def test_text_is_joined_as_objects() -> None:
    """BYTES answers stay arrays of objects, scalars stacked into a vector."""
    expansion = _expansion({"x": np.arange(2)})
    for call in expansion.calls():
        expansion.complete(call.index, {"y": np.array(b"\0%d\0" % call.index, dtype=object)})
    joined = expansion.outputs()["y"]
    assert joined.dtype == object
    assert joined.tolist() == [b"\0" + b"0" + b"\0", b"\0" + b"1" + b"\0"]


@pytest.mark.parametrize(("batch_size", "shape"), [(0, (0, 2, 0, 0)), (4, (0, 0, 0))])
def test_no_items_give_empty_outputs_of_the_signatures_type(
    sign: Sign, batch_size: int, shape: tuple[int, ...]
) -> None:
    """Without a call the signature says datatype and shape; sizes it does not know are 0."""
    catalog = {"m": sign({"x": "INT64 ()"}, {"y": "FP32 (2, N, ?)"})}
    expansion = _expansion({"x": np.arange(0)}, batch_size=batch_size, signatures=catalog.get)
    assert expansion.done
    assert list(expansion.calls()) == []
    assert (expansion.outputs()["y"].shape, expansion.outputs()["y"].dtype) == (shape, np.float32)


def test_no_items_and_no_signature_is_not_ready(sign: Sign) -> None:
    """An answer is never made up: an unknown signature is an error, and so is an output that it lacks."""
    with pytest.raises(ModelNotReady, match="without the signature of m no answer for none; try again"):
        _expansion({"x": np.arange(0)}).outputs()
    catalog = {"m": sign({"x": "INT64 ()"}, {"z": "FP32 ()"})}
    with pytest.raises(SignatureMismatch, match="no output is named 'y'"):
        _expansion({"x": np.arange(0)}, signatures=catalog.get).outputs()


def test_lengths_must_be_equal() -> None:
    """Inputs that are divided together must have equally many items, and an axis to divide."""
    with pytest.raises(InvalidRequest, match="must have equal lengths, got 2 for 'x' and 3 for 'w'"):
        _expansion({"x": np.arange(2), "w": np.arange(3)}, over="[x, w]")
    with pytest.raises(InvalidRequest, match="input 'x' is divided along axis 0, but is a scalar"):
        _expansion({"x": np.array(2)})


def test_too_many_items_are_refused_before_any_call() -> None:
    """A request cannot make a run call without bound; larger chunks allow more items."""
    with pytest.raises(Overloaded, match="at most 10000 calls for items, 10000 are left and 10001 are needed"):
        _expansion({"x": np.arange(MAX_CALLS + 1)})
    with pytest.raises(Overloaded, match="1000000000000 are needed"):
        _expansion({"x": np.empty((10**12, 0))})  # takes no memory, so that it can be sent
    assert _expansion({"x": np.arange(MAX_CALLS + 1)}, batch_size=2).total == 5_001


@pytest.mark.parametrize(
    ("batch_size", "answers", "expected"),
    [
        (
            0,
            [np.zeros(2), np.zeros(3)],
            r"must have one shape in all calls .* got float64 \(2,\) from call 0 and .* from call 1",
        ),
        (0, [np.zeros(2), np.zeros((2, 1))], "must have one shape"),
        (0, [np.zeros(2), np.zeros(2, np.float32)], r"got float64 \(2,\) from call 0 and float32 \(2,\) from call 1"),
        (1, [np.zeros((1, 2)), np.zeros((1, 3))], "must have one shape after axis 0 in all calls"),
        (1, [np.zeros(1), np.array(0.0)], "output 'y' of call 1 is a scalar, which cannot be concatenated"),
    ],
)
def test_answers_that_do_not_fit_together_are_refused(batch_size: int, answers: list[Tensor], expected: str) -> None:
    """Different shapes or datatypes are named with the calls they came from; nothing is padded or cast."""
    expansion = _expansion({"x": np.arange(2)}, batch_size=batch_size)
    for call, answer in zip(expansion.calls(), answers, strict=True):
        expansion.complete(call.index, {"y": answer})
    with pytest.raises(InvalidRequest, match=expected):
        expansion.outputs()


def test_an_answer_without_an_output_names_its_call() -> None:
    """A target that leaves out what is read has failed."""
    expansion = _expansion({"x": np.arange(2)})
    for call, answer in zip(expansion.calls(), [{"y": np.array(1)}, {"z": np.array(1)}], strict=True):
        expansion.complete(call.index, answer)
    with pytest.raises(ModelFailed, match="the answer to call 1 has no output 'y'"):
        expansion.outputs()
