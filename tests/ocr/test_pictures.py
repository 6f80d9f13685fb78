"""Decoding PNG and JPEG files, sound and broken."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from graphmesh.cli.ocr.pictures import decode_picture, encode_png
from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 50_000_000


def test_png_is_exact(page: np.ndarray, encode: Callable[..., bytes]) -> None:
    """A PNG gives its own pixels, blue first."""
    coloured = np.dstack((page[:, :, 0], page[:, :, 0] // 2, page[:, :, 0] // 3))
    assert np.array_equal(decode_picture(encode(coloured), max_pixels=MANY), coloured)
    assert np.array_equal(decode_picture(encode_png(coloured), max_pixels=MANY), coloured)


def test_jpeg(page: np.ndarray, encode: Callable[..., bytes]) -> None:
    """A JPEG gives nearly its own pixels."""
    decoded = decode_picture(encode(page, ".jpg"), max_pixels=MANY)
    assert decoded.shape == page.shape
    assert np.abs(decoded.astype(int) - page).mean() < 3


def test_jpeg_orientation(page: np.ndarray, encode: Callable[..., bytes]) -> None:
    """A JPEG is turned as its EXIF orientation says."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation, short, one value: a quarter turn clockwise
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    data = encode(page, ".jpg")
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert decode_picture(turned, max_pixels=MANY).shape == (page.shape[1], page.shape[0], 3)


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_grey(page: np.ndarray, encode: Callable[..., bytes], kind: str) -> None:
    """Grey becomes three equal channels."""
    decoded = decode_picture(encode(page[:, :, 0], kind), max_pixels=MANY)
    assert decoded.shape == page.shape
    assert np.array_equal(decoded[:, :, 0], decoded[:, :, 2])


def test_sixteen_bits(page: np.ndarray, encode: Callable[..., bytes]) -> None:
    """Sixteen bits a channel become eight."""
    assert np.array_equal(decode_picture(encode(page.astype(np.uint16) * 257), max_pixels=MANY), page)


def test_transparency_is_white(encode: Callable[..., bytes]) -> None:
    """Transparent pixels show white, half transparent ones half of it, whatever colour they hide."""
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 128, 255)
    assert decode_picture(encode(pixels), max_pixels=MANY)[0, :, 0].tolist() == [255, 127, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "must be a PNG or JPEG file, got 0 bytes"),
        (b"hello, world", "must be a PNG or JPEG file, got 12 bytes starting '68 65 6c"),
        (b"\x89PNG\r\n\x1a\n", "a PNG without a size in its first 8 bytes"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a JPEG without a size"),
        (b"\xff\xd8" + b"\xff" * 40, "a JPEG without a size"),
        (b"\xff\xd8" + b"\0" * 40, "a JPEG without a size"),
    ],
)
def test_not_a_picture(data: bytes, message: str) -> None:
    """Bytes that are no picture are refused, naming what came."""
    with pytest.raises(InvalidRequest, match=message):
        decode_picture(data, max_pixels=MANY)


@pytest.mark.parametrize(("kind", "name"), [(".png", "PNG"), (".jpg", "JPEG")])
def test_cut_off(page: np.ndarray, encode: Callable[..., bytes], kind: str, name: str) -> None:
    """Half a file is refused, not half read."""
    data = encode(page, kind)
    with pytest.raises(InvalidRequest, match=f"damaged or incomplete {name} of {len(data) // 2} bytes"):
        decode_picture(data[: len(data) // 2], max_pixels=MANY)


def test_damaged(page: np.ndarray, encode: Callable[..., bytes]) -> None:
    """A PNG with bytes overwritten is refused."""
    data = bytearray(encode(page))
    data[2000:2400] = bytes(400)
    with pytest.raises(InvalidRequest, match="damaged or incomplete PNG"):
        decode_picture(bytes(data), max_pixels=MANY)


@pytest.mark.parametrize("size", [(60_000, 60_000), (0, 5), (2**32 - 1, 2**32 - 1)])
def test_size_is_checked_before_decoding(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that claims a huge or empty picture is refused by its header."""

    def decoder(*_: object) -> None:
        pytest.fail("the file was decoded")

    monkeypatch.setattr(cv2, "imdecode", decoder)
    head = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    with pytest.raises(InvalidRequest, match=f"1 to {MANY} pixels, got {size[0]} x {size[1]}"):
        decode_picture(data, max_pixels=MANY)


def test_jpeg_size_is_checked(page: np.ndarray, encode: Callable[..., bytes]) -> None:
    """The limit holds for JPEG too, and a picture of exactly that many pixels passes."""
    data, pixels = encode(page, ".jpg"), page.shape[0] * page.shape[1]
    assert decode_picture(data, max_pixels=pixels).shape == page.shape
    with pytest.raises(InvalidRequest, match="got 384 x 191"):
        decode_picture(data, max_pixels=pixels - 1)
