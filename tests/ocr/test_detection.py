"""Each detection step by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from graphmesh.cli.ocr.detection import Boxes, Crop, Decode, DetectPrepare, Lines
from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

BOX = np.array(((10, 20), (110, 20), (110, 45), (10, 45)), np.float32)


def test_decode(page: np.ndarray, encode: Callable[..., bytes]) -> None:
    """Decode gives the file's pixels, up to the limit it was made with."""
    assert np.array_equal(Decode().predict(encode(page))["pixels"], page)
    with pytest.raises(InvalidRequest, match="1 to 1000 pixels, got 384 x 191"):
        Decode(max_pixels=1000).predict(encode(page))


@pytest.mark.parametrize(
    ("size", "prepared"),
    [
        ((191, 384), (288, 576)),  # small: enlarged, one and a half times
        ((3000, 4000), (704, 960)),  # large: the longer side becomes 960
        ((1, 1), (32, 32)),
        ((10, 20_000), (32, 960)),
        ((20_000, 10), (960, 32)),
    ],
)
def test_prepare_sizes(size: tuple[int, int], prepared: tuple[int, int]) -> None:
    """Any picture becomes one of whole multiples of 32, at most 960 long; its own size is kept beside it."""
    answer = DetectPrepare().predict(np.zeros((*size, 3), np.uint8))
    assert answer["x"].shape == (1, 3, *prepared)
    assert answer["x"].dtype == np.float32
    assert answer["size"].tolist() == list(size)
    assert answer["size"].dtype == np.int32


def test_prepare_normalises() -> None:
    """Channels are normalised with the means and deviations the network was trained with."""
    x = DetectPrepare().predict(np.full((64, 64, 3), 255, np.uint8))["x"]
    assert x[0, :, 5, 5] == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rel=1e-5)


def chart(*rectangles: tuple[int, int, int, int], value: float = 0.9) -> np.ndarray:
    """Return a probability map with rectangles (left, top, width, height) of certain text."""
    drawn = np.zeros((1, 1, 96, 192), np.float32)
    for left, top, width, height in rectangles:
        drawn[0, 0, top : top + height, left : left + width] = value
    return drawn


SAME = np.array((96, 192), np.int32)


def test_box_is_grown() -> None:
    """A rectangle of w by h grows by 1.5 w h / (w + h) in both directions, about its middle."""
    found = Boxes().predict(chart((40, 30, 81, 21)), SAME)
    margin = 1.5 * 80 * 20 / 100 / 2
    left, top, right, bottom = 40 - margin, 30 - margin, 120 + margin, 50 + margin
    assert found["boxes"][0] == pytest.approx(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
    assert found["scores"] == pytest.approx([0.9])
    assert found["boxes"].dtype == found["scores"].dtype == np.float32


def test_boxes_are_in_the_pictures_pixels() -> None:
    """Boxes are scaled from the map to the picture, each axis by itself."""
    same = Boxes().predict(chart((40, 30, 81, 21)), SAME)["boxes"]
    doubled = Boxes().predict(chart((40, 30, 81, 21)), np.array((96 * 3, 192 * 2), np.int32))["boxes"]
    assert doubled == pytest.approx(same * (2, 3))


def test_boxes_stay_inside() -> None:
    """A box never leaves the picture."""
    boxes = Boxes().predict(chart((0, 0, 192, 40)), SAME)["boxes"]
    assert boxes.min() == 0
    assert boxes[:, :, 0].max() == 192


def test_slanted_box() -> None:
    """Slanted text gets a slanted box."""
    drawn = chart()
    cv2.fillPoly(drawn[0, 0], [np.array(((30, 30), (150, 50), (148, 64), (28, 44)))], 0.9)
    quad = Boxes().predict(drawn, SAME)["boxes"][0]
    assert np.degrees(np.arctan2(*(quad[1] - quad[0])[::-1])) == pytest.approx(9.5, abs=1)


def test_unlikely_and_tiny_boxes_are_dropped() -> None:
    """Regions of a low mean probability or of a pixel or two are no text."""
    assert len(Boxes().predict(chart((40, 30, 81, 21), value=0.35), SAME)["boxes"]) == 0
    assert len(Boxes().predict(chart((40, 30, 81, 2)), SAME)["boxes"]) == 0


def test_longest_come_last_and_best_are_kept() -> None:
    """Boxes are ordered by the length of their text; beyond the limit the most certain stay."""
    drawn = np.maximum(chart((5, 5, 150, 12)), chart((5, 50, 40, 12), value=0.8))
    assert Boxes().predict(drawn, SAME)["scores"] == pytest.approx([0.8, 0.9])
    assert Boxes(max_boxes=1).predict(drawn, SAME)["scores"] == pytest.approx([0.9])


def test_no_boxes() -> None:
    """A map without text gives no boxes, in the shapes of some."""
    found = Boxes().predict(chart(), SAME)
    assert found["boxes"].shape == (0, 4, 2)
    assert found["scores"].shape == (0,)
    assert found["boxes"].dtype == found["scores"].dtype == np.float32


def test_crop_pads_to_the_widest() -> None:
    """Strips share a height of 48 and the widest strip's width; the padding is zero."""
    pixels = np.full((100, 200, 3), 77, np.uint8)
    wider = np.array(((0, 0), (150, 0), (150, 25), (0, 25)), np.float32)
    crops = Crop().predict(pixels, np.array((BOX, wider)))
    assert crops["widths"].tolist() == [192, 288]
    assert crops["crops"].shape == (2, 48, 288, 3)
    assert np.all(crops["crops"][0, :, :192] == 77)
    assert np.all(crops["crops"][0, :, 192:] == 0)
    assert crops["widths"].dtype == np.int32


def test_crop_of_nothing() -> None:
    """No boxes give no strips."""
    crops = Crop().predict(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4, 2), np.float32))
    assert crops["crops"].shape == (0, 48, 1, 3)
    assert crops["widths"].shape == (0,)


def test_lines_are_ordered_and_sure() -> None:
    """Lines come in reading order; uncertain and empty ones are dropped, with their boxes."""
    boxes = BOX + np.array([(0, 200), (0, 100), (0, 0), (0, 50)], np.float32)[:, None]
    text = np.array(["last", "unsure", "first", ""], object)
    lines = Lines().predict(text, np.array((0.9, 0.4, 0.8, 0.99), np.float32), boxes)
    assert lines["text"].tolist() == ["first", "last"]
    assert lines["confidence"] == pytest.approx([0.8, 0.9])
    assert np.array_equal(lines["boxes"], boxes[[2, 0]])


def test_no_lines() -> None:
    """Nothing read gives no lines, in the shapes of some."""
    lines = Lines().predict(np.array([], object), np.zeros(0, np.float32), np.zeros((0, 4, 2), np.float32))
    assert lines["text"].shape == lines["confidence"].shape == (0,)
    assert lines["boxes"].shape == (0, 4, 2)
    assert lines["text"].dtype == object
