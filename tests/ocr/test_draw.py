"""The result as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from graphmesh.cli.ocr.draw import draw_lines
from graphmesh.cli.ocr.pictures import decode_picture
from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[..., bytes]

BOX = np.array(((100, 100), (300, 100), (300, 140), (100, 140)), np.float32)


def drawn(image: bytes, text: list[str], confidence: list[float], boxes: list[np.ndarray]) -> np.ndarray:
    """Return the drawing's pixels."""
    return decode_picture(draw_lines(image, text, confidence, boxes), max_pixels=10**8)


def test_boxes_and_lines(encode: Encode) -> None:
    """The box is outlined in blue on the image, and the panel on its right has ink in it."""
    grey = encode(np.full((480, 960, 3), 128, np.uint8))
    page = drawn(grey, ["hello"], [0.95], [BOX])
    assert page[132, 232].tolist() == [190, 95, 20]  # the upper edge, moved by the white frame of 32
    assert page[60, 500].tolist() == [128, 128, 128]
    assert page[:, 1030:].min() < 60
    assert drawn(grey, ["hello"], [0.6], [BOX])[132, 232].tolist() == [40, 110, 230]


@pytest.mark.parametrize("size", [(20, 20), (600, 4000), (1, 3000), (3000, 1)])
def test_any_size(encode: Encode, size: tuple[int, int]) -> None:
    """Tiny, huge and very slim images are drawn at a size that can be looked at."""
    page = drawn(encode(np.zeros((*size, 3), np.uint8)), ["中文 text"], [0.5], [BOX])
    assert 100 < page.shape[1] < 2000


def test_many_lines_and_long_ones(encode: Encode) -> None:
    """The panel grows with the lines, and very long lines are cut."""
    page = drawn(encode(np.zeros((50, 50, 3), np.uint8)), ["x" * 5000] * 40, [0.9] * 40, [BOX] * 40)
    assert page.shape[0] > 40 * 30
    assert page.shape[1] < 2000


def test_nothing_read(encode: Encode) -> None:
    """No text still gives a picture, which says so."""
    page = drawn(encode(np.full((100, 100, 3), 9, np.uint8)), [], [], [])
    assert page.shape[0] >= 300
    assert 100 < page[:, 370:].min() < 200  # grey letters


def test_no_picture() -> None:
    """What cannot be decoded cannot be drawn on."""
    with pytest.raises(InvalidRequest, match="PNG or JPEG"):
        draw_lines(b"nothing", [], [], [])
