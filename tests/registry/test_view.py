"""What a listing and the changes after it add up to, and what a damaged or hostile key does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.registry import GraphRecord, ModelSpec, wire
from graphmesh.registry.keys import Keys
from graphmesh.registry.kv import Batch, Event, KeyValue, Listing
from graphmesh.registry.view import View
from graphmesh.v1 import registry_pb2, signature_pb2
from tests.registry.fakes import SIGNATURE, document, worker

if TYPE_CHECKING:
    from collections.abc import Iterable

KEYS = Keys("default")


def _listing(items: Iterable[tuple[str, bytes]], *, revision: int = 10, cluster_id: int = 1) -> Listing:
    kept = tuple(KeyValue(key=key, value=value, mod_revision=revision) for key, value in sorted(items))
    return Listing(cluster_id=cluster_id, revision=revision, items=kept)


def _put(key: str, value: bytes, revision: int) -> Event:
    return Event(key, KeyValue(key=key, value=value, mod_revision=revision), revision)


def _worker_bytes(name: str = "w1", **fields: object) -> bytes:
    message = registry_pb2.WorkerRecord()
    message.ParseFromString(wire.encode_worker(worker(name)))
    for field, value in fields.items():
        setattr(message, field, value)
    return message.SerializeToString()


_HOSTILE_SIGNATURE = signature_pb2.Signature(
    inputs=[signature_pb2.TensorSpec(name="x", datatype="FP32", shape=["9" * 5_000])]
).SerializeToString()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEYS.worker("w1"), b"\xff\xff\xff"),
        (KEYS.worker("w1"), b""),
        (KEYS.worker("w1"), _worker_bytes("other")),
        (KEYS.worker("W 1"), _worker_bytes(worker_id="W 1")),
        (KEYS.worker("w1"), _worker_bytes(host="metadata.google.internal")),
        (KEYS.worker("w1"), _worker_bytes(host="169.254.169.254")),
        (KEYS.worker("w1"), _worker_bytes(host="0.0.0.0")),  # noqa: S104 - nothing binds to it
        (KEYS.worker("w1"), _worker_bytes(host="")),
        (KEYS.worker("w1"), _worker_bytes(http_port=0)),
        (KEYS.worker("w1"), _worker_bytes(grpc_port=70_000)),
        (KEYS.worker("w1"), _worker_bytes(state=9)),
        (KEYS.gateway("g1"), b"\x01"),
        (KEYS.model("m"), wire.encode_model(ModelSpec(name="other"))),
        (KEYS.signature("0" * 64), wire.encode_signature(SIGNATURE)),
        (KEYS.signature("0" * 64), _HOSTILE_SIGNATURE),
        (KEYS.live("g"), wire.encode_live(1)),
        (KEYS.live("g"), b"\xff"),
    ],
)
def test_a_key_that_cannot_be_read_is_left_out(key: str, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged or hostile value is skipped with one warning that names the key; everything else is served."""
    view = View(KEYS)
    with caplog.at_level(logging.WARNING):
        view.replace(_listing([(KEYS.worker("good"), _worker_bytes("good")), (key, value)]))
        view.replace(_listing([(KEYS.worker("good"), _worker_bytes("good")), (key, value)]))
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [key]
    assert view.snapshot().workers.keys() == {"good"}
    assert view.unreadable == 1
    view.replace(_listing([], revision=11))
    assert view.unreadable == 0


def test_a_bad_model_name_in_a_record_is_left_out() -> None:
    """A record that hosts a model of an impossible name is not served at all."""
    message = registry_pb2.WorkerRecord()
    message.ParseFromString(_worker_bytes())
    message.models[0].name = "../../etc"
    view = View(KEYS)
    view.replace(_listing([(KEYS.worker("w1"), message.SerializeToString())]))
    assert view.snapshot().workers == {}


def test_foreign_keys_are_ignored() -> None:
    """Keys that are none of the mesh's are neither records nor faults."""
    view = View(KEYS)
    view.replace(_listing([(f"{KEYS.prefix}notes", b"hi"), (f"{KEYS.prefix}graphs/g/other", b"x"), ("/else", b"x")]))
    assert view.unreadable == 0
    assert view.snapshot().revision == 10


