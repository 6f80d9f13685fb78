"""What isolation is made of, without a second process: shared memory, tensors in it, messages over a socket pair."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphmesh.core.errors import Cancelled, InvalidTensor, LoadFailed
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.core.tensor import DTYPES
from graphmesh.worker import Batching, Context, Isolation, ModelConfig
from graphmesh.worker.isolation.arena import Arena, attach, create
from graphmesh.worker.isolation.connection import Connection, Lost, Unsendable
from graphmesh.worker.isolation.host import Host
from graphmesh.worker.isolation.lane import Lane as WorkerLane
from graphmesh.worker.isolation.lane import RaisedApart
from graphmesh.worker.isolation.messages import (
    Call,
    Cancel,
    Lane,
    Load,
    Run,
    TensorMeta,
    from_parent,
    lane_from_child,
    lane_from_parent,
)
from graphmesh.worker.isolation.served_lane import ServedLane
from graphmesh.worker.isolation.tensors import Parcel, pack, read_tensors
from graphmesh.worker.isolation.wire import config_from_wire, config_to_wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.tensor import Tensor

_FIXED = [dtype for name, dtype in DTYPES.items() if name not in {"BYTES", "BF16"}]
_ARRAYS = st.one_of(
    st.sampled_from(_FIXED).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))),
    st.lists(st.binary(max_size=40), max_size=5).map(lambda items: np.array([*items, None], dtype=object)[:-1]),
)


def _held(arena: Arena) -> bool:
    return arena.held


def test_an_arena_is_shared_and_knows_who_looks() -> None:
    """What one side writes the other sees; any array made from an arena, however indirectly, holds it."""
    mine = create(1000)
    theirs = attach(os.dup(mine.fd))
    mine.root[:4] = 1, 2, 3, 4
    view = theirs.root[:4].view("<i2").reshape(2, 1)[1:].T
    assert view.tolist() == [[4 * 256 + 3]]
    assert _held(theirs)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    mine.root[2] = 9
    assert view.tolist() == [[4 * 256 + 9]]
    del view
    assert not _held(theirs)
    mine.close()
    mine.close()
    assert theirs.root[2] == 9


@pytest.mark.skipif(sys.platform != "linux", reason="seals are Linux's")
def test_an_arena_that_could_shrink_is_refused() -> None:
    """Memory whose owner could take it away is not mapped, and an arena's owner cannot."""
    fd = os.memfd_create("test")
    os.ftruncate(fd, 4096)
    with pytest.raises(ValueError, match="sealed"):
        attach(fd)
    arena = create(1)
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, 0)
    arena.close()


@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=5), _ARRAYS, max_size=4), st.booleans())
def test_tensors_arrive_as_they_were(tensors: dict[str, Any], inline: bool) -> None:  # noqa: FBT001 - hypothesis
    """Names, dtypes, shapes and elements survive, inside the message and in an arena."""
    parcel = pack(tensors)
    if inline:
        source = np.frombuffer(parcel.inline(), np.uint8)
    else:
        source = np.zeros(parcel.size + 7, np.uint8)
        parcel.write(source)
    metas = msgspec.msgpack.decode(msgspec.msgpack.encode(parcel.metas), type=list[TensorMeta])
    found = read_tensors(metas, source)
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_views_and_foreign_byte_orders() -> None:
    """Transposed, strided and big-endian arrays are written as what they stand for."""
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    tensors = {"t": array.T, "s": array[:, ::2], "b": array.astype(">i4")}
    parcel = pack(tensors)
    found = read_tensors(parcel.metas, np.frombuffer(parcel.inline(), np.uint8))
    for name, expected in tensors.items():
        np.testing.assert_array_equal(found[name], expected)


@given(
    st.sampled_from([*DTYPES, "FP128", ""]),
    st.lists(st.integers(-(2**40), 2**40), max_size=4),
    st.integers(-(2**40), 2**40),
    st.integers(-(2**40), 2**40),
)
def test_no_lie_about_a_tensor_is_believed(datatype: str, shape: list[int], offset: int, length: int) -> None:
    """Whatever a message says of a tensor, reading it is an array inside the memory, or an error of ours."""
    try:
        found = read_tensors([TensorMeta("x", datatype, shape, offset, length)], np.zeros(64, np.uint8))
    except InvalidTensor:
        return
    assert found["x"].shape == tuple(shape)


def _pair() -> tuple[Connection[Any], Connection[Any], socket.socket]:
    mine, theirs = socket.socketpair()
    return Connection(mine, from_parent()), Connection(theirs, from_parent()), theirs


def test_messages_and_descriptors() -> None:
    """Messages arrive whole and in order, descriptors with theirs."""
    sending, receiving, _ = _pair()
    reader, writer = os.pipe()
    sending.send(Lane(), writer)
    sending.send(Cancel(7))
    message, (received,) = receiving.receive()
    assert message == Lane()
    os.write(received, b"x")
    assert os.read(reader, 1) == b"x"
    assert receiving.receive() == (Cancel(7), [])
    for fd in (reader, writer, received):
        os.close(fd)
    sending.close()
    with pytest.raises(Lost, match="ended"):
        receiving.receive()
    with pytest.raises(Lost):
        receiving.send(Cancel(1))
    receiving.close()


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\x7f", b"\x01\x00\x00\x00\xc1", b"\x02\x00\x00\x00\x90\x90", b"\x09\x00"]
)
def test_what_is_no_message(data: bytes) -> None:
    """Lengths that nothing has, other MessagePack and half a message lose the connection."""
    sending, receiving, _ = _pair()
    sending._socket.sendall(data)
    sending.close()
    with pytest.raises(Lost):
        receiving.receive()
    receiving.close()


