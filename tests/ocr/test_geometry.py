"""Corners, strips and reading order."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from graphmesh.cli.ocr.geometry import STRIP_HEIGHT, aspect, clockwise, cut_strip, reading_order, sides

WIDE = np.array(((10, 20), (110, 20), (110, 45), (10, 45)), np.float32)


def test_clockwise_for_any_order() -> None:
    """Corners come out clockwise from the top left, however they come in."""
    for corners in itertools.permutations(WIDE):
        assert np.array_equal(clockwise(np.array(corners)), WIDE)


def test_sides_and_aspect() -> None:
    """A box's width and height, and how long its text is for its height, also when it runs down."""
    assert sides(WIDE) == (100, 25)
    assert aspect(WIDE) == 4
    assert aspect(clockwise(WIDE[:, ::-1])) == 4


@pytest.mark.parametrize("scale", [1, 10])
def test_strip_shows_the_box(scale: int) -> None:
    """A strip holds what is in the box, left to right, whether the box is smaller or larger than the strip."""
    pixels = np.zeros((60 * scale, 130 * scale, 3), np.uint8)
    pixels[20 * scale : 45 * scale, 60 * scale : 110 * scale] = 200
    strip = cut_strip(pixels, WIDE * scale)
    assert strip.shape == (STRIP_HEIGHT, 192, 3)
    assert strip[5:-5, :90].max() == 0
    assert strip[5:-5, 102:-5].min() == 200


def test_strip_is_straightened() -> None:
    """A slanted box gives a straight strip."""
    quad = clockwise(cv2.boxPoints(((100, 100), (120, 24), 20.0)))
    pixels = np.zeros((200, 200, 3), np.uint8)
    cv2.fillPoly(pixels, [quad.round().astype(np.int32)], (255, 255, 255))
    assert cut_strip(pixels, quad)[4:-4, 4:-4].min() > 250


def test_text_that_runs_down() -> None:
    """A box much taller than wide is turned so that its top comes first."""
    pixels = np.zeros((200, 100, 3), np.uint8)
    pixels[:60] = 255  # the upper part
    strip = cut_strip(pixels, np.array(((10, 0), (40, 0), (40, 120), (10, 120)), np.float32))
    assert strip.shape == (STRIP_HEIGHT, 192, 3)
    assert strip[:, :90].min() == 255
    assert strip[:, 102:].max() == 0


def test_strip_length_is_bounded() -> None:
    """However long a box is, its strip stays within 50 times its height."""
    long = np.array(((0, 0), (9000, 0), (9000, 4), (0, 4)), np.float32)
    assert cut_strip(np.zeros((4, 9000, 3), np.uint8), long).shape == (STRIP_HEIGHT, 2400, 3)


def test_reading_order() -> None:
    """Rows run from the top, and boxes in a row from the left even when the left one hangs lower."""
    places = [(300, 104), (10, 110), (10, 10), (150, 160), (250, 12)]
    boxes = np.array([WIDE - WIDE[0] + place for place in places], np.float32)
    assert reading_order(boxes) == [2, 4, 1, 0, 3]


def test_reading_order_of_nothing() -> None:
    """No boxes have no order."""
    assert reading_order(np.zeros((0, 4, 2), np.float32)) == []
