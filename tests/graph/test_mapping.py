"""Items become calls, and answers one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidRequest, ModelFailed, ModelNotReady, Overloaded, SignatureMismatch
from graphmesh.graph.limits import MAX_CALLS
from graphmesh.graph.running.actions.offload import INLINE_BYTES
from graphmesh.graph.running.budget import Budget
from graphmesh.graph.running.mapping import MapAction
from graphmesh.graph.spec import GraphCall, Map, ModelCall
from tests.graph.host import FakeHost, Reply, frame_of, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from tests.graph.host import Script

    Sign = Callable[[Mapping[str, str], Mapping[str, str]], Signature]


def _map(
    script: Script,
    inputs: Mapping[str, Tensor],
    *,
    over: Sequence[str] = ("x",),
    batch_size: int = 0,
    max_concurrency: int = 0,
    signature: Signature | None = None,
    outputs: Sequence[str] = ("y",),
    **run: Any,  # noqa: ANN401 - fields of the run
) -> tuple[Mapping[str, Tensor], FakeHost]:
    """Run a map as a step ``each`` and return its outputs and the host."""
    kind = Map(target=ModelCall(name="m"), over=tuple(over), batch_size=batch_size, max_concurrency=max_concurrency)

    async def work() -> tuple[Mapping[str, Tensor], FakeHost]:
        host = FakeHost({"m": script})
        frame = frame_of(run_of(host, **run), "each", *outputs)
        return await MapAction(kind, signature).run(inputs, frame), host

    return virtual(work())


def _same(x: Tensor, **_: Tensor) -> dict[str, Tensor]:
    return {"y": x}


def test_items_are_views_and_other_inputs_pass_through() -> None:
    """An item is a view without axis 0, of rank 0 for a vector; what is not divided is the same object."""
    x, k = np.arange(3.0), np.ones(2)
    outputs, host = _map(_same, {"x": x, "k": k})
    assert host.paths == ["each[0]", "each[1]", "each[2]"]
    assert [made.call.inputs["x"].shape for made in host.made] == [(), (), ()]
    assert [float(made.call.inputs["x"]) for made in host.made] == [0.0, 1.0, 2.0]
    assert host.made[0].call.inputs["x"].base is x
    assert host.made[0].call.inputs["k"] is k
    assert outputs["y"].tolist() == [0.0, 1.0, 2.0]


def test_chunks_keep_axis_0_and_the_last_may_be_short() -> None:
    """Up to `batch_size` items go together."""
    _, host = _map(_same, {"x": np.arange(5)}, batch_size=2)
    assert [made.call.inputs["x"].tolist() for made in host.made] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("asked", "at_once"), [(1, 1), (2, 2), (0, 4), (64, 12)])
def test_never_more_calls_in_flight_than_allowed(asked: int, at_once: int) -> None:
    """An answer lets the next call start, whichever answer it is; answers keep their order."""
    pauses = [3.0, 1.0, 1.0, 2.0, 5.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]
    script = [Reply(_same, after_s=pause) for pause in pauses]
    outputs, host = _map(script, {"x": np.arange(12)}, max_concurrency=asked)
    running = [sum(other.start <= made.start < (other.end or 0.0) for other in host.made) for made in host.made]
    assert max(running) == at_once
    assert outputs["y"].tolist() == list(range(12))


@given(length=st.integers(1, 40), batch_size=st.integers(0, 12), seed=st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_chunks_or_their_order(length: int, batch_size: int, seed: Any) -> None:  # noqa: ANN401
    """Whatever the batch size and the order of answers, a row-wise function gives what it gives to all rows at once."""
    x = np.arange(length * 3, dtype=np.float32).reshape(length, 3)
    words = np.array([b"%d" % i for i in range(length)], dtype=object)
    script = [Reply(lambda x, w: {"y": x * 2, "w": w}, after_s=seed.random()) for _ in range(length)]
    outputs, _ = _map(
        script, {"x": x, "w": words}, over=["x", "w"], batch_size=batch_size, max_concurrency=3, outputs=("y", "w")
    )
    assert outputs["y"].dtype == np.float32
    np.testing.assert_array_equal(outputs["y"], x * 2)
    assert outputs["w"].tolist() == words.tolist()


def test_text_is_joined_as_objects() -> None:
    """BYTES answers stay arrays of objects, scalars stacked into a vector."""
    outputs, _ = _map(lambda x: {"y": np.array(b"\0%d\0" % x, dtype=object)}, {"x": np.arange(2)})
    assert outputs["y"].dtype == object
    assert outputs["y"].tolist() == [b"\0" + b"0" + b"\0", b"\0" + b"1" + b"\0"]


@pytest.mark.parametrize(("batch_size", "shape"), [(0, (0, 2, 0, 0)), (4, (0, 0, 0))])
def test_no_items_give_empty_outputs_of_the_signatures_type(
    sign: Sign, batch_size: int, shape: tuple[int, ...]
) -> None:
    """Without a call the signature says datatype and shape; sizes it does not know are 0."""
    signature = sign({"x": "INT64 ()"}, {"y": "FP32 (2, N, ?)"})
    for names in (("y",), ()):
        outputs, host = _map(_same, {"x": np.arange(0)}, batch_size=batch_size, signature=signature, outputs=names)
        assert not host.made
        assert (outputs["y"].shape, outputs["y"].dtype) == (shape, np.float32)


def test_no_items_and_no_signature_is_not_ready(sign: Sign) -> None:
    """An answer is never made up: an unknown signature is an error, and so is an output that it lacks."""
    with pytest.raises(ModelNotReady, match="without the signature of model m no answer for none; try again"):
        _map(_same, {"x": np.arange(0)})
    with pytest.raises(SignatureMismatch, match="no output is named 'y'"):
        _map(_same, {"x": np.arange(0)}, signature=sign({"x": "INT64 ()"}, {"z": "FP32 ()"}))


def test_lengths_must_be_equal() -> None:
    """Inputs that are divided together must have equally many items, and an axis to divide."""
    with pytest.raises(InvalidRequest, match="must have equal lengths, got 2 for 'x' and 3 for 'w'"):
        _map(_same, {"x": np.arange(2), "w": np.arange(3)}, over=["x", "w"])
    with pytest.raises(InvalidRequest, match="input 'x' is divided along axis 0, but is a scalar"):
        _map(_same, {"x": np.array(2)})


def test_too_many_items_are_refused_before_any_call() -> None:
    """A request cannot make a run call without bound; larger chunks allow more items, and calls made before count."""
    with pytest.raises(Overloaded, match="10000 are left and 10001 are needed"):
        _map(_same, {"x": np.arange(MAX_CALLS + 1)})
    with pytest.raises(Overloaded, match="1000000000000 are needed"):
        _map(_same, {"x": np.empty((10**12, 0))})  # takes no memory, so that it can be sent
    budget = Budget(calls=3)
    assert len(_map(_same, {"x": np.arange(5)}, batch_size=2, budget=budget)[1].made) == 3
    assert budget.calls_left == 0
    with pytest.raises(Overloaded):
        _map(_same, {"x": np.arange(1)}, budget=budget)


def test_a_map_of_graphs_that_call_nothing_is_bounded_too() -> None:
    """A graph's call counts if no call was counted inside it."""

    async def work() -> None:
        run = run_of(FakeHost({"h": _same}), budget=Budget(calls=4))
        action = MapAction(Map(target=GraphCall(name="h"), over=("x",), max_concurrency=1), None)
        await action.run({"x": np.arange(3)}, frame_of(run, "each", "y"))
        assert run.budget.calls_left == 1

    virtual(work())