def test_telling_never_blocks() -> None:
    """What is told while nobody reads waits, the newest in vain; a long message to a slow reader arrives whole."""
    sending, receiving, _ = _pair()
    for number in range(10_000):
        sending.tell(Cancel(number))
    assert receiving.receive()[0] == Cancel(0)
    sending.close()
    receiving.close()
    sending, receiving, _ = _pair()
    thread = threading.Thread(target=sending.send, args=(Cancel(1 << 40),))
    thread.start()
    assert receiving.receive()[0] == Cancel(1 << 40)
    thread.join()
    sending.close()
    receiving.close()


def test_telling_waits_for_room() -> None:
    """What is told while another message is being sent, or there is no room, is sent with the next."""
    sending, receiving, _ = _pair()
    with sending._sending:
        sending.tell(Cancel(1))
        sending.tell(Cancel(2))
    sending.tell(Cancel(3))
    with sending._sending:
        sending.tell(Cancel(4))
    sending.send(Cancel(5))
    assert [receiving.receive()[0] for _ in range(5)] == [Cancel(number) for number in range(1, 6)]
    for number in range(2000):
        sending.tell(Cancel(number))
    assert sending._untold
    thread = threading.Thread(target=sending.send, args=(Cancel(2000),))
    thread.start()
    assert [receiving.receive()[0] for _ in range(2001)] == [Cancel(number) for number in range(2001)]
    thread.join()
    sending.close()
    receiving.close()


def test_what_cannot_be_sent() -> None:
    """A message without a form, or a longer one than is read, is refused before any of it leaves."""
    sending, receiving, _ = _pair()
    for config in ({"x": object()}, {"x": 1 << 70}, {"x": "\ud800"}, {"x": bytes(1 << 26)}):
        with pytest.raises(Unsendable):
            sending.send(Load(config))
    sending.send(Cancel(1))
    assert receiving.receive()[0] == Cancel(1)
    sending.close()
    receiving.close()


class _AddsOne:
    """Runs calls without a model."""

    streaming = False

    def answers(
        self, inputs: Mapping[str, Tensor], run: Run, contexts: list[Context]
    ) -> Iterator[Mapping[str, Tensor]]:
        """Yield x + 1."""
        yield {"x": inputs["x"] + 1}

    def ended(self, run: Run) -> None:
        """Forget nothing."""


def test_memory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side that fails to write to a new arena does not think that the other has it."""
    writes, write = itertools.count(), Parcel.write

    def failing(parcel: Parcel, into: Tensor) -> None:
        if next(writes) in {0, 2}:
            raise MemoryError
        write(parcel, into)

    monkeypatch.setattr(Parcel, "write", failing)
    mine, theirs = socket.socketpair()
    lane = WorkerLane(Connection(mine, lane_from_child()))

    def serve() -> None:
        with theirs, pytest.raises(Lost):
            ServedLane(Connection(theirs, lane_from_parent()), _AddsOne()).serve()

    thread = threading.Thread(target=serve)
    thread.start()
    inputs = {"x": np.ones(1 << 16)}
    with pytest.raises(MemoryError):
        lane.begin(inputs, [])
    lane.begin(inputs, [])
    with pytest.raises(RaisedApart, match="MemoryError"):
        lane.answer()
    for _ in range(3):
        lane.begin(inputs, [])
        outputs = lane.answer()
        assert outputs is not None
        assert (outputs["x"] == 2).all()
    lane.close()
    thread.join(5)


def test_calls_that_were_cancelled_before_they_came() -> None:
    """A call is not begun if its cancellation came first, or came with it; a batch is while one caller is left."""
    loaded = Mock(is_async=False, wants_context=False)
    loaded.run.return_value = {"x": 1}
    loaded.signature.streaming = False
    host = Host(loaded)
    host.cancel(1)
    for run in (Run([], b"", [_call(1)], 0), Run([], b"", [_call(2, cancelled=True)], 0)):
        with pytest.raises(Cancelled):
            host.answers({}, run, [])
        host.ended(run)
    host.cancel(4)
    both, contexts = Run([], b"", [_call(3), _call(4)], 0), list[Context]()
    assert next(host.answers({}, both, contexts)) == {"x": 1}
    assert [context.cancelled for context in contexts] == [False, True]
    host.ended(both)
    assert (host._running, len(host._left)) == ({}, 0)
    for number in range(5000):
        host.cancel(number)
    assert len(host._left) == 4096
    host._loop.close()


def _call(number: int, *, cancelled: bool = False) -> Call:
    return Call(number, "m", "1", "", None, 1, {}, {}, cancelled)


def test_a_configuration_travels() -> None:
    """Every field of a configuration arrives; values that are not plain, and functions, are refused."""
    spec = TensorSpec(name="x", datatype="FP32", shape=("N",))
    config = ModelConfig(
        name="m",
        source="m.py:M",
        version="3",
        backend="python",
        instances=2,
        isolation=Isolation.PROCESS,
        parameters={"k": [1, {"a": None}]},
        expects=Signature(inputs=(spec,), outputs=(spec,)),
    )
    assert config_from_wire(config_to_wire(config)) == config
    more = ModelConfig(name="m", source="m", batching=Batching(pad={"T": (1, 2)}), warmup=({"x": 1},))
    assert config_from_wire(msgspec.msgpack.decode(msgspec.msgpack.encode(config_to_wire(more)))) == more
    with pytest.raises(LoadFailed, match="name an input"):
        config_to_wire(ModelConfig(name="m", source="m", batching=Batching(cost=len)))
    with pytest.raises(LoadFailed, match="plain values"):
        config_to_wire(ModelConfig(name="m", source="m", parameters={"k": object()}))