def test_a_record_repaired_is_served() -> None:
    """A good value after a bad one is taken in, and the fault forgotten."""
    view = View(KEYS)
    view.replace(_listing([(KEYS.worker("w1"), b"\xff")]))
    assert view.apply(Batch(1, 11, (_put(KEYS.worker("w1"), _worker_bytes(), 11),)))
    assert view.workers.keys() == {"w1"}
    assert view.unreadable == 0


def test_a_snapshot_never_changes() -> None:
    """What a reader holds stays as it was, whatever comes later."""
    view = View(KEYS)
    view.replace(_listing([(KEYS.worker("w1"), _worker_bytes())]))
    before = view.snapshot()
    view.apply(Batch(1, 11, (Event(KEYS.worker("w1"), None, 11),)))
    assert before.workers.keys() == {"w1"}
    assert view.snapshot().workers == {}
    with pytest.raises(TypeError):
        before.workers["w2"] = worker("w2")  # type: ignore[index]


def test_a_graph_moves_with_its_pointer() -> None:
    """The live pointer decides the revision, also when revision and pointer come in any order in one batch."""
    records = [
        GraphRecord(name="g", document=document("g", text), revision=number, signature=SIGNATURE, create_time=1.5)
        for number, text in ((1, "one"), (2, "two"))
    ]
    view = View(KEYS)
    view.replace(
        _listing([(KEYS.revision("g", 1), wire.encode_graph(records[0])), (KEYS.live("g"), wire.encode_live(1))])
    )
    first = view.snapshot().graphs["g"]
    assert (first.revision, first.etag, first.create_time) == (1, '"10"', 1.5)
    view.apply(
        Batch(
            1,
            11,
            (
                _put(KEYS.live("g"), wire.encode_live(2), 11),
                _put(KEYS.revision("g", 2), wire.encode_graph(records[1]), 11),
            ),
        )
    )
    second = view.snapshot().graphs["g"]
    assert (second.document, second.etag) == (records[1].document, '"11"')
    view.apply(Batch(1, 12, (Event(KEYS.live("g"), None, 12),)))
    assert view.snapshot().graphs == {}


def test_going_backwards_is_noticed() -> None:
    """Another cluster, or a lower revision, is a rewind; the first listing and later ones are not."""
    view = View(KEYS)
    assert not view.rewound_by(_listing([], revision=10))
    view.replace(_listing([], revision=10))
    assert not view.rewound_by(_listing([], revision=10))
    assert view.rewound_by(_listing([], revision=9))
    assert view.rewound_by(_listing([], revision=11, cluster_id=2))


def test_divergence_is_what_the_watch_should_have_said() -> None:
    """Keys missing, or different at a revision that was delivered, differ; newer ones are just news."""
    view = View(KEYS)
    view.replace(_listing([(KEYS.worker("w1"), _worker_bytes("w1")), (KEYS.worker("w2"), _worker_bytes("w2"))]))
    newer = KeyValue(key=KEYS.worker("w3"), value=_worker_bytes("w3"), mod_revision=12)
    same = KeyValue(key=KEYS.worker("w1"), value=_worker_bytes("w1"), mod_revision=10)
    assert view.replace(Listing(cluster_id=1, revision=12, items=(same, newer))) == 1
    assert view.workers.keys() == {"w1", "w3"}


_CHANGES = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=20)


@settings(max_examples=150)
@given(_CHANGES, st.data())
def test_duplicates_change_nothing(changes: list[tuple[str, bool]], data: st.DataObject) -> None:
    """Changes delivered again, at any later time, leave the view equal to the store."""
    store: dict[str, KeyValue] = {}
    view = View(KEYS)
    view.replace(_listing([], revision=1))
    delivered: list[Event] = []
    for revision, (name, present) in enumerate(changes, start=2):
        key = KEYS.model(name)
        event = _put(key, wire.encode_model(ModelSpec(name=name, replicas=revision)), revision)
        if not present:
            event = Event(key, None, revision)
        store.pop(key, None)
        if event.item:
            store[key] = event.item
        delivered.append(event)
        again = data.draw(st.lists(st.sampled_from(delivered), max_size=3))
        view.apply(Batch(1, revision, (*again, event) if data.draw(st.booleans()) else (event, *again)))
        assert view.snapshot().models == {
            item.key.rpartition("/")[2]: wire.decode_model(item.key.rpartition("/")[2], item.value)
            for item in store.values()
        }