def test_answers_are_held_within_the_budget_until_they_are_joined() -> None:
    """Answers that wait for others count, and are given back when they are joined, or fail."""
    budget = Budget(held=48)
    _map(_same, {"x": np.arange(3.0)}, budget=budget)
    assert budget.bytes_left == 48
    for count in (4, 7):  # the answers alone fit, but not with what joins them; or not even they
        with pytest.raises(Overloaded, match="may hold"):
            _map(_same, {"x": np.arange(float(count))}, budget=budget)
        assert budget.bytes_left == 48


@pytest.mark.parametrize(("size", "computed"), [(INLINE_BYTES // 2, 0), (INLINE_BYTES // 2 + 1, 1)])
def test_large_answers_are_joined_off_the_event_loop(size: int, computed: int) -> None:
    """Copying them takes as long as any other large work."""

    class Host(FakeHost):
        """Counts what it is asked to compute."""

        __slots__ = ("computed",)

        async def compute(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
            """Count it."""
            self.computed = 1
            return await super().compute(work)

    async def work() -> None:
        host = Host({"m": lambda x: {"y": np.full(size, x, np.uint8)}})
        host.computed = 0
        action = MapAction(Map(target=ModelCall(name="m"), over=("x",)), None)
        outputs = await action.run({"x": np.arange(2)}, frame_of(run_of(host), "each", "y"))
        assert outputs["y"][:, 0].tolist() == [0, 1]
        assert host.computed == computed

    virtual(work())


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
    with pytest.raises(InvalidRequest, match=expected):
        _map([Reply({"y": answer}) for answer in answers], {"x": np.arange(2)}, batch_size=batch_size)


def test_an_answer_without_an_output_names_its_call() -> None:
    """A target that leaves out what is read has failed."""
    with pytest.raises(ModelFailed, match="the answer to call 1 has no output 'y'"):
        _map([Reply({"y": np.array(1)}), Reply({"z": np.array(1)})], {"x": np.arange(2)})


@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_a_failure_names_its_item_and_cancels_the_others(max_concurrency: int) -> None:
    """The path of the call is in front, in whatever way calls are made; nothing goes on."""

    async def work() -> None:
        script = [Reply({"y": np.array(1)}), Reply(error=ModelFailed("boom"), after_s=1.0), Reply({}, after_s=9.0)]
        host = FakeHost({"m": script})
        kind = Map(target=ModelCall(name="m"), over=("x",), max_concurrency=max_concurrency)
        with pytest.raises(ModelFailed, match=r"^graph g, node each\[1\]: boom$"):
            await MapAction(kind, None).run({"x": np.arange(9)}, frame_of(run_of(host), "each", "y"))
        ends = ["answered", "failed"] if max_concurrency == 1 else ["answered", "failed", "cancelled"]
        assert [made.how for made in host.made] == ends

    virtual(work())
