"""The result as a picture: the boxes on the image, and what was read beside it."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from graphmesh.cli.ocr.pictures import decode_picture, encode_png

__all__ = ["draw_lines"]

_MAX_PIXELS = 50_000_000
_WIDTH = 960  # the image is drawn about this wide,
_MAX_ENLARGED = 3.0  # small ones at most enlarged this much
_MARGIN = 32
_RADIUS = 13
_TINT = 0.12
_ROW = 44
_TEXT = 22
_SMALL = 16
_LONGEST = 90  # letters; what is longer ends in an ellipsis
_FONT = "uni"  # OpenCV's own, with Latin and Chinese letters
_INK = (48, 36, 30)
_GREY = (140, 128, 120)
_ACCENT = (190, 95, 20)
_UNSURE = (40, 110, 230)
_SURE = 0.9  # less confident lines are drawn in the other colour
_WHITE = (255, 255, 255)


def draw_lines(image: bytes, text: Sequence[str], confidence: Sequence[float], boxes: Sequence[Any]) -> bytes:
    """Return a PNG of the image with numbered boxes, and the numbered lines with their confidences on its right.

    Args:
        image: The PNG or JPEG that was read.
        text: The lines.
        confidence: One for each line, 0 to 1.
        boxes: Four corners ``(4, 2)`` for each line, in the image's pixels.

    Raises:
        InvalidRequest: the image cannot be decoded (INVALID_ARGUMENT, retry: no).
    """
    pixels = decode_picture(image, max_pixels=_MAX_PIXELS)
    scale = min(_MAX_ENLARGED, _WIDTH / pixels.shape[1])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    picture = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    framed = np.pad(picture, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=255)
    outlines = [(np.asarray(box) * scale + _MARGIN).round().astype(np.int32) for box in boxes]
    colours = [_ACCENT if value >= _SURE else _UNSURE for value in confidence]
    _draw_boxes(framed, outlines, colours)
    return encode_png(_beside(framed, _panel(text, confidence, colours)))


def _draw_boxes(picture: np.ndarray, outlines: list[np.ndarray], colours: list[tuple[int, int, int]]) -> None:
    tinted = picture.copy()
    for outline, colour in zip(outlines, colours, strict=True):
        cv2.fillPoly(tinted, [outline], colour)
    cv2.addWeighted(tinted, _TINT, picture, 1 - _TINT, 0, dst=picture)
    for outline, colour in zip(outlines, colours, strict=True):
        cv2.polylines(picture, [outline], isClosed=True, color=colour, thickness=2, lineType=cv2.LINE_AA)
    for number, (outline, colour) in enumerate(zip(outlines, colours, strict=True), 1):
        left, middle = (int(value) for value in (outline[0] + outline[3]) // 2)
        _badge(picture, (left - _RADIUS - 3, middle), number, colour)


def _panel(text: Sequence[str], confidence: Sequence[float], colours: list[tuple[int, int, int]]) -> np.ndarray:
    shown = [line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}" for line in text]
    shown = shown or ["no text found"]
    width = max(_text_width(line) for line in shown) + 3 * _MARGIN + 60
    panel = np.full((len(shown) * _ROW + 2 * _MARGIN, width, 3), 255, np.uint8)
    for row, line in enumerate(shown):
        baseline = _MARGIN + row * _ROW + 30
        _write(panel, line, (_MARGIN + 26, baseline), _INK if text else _GREY)
        if text:
            _badge(panel, (_MARGIN + 4, baseline - 8), row + 1, colours[row])
            _write(panel, f"{confidence[row]:.2f}", (width - _MARGIN - 32, baseline), _GREY, _SMALL)
    return panel


def _beside(picture: np.ndarray, panel: np.ndarray) -> np.ndarray:
    """Return both on a white page, each in the middle of its height."""
    height = max(picture.shape[0], panel.shape[0])
    page = np.full((height, picture.shape[1] + panel.shape[1], 3), 255, np.uint8)
    left = 0
    for part in (picture, panel):
        top = (height - part.shape[0]) // 2
        page[top : top + part.shape[0], left : left + part.shape[1]] = part
        left += part.shape[1]
    return page


def _badge(canvas: np.ndarray, centre: tuple[int, int], number: int, colour: tuple[int, int, int]) -> None:
    cv2.circle(canvas, centre, _RADIUS, colour, thickness=-1, lineType=cv2.LINE_AA)
    label = str(number)
    offset = _text_width(label, _SMALL) // 2
    _write(canvas, label, (centre[0] - offset, centre[1] + 6), _WHITE, _SMALL)


def _write(
    canvas: np.ndarray, text: str, origin: tuple[int, int], colour: tuple[int, int, int], size: int = _TEXT
) -> None:
    cv2.putText(canvas, text, origin, colour, cv2.FontFace(_FONT), size)


def _text_width(text: str, size: int = _TEXT) -> int:
    return int(cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace(_FONT), size)[2])
