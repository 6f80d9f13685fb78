"""Encoded pictures to pixels and back.

A picture's size is read from its header first, so that a few bytes that claim a billion pixels cost nothing.
"""

import struct

import cv2
import numpy as np

from graphmesh.core.errors import InvalidRequest

__all__ = ["decode_picture", "encode_png"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BYTE_LEVELS = 257  # 65535 / 255
_WITH_ALPHA = 4


def decode_picture(data: bytes, *, max_pixels: int) -> np.ndarray:
    """Return the pixels of a PNG or JPEG, UINT8 ``(H, W, 3)`` in the order blue, green, red.

    Grey becomes three equal channels, 16 bits become 8, transparency is laid on white, and a JPEG is turned as its
    EXIF orientation says.

    Raises:
        InvalidRequest: empty, neither PNG nor JPEG, damaged, or more than ``max_pixels`` (INVALID_ARGUMENT, retry: no).
    """
    is_png = data.startswith(_PNG)
    if not is_png and not data.startswith(_JPEG):
        raise InvalidRequest(
            f"the image must be a PNG or JPEG file, got {len(data)} bytes starting {data[:8].hex(' ')!r}"
        )
    width, height = _png_size(data) if is_png else _jpeg_size(data)
    if not 0 < width * height <= max_pixels:
        raise InvalidRequest(
            f"the image must have 1 to {max_pixels} pixels, got {width} x {height}; send a smaller one"
        )
    flags = cv2.IMREAD_UNCHANGED if is_png else cv2.IMREAD_COLOR
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        kind = "PNG" if is_png else "JPEG"
        raise InvalidRequest(f"the image is a damaged or incomplete {kind} of {len(data)} bytes; send the whole file")
    return _three_bytes(pixels)


def encode_png(pixels: np.ndarray) -> bytes:
    """Return pixels ``(H, W, 3)`` as a PNG file."""
    _, encoded = cv2.imencode(".png", pixels)
    return bytes(encoded)


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 24:  # noqa: PLR2004 - signature 8, chunk head 8, width 4, height 4
        return _no_header("PNG", data)
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the segments up to the start of the frame, which holds precision, height and width."""
    position = 2
    while position + 9 <= len(data):
        mark, kind, length, _, height, width = struct.unpack_from(">BBHBHH", data, position)
        if mark != 0xFF:  # noqa: PLR2004 - what every segment starts with
            break
        if kind in _JPEG_START_OF_FRAME:
            return width, height
        position += 1 if kind == 0xFF else 2 + length  # noqa: PLR2004 - fill bytes may precede a segment
    return _no_header("JPEG", data)


def _no_header(kind: str, data: bytes) -> tuple[int, int]:
    raise InvalidRequest(f"the image is a {kind} without a size in its first {len(data)} bytes; send the whole file")


def _three_bytes(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint16:
        pixels = (pixels // _BYTE_LEVELS).astype(np.uint8)
    if pixels.ndim == 2:  # noqa: PLR2004 - grey has no channel axis
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.shape[2] == _WITH_ALPHA:
        return _on_white(pixels)
    return pixels


def _on_white(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[:, :, 3:].astype(np.uint16)
    return ((pixels[:, :, :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
