"""Compressed messages: round trips, bounds, and what a header asks for."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.compression import accepted, compressed_with, deflate, inflate, inflate_sync
from graphmesh.core.errors import GraphmeshError, InvalidRequest, MessageTooLarge, Unsupported
from graphmesh.oip import open_inference_pb2 as pb

MIB = 1 << 20
ENCODINGS = ["gzip", "deflate"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [0, 100, 200_000])
async def test_round_trip(encoding: str, size: int) -> None:
    """What was deflated inflates to itself, small on the loop and large beside it; its first bytes tell how it is."""
    body = os.urandom(size)
    packed = await deflate(body, encoding)
    assert compressed_with(packed) == encoding
    assert await inflate(packed, encoding, 1 * MIB) == body


@pytest.mark.parametrize("encoding", [None, "identity"])
async def test_what_is_not_compressed_is_left_alone(encoding: str | None) -> None:
    """No encoding gives the very same bytes."""
    body = b"plain"
    assert await inflate(body, encoding, 1) is body


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_bomb_is_stopped_by_its_ratio(encoding: str) -> None:
    """A body that inflates to a thousand times its size is refused, and never takes the memory it would."""
    bomb = await deflate(bytes(60 * MIB), encoding)
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooLarge, match="at most 100 times its compressed size"):
            inflate_sync(bomb, encoding, 64 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 300 * len(bomb)
    finally:
        tracemalloc.stop()


def test_the_size_of_a_message_bounds_too() -> None:
    """A body may not inflate to more than a message may have; up to a mebibyte any ratio will do."""
    packed = zlib.compress(bytes(MIB))
    assert inflate_sync(packed, "deflate", MIB) == bytes(MIB)
    with pytest.raises(MessageTooLarge, match=f"at most {MIB - 1} bytes"):
        inflate_sync(packed, "deflate", MIB - 1)


@pytest.mark.parametrize(
    ("body", "encoding", "kind", "words"),
    [
        (b"junk", "gzip", InvalidRequest, "must be gzip"),
        (gzip.compress(b"x" * 100)[:-9], "gzip", InvalidRequest, "cut short"),
        (gzip.compress(b"a") + gzip.compress(b"b"), "gzip", InvalidRequest, "follow it"),
        (b"", "gzip", InvalidRequest, "cut short"),
        (b"x", "br", Unsupported, "gzip, deflate or identity"),
    ],
)
def test_lies_are_refused(body: bytes, encoding: str, kind: type[GraphmeshError], words: str) -> None:
    """Junk, a stream cut short, bytes after its end, and unknown encodings are named."""
    with pytest.raises(kind, match=words):
        inflate_sync(body, encoding, MIB)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("br, zstd", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("Deflate", "deflate"),
        ("deflate, gzip;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.000", None),
        ("gzip;q=1.0", "gzip"),
    ],
)
def test_accept_encoding(header: str | None, expected: str | None) -> None:
    """The answer's encoding is one that the caller lists and does not refuse."""
    assert accepted(header) == expected


@given(st.builds(pb.ModelInferRequest, model_name=st.text(max_size=5), id=st.text(max_size=200)))
def test_no_message_looks_compressed(message: pb.ModelInferRequest) -> None:
    """What a caller did not compress is never taken for compressed."""
    assert compressed_with(message.SerializeToString()) is None
