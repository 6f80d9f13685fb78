"""Reading text: strips of height 48 turned the right way up, and the recogniser's answer decoded.

The recogniser gives, for every eighth column, a probability for each character and for none ("blank"). Greedy CTC
decoding takes the best of each column, joins equal neighbours and drops blanks. Not done: beam search, dictionaries.
"""

from pathlib import Path
from typing import Annotated, TypedDict

import cv2
import numpy as np
import onnxruntime

from graphmesh.cli.mesh_file import resolve_source
from graphmesh.cli.ocr.geometry import STRIP_HEIGHT

__all__ = ["OrientPrepare", "Text", "Upright"]

Strips = Annotated[np.ndarray, "UINT8 (N, 48, W, 3)"]
Widths = Annotated[np.ndarray, "INT32 (N,)"]
Input = Annotated[np.ndarray, "FP32 (N, 3, 48, X)"]

_ORIENT_WIDTH = 192  # what the orientation network looks at
_READ_WIDTH = 320  # what the recogniser was trained on; shorter strips are padded


class Prepared(TypedDict):
    """What `OrientPrepare` and `Upright` give."""

    x: Input


class OrientPrepare:
    """Model ``ocr-orient-prepare``: strips to the orientation network's input."""

    def predict(self, crops: Strips, widths: Widths) -> Prepared:
        """Squeeze long strips to a width of 192, pad short ones, and normalise to -1..1."""
        strips = [crop[:, :width] for crop, width in zip(crops, widths, strict=True)]
        return {"x": _normalised([_squeezed(strip) for strip in strips], _ORIENT_WIDTH)}


class Upright:
    """Model ``ocr-upright``: strips to the recogniser's input, those that lie on their head turned by 180 degrees."""

    def __init__(self, *, threshold: float = 0.9) -> None:
        self._threshold = threshold

    def predict(self, crops: Strips, widths: Widths, turned: Annotated[np.ndarray, "FP32 (N, 2)"]) -> Prepared:
        """Turn where the second column of ``turned`` is sure; the batch becomes as wide as its own widest strip."""
        strips = [crop[:, :width] for crop, width in zip(crops, widths, strict=True)]
        upright = [
            strip[::-1, ::-1] if probability > self._threshold else strip
            for strip, probability in zip(strips, turned[:, 1], strict=True)
        ]
        return {"x": _normalised(upright, int(widths.max(initial=_READ_WIDTH)))}


class Reading(TypedDict):
    """What `Text` gives: one text a strip, and the mean probability of its characters (0 for no text)."""

    text: Annotated[np.ndarray, "TEXT (N,)"]
    confidence: Annotated[np.ndarray, "FP32 (N,)"]


class Text:
    """Model ``ocr-text``: the recogniser's probabilities to text.

    Args:
        recogniser: Source of the recogniser; its ONNX metadata ``character`` lists one character a line.
    """

    def __init__(self, *, recogniser: str) -> None:
        self._recogniser = recogniser
        self._characters = np.array([], object)

    def load(self) -> None:
        """Read the characters: blank comes first, space last, and neither is in the list."""
        path = resolve_source(self._recogniser, Path.cwd())
        metadata = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta()
        listed = metadata.custom_metadata_map["character"].split("\n")
        self._characters = np.array(["", *listed, " "], object)

    def predict(self, probabilities: Annotated[np.ndarray, "FP32 (N, T, K)"]) -> Reading:
        """Decode greedily."""
        best = probabilities.argmax(axis=2)
        certainty = probabilities.max(axis=2)
        fresh = np.diff(best, axis=1, prepend=0) != 0
        kept = fresh & (best != 0)
        texts = ["".join(self._characters[row[keep]]) for row, keep in zip(best, kept, strict=True)]
        means = [row[keep].mean() if keep.any() else 0.0 for row, keep in zip(certainty, kept, strict=True)]
        return {"text": np.array(texts, object), "confidence": np.array(means, np.float32)}


def _squeezed(strip: np.ndarray) -> np.ndarray:
    if strip.shape[1] <= _ORIENT_WIDTH:
        return strip
    return np.asarray(cv2.resize(strip, (_ORIENT_WIDTH, STRIP_HEIGHT), interpolation=cv2.INTER_AREA))


def _normalised(strips: list[np.ndarray], width: int) -> np.ndarray:
    """Return ``(N, 3, 48, width)`` in -1..1; padding is 0, as in training."""
    x = np.zeros((len(strips), 3, STRIP_HEIGHT, width), np.float32)
    for row, strip in zip(x, strips, strict=True):
        row[:, :, : strip.shape[1]] = strip.transpose(2, 0, 1) / np.float32(127.5) - 1
    return x
