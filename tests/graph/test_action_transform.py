"""Tensors changed without any model, where it holds up nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import DeadlinePassed, InvalidRequest
from graphmesh.graph.forms.yaml_tree import compose
from graphmesh.graph.running.actions.offload import INLINE_BYTES
from graphmesh.graph.running.actions.transform import TransformAction
from graphmesh.graph.transforms.apply import compile_operations
from graphmesh.graph.transforms.yaml_form import operation_from_tree
from tests.graph.branches import play
from tests.graph.host import FakeHost, frame_of, run_of, virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphmesh.core.tensor import Tensor


def _action(*settings: str) -> TransformAction:
    """Make a step whose operations each read what the one before gave; the first reads x."""
    operations = [
        operation_from_tree(compose(f"{{{setting}, inputs: {f'v{place}' if place else 'x'}, outputs: v{place + 1}}}"))
        for place, setting in enumerate(settings)
    ]
    return TransformAction(changes=compile_operations(operations, ()))


class _Counting(FakeHost):
    """Counts what it is asked to compute, and turns that it is asked for; each look at the clock takes a while."""

    __slots__ = ("_pause_s", "_seen_s", "computed", "turns")

    def __init__(self, pause_s: float = 0.0) -> None:
        super().__init__({})
        self.computed = self.turns = 0
        self._pause_s, self._seen_s = pause_s, 0.0

    def now(self) -> float:
        """Return a later time at each look."""
        self._seen_s += self._pause_s
        return super().now() + self._seen_s

    async def turn(self) -> None:
        """Count it."""
        self.turns += 1

    async def compute(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Compute it."""
        self.computed += 1
        return await super().compute(work)


def _computed(action: TransformAction, x: Tensor) -> tuple[int, Tensor]:
    """Return how often the host was asked to compute, and the result."""

    async def work() -> tuple[int, Tensor]:
        host = _Counting()
        (result,) = (await action.run({"x": x}, frame_of(run_of(host)))).values()
        return host.computed, result

    return virtual(work())


def _text(*elements: bytes) -> Tensor:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def test_the_operations_make_the_answer() -> None:
    """From the step's inputs."""
    assert play(_action("unsqueeze: 0"), {}, inputs={"x": np.array([1, 2])}).values("v1") == [[1, 2]]


def test_its_errors_are_the_steps() -> None:
    """Values that do not fit are the request's fault."""
    played = play(_action("cast: UINT8"), {}, inputs={"x": np.array([1000])})
    assert isinstance(played.error, InvalidRequest)


def test_large_tensors_are_changed_off_the_event_loop() -> None:
    """What takes about a millisecond is done at once; what takes longer where the host says."""
    half = INLINE_BYTES // 2
    assert _computed(_action("copy: {}"), np.zeros(half, np.uint8))[0] == 0
    assert _computed(_action("copy: {}"), np.zeros(half + 1, np.uint8))[0] == 1


@pytest.mark.parametrize(
    ("settings", "x"),
    [
        (["pad: {after: [2000000]}"], np.zeros(4, np.uint8)),
        (["gather: {axis: 0, indices: [0, 0, 0, 0, 0, 0, 0, 0]}"], np.zeros((1, INLINE_BYTES // 8), np.uint8)),
        (["cast: TEXT"], np.zeros(10_000, np.uint8)),
        (['json_read: {pointer: "", type: "INT64 (?)"}'], _text(b"[" + b"1," * 2_500 + b"1]")),
        ([f"replace: {{old: a, new: {'b' * 2_000}}}"], _text(b"a" * 2_000)),
        (["lower: {}"], _text(*[b"a"] * 10_000)),
        (["lower: {}"], _text(b"A" * 100_000)),
        (["copy: {}"] * 20, np.zeros(INLINE_BYTES // 20, np.uint8)),
    ],
    ids=["pad", "gather", "cast", "json_read", "replace", "elements", "bytes", "chain"],
)
def test_it_counts_what_is_made_and_how_slowly(settings: list[str], x: Tensor) -> None:
    """A few bytes can become many, text takes longer than numbers, and many short operations are long together."""
    computed, result = _computed(_action(*settings), x)
    assert computed == 1
    assert result.size


def test_what_came_before_a_long_operation_is_not_done_again() -> None:
    """The rest goes on from there."""
    computed, result = _computed(_action("unsqueeze: 0", "pad: {after: [0, 2000000]}", "squeeze: 0"), np.ones(1))
    assert computed == 1
    assert (result.shape, result.sum()) == ((2_000_001,), 1)


def test_small_text_is_changed_at_once() -> None:
    """A thread would cost more than the work."""
    assert _computed(_action("lower: {}", "strip: {}", "truncate: 100"), _text(b" A question " * 20))[0] == 0


@pytest.mark.parametrize(("pause_s", "turns"), [(0.0001, 0), (0.001, 1)])
def test_others_go_on_after_work_that_took_a_while(pause_s: float, turns: int) -> None:
    """A graph may have a thousand such steps, one after the other."""

    async def work() -> int:
        host = _Counting(pause_s)
        await _action("copy: {}").run({"x": np.ones(1)}, frame_of(run_of(host)))
        return host.turns

    assert virtual(work()) == turns


def test_nothing_is_done_after_the_deadline() -> None:
    """A chain of such steps never waits, so that no limit is heard of on its way."""

    async def work() -> None:
        host = FakeHost({})
        frame = frame_of(run_of(host), deadline=Deadline(host.now()))
        with pytest.raises(DeadlinePassed, match="before the tensors were changed"):
            await _action("copy: {}").run({"x": np.ones(1)}, frame)

    virtual(work())


def test_as_a_stream_it_gives_one_answer() -> None:
    """Every action can be read as a stream."""

    async def work() -> list[Any]:
        stream = _action("copy: {}").stream({"x": np.array([1])}, frame_of(run_of(FakeHost({}))))
        return [outputs["v1"].tolist() async for outputs in stream]

    assert not _action("copy: {}").streams
    assert virtual(work()) == [[1]]
