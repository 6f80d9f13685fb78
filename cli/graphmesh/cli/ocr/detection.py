"""Finding text: from a picture to boxes, from boxes to strips, and from read strips to lines.

Boxes come from the network's probability map by differentiable binarisation's post-processing: threshold, contours,
smallest rectangle, mean probability as score, then growth by area x ratio / perimeter, since the network is trained to
mark shrunken text. Growing a rectangle with round corners and taking the smallest rectangle again is the same
rectangle with every side moved outwards, so no polygon offsetting is needed.
Not done: curved text (a box is a rectangle), columns (lines are read across the whole width).
"""

from typing import Annotated, TypedDict

import cv2
import numpy as np

from graphmesh.cli.ocr.geometry import STRIP_HEIGHT, aspect, clockwise, cut_strip, reading_order, sides
from graphmesh.cli.ocr.pictures import decode_picture

__all__ = ["Boxes", "Crop", "Decode", "DetectPrepare", "Lines"]

Pixels = Annotated[np.ndarray, "UINT8 (H, W, 3)"]
Quads = Annotated[np.ndarray, "FP32 (N, 4, 2)"]
Size = Annotated[np.ndarray, "INT32 (2,)"]

_STRIDE = 32  # the detector halves its input five times
_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)
_MIN_SIDE = 3  # in pixels: thinner is no text


class Decoded(TypedDict):
    """What `Decode` gives."""

    pixels: Pixels


class Decode:
    """Model ``ocr-decode``: a PNG or JPEG file to pixels."""

    def __init__(self, *, max_pixels: int = 50_000_000) -> None:
        self._max_pixels = max_pixels

    def predict(self, image: bytes) -> Decoded:
        """Return the pixels, or raise InvalidRequest saying what is wrong with the file."""
        return {"pixels": decode_picture(image, max_pixels=self._max_pixels)}


class Prepared(TypedDict):
    """What `DetectPrepare` gives: the network's input, and the picture's own height and width."""

    x: Annotated[np.ndarray, "FP32 (1, 3, Y, X)"]
    size: Size


class DetectPrepare:
    """Model ``ocr-detect-prepare``: pixels to the detector's input."""

    def __init__(self, *, max_side: int = 960, max_scale: float = 1.5) -> None:
        self._max_side = max_side
        self._max_scale = max_scale

    def predict(self, pixels: Pixels) -> Prepared:
        """Scale the longer side towards ``max_side``, the sides to multiples of 32, and normalise the channels."""
        height, width = pixels.shape[:2]
        scale = min(self._max_side / max(height, width), self._max_scale)
        target = (_multiple(width * scale), _multiple(height * scale))
        resized = cv2.resize(pixels, target, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        x = (resized.astype(np.float32) / 255 - _MEAN) / _DEVIATION
        return {"x": x.transpose(2, 0, 1)[None], "size": np.array((height, width), np.int32)}


class Found(TypedDict):
    """What `Boxes` gives; corners run clockwise from the top left."""

    boxes: Quads
    scores: Annotated[np.ndarray, "FP32 (N,)"]


class Boxes:
    """Model ``ocr-boxes``: the detector's probability map to boxes in the picture's pixels."""

    def __init__(
        self, *, threshold: float = 0.3, min_score: float = 0.4, grow: float = 1.5, max_boxes: int = 500
    ) -> None:
        self._threshold = threshold
        self._min_score = min_score
        self._grow = grow
        self._max_boxes = max_boxes

    def predict(self, chart: Annotated[np.ndarray, "FP32 (1, 1, Y, X)"], size: Size) -> Found:
        """Return the best boxes, longest text last, so that neighbours make batches of similar width."""
        found = sorted(self._find(chart[0, 0], size), key=lambda box: -box[1])[: self._max_boxes]
        found.sort(key=lambda box: aspect(box[0]))
        quads = np.array([quad for quad, _ in found], np.float32).reshape(-1, 4, 2).clip(0, size[::-1])
        return {"boxes": quads.astype(np.float32), "scores": np.array([score for _, score in found], np.float32)}

    def _find(self, chart: np.ndarray, size: np.ndarray) -> list[tuple[np.ndarray, float]]:
        mask = (chart > self._threshold).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        scale = size[::-1] / chart.shape[::-1]
        boxes = (self._box(chart, contour, scale) for contour in contours)
        return [box for box in boxes if box is not None]

    def _box(self, chart: np.ndarray, contour: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, float] | None:
        centre, (across, down), angle = cv2.minAreaRect(contour)
        if min(across, down) < _MIN_SIDE:
            return None
        score = _mean_inside(chart, cv2.boxPoints((centre, (across, down), angle)))
        margin = across * down * self._grow / (across + down)  # both sides' share of area x grow / perimeter
        quad = clockwise(cv2.boxPoints((centre, (across + margin, down + margin), angle)) * scale)
        return (quad, score) if score >= self._min_score and min(sides(quad)) > _MIN_SIDE else None


class Crops(TypedDict):
    """What `Crop` gives: strips padded on the right to the widest, and the width of each."""

    crops: Annotated[np.ndarray, "UINT8 (N, 48, S, 3)"]
    widths: Annotated[np.ndarray, "INT32 (N,)"]


class Crop:
    """Model ``ocr-crop``: every box as a strip of height 48, straightened."""

    def predict(self, pixels: Pixels, boxes: Quads) -> Crops:
        """Return the strips in the boxes' order."""
        strips = [cut_strip(pixels, quad) for quad in boxes]
        widths = np.array([strip.shape[1] for strip in strips], np.int32)
        crops = np.zeros((len(strips), STRIP_HEIGHT, widths.max(initial=1), 3), np.uint8)
        for crop, strip in zip(crops, strips, strict=True):
            crop[:, : strip.shape[1]] = strip
        return {"crops": crops, "widths": widths}


class Read(TypedDict):
    """What `Lines` gives."""

    text: Annotated[np.ndarray, "TEXT (L,)"]
    confidence: Annotated[np.ndarray, "FP32 (L,)"]
    boxes: Annotated[np.ndarray, "FP32 (L, 4, 2)"]


class Lines:
    """Model ``ocr-lines``: what was read, in reading order, without what is too uncertain."""

    def __init__(self, *, min_confidence: float = 0.5) -> None:
        self._min_confidence = min_confidence

    def predict(
        self,
        text: Annotated[np.ndarray, "TEXT (N,)"],
        confidence: Annotated[np.ndarray, "FP32 (N,)"],
        boxes: Quads,
    ) -> Read:
        """Return the lines from top to bottom, and from left to right where they share a row."""
        sure = [index for index in reading_order(boxes) if text[index] and confidence[index] >= self._min_confidence]
        order = np.array(sure, np.intp)
        return {"text": text[order], "confidence": confidence[order], "boxes": boxes[order]}


def _multiple(side: float) -> int:
    return max(_STRIDE, round(side / _STRIDE) * _STRIDE)


def _mean_inside(chart: np.ndarray, quad: np.ndarray) -> float:
    """Return the mean of the map inside a quadrilateral."""
    left, top, width, height = cv2.boundingRect(quad)
    left, top = max(left, 0), max(top, 0)
    part = chart[top : top + height, left : left + width]
    inside = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(inside, [(quad - (left, top)).astype(np.int32)], 1)
    return float(cv2.mean(part, inside)[0])
