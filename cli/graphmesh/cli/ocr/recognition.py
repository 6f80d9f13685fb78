"""Reading text: strips of height 48 turned the right way up, and the recogniser's answer decoded.

The recogniser gives, for every eighth column, a probability for each character and for none ("blank"). Greedy CTC
decoding takes the best of each column, joins equal neighbours and drops blanks. Not done: beam search, dictionaries.
"""

from typing import Annotated, TypedDict

import numpy as np
import onnxruntime

from graphmesh.cli.ocr.geometry import STRIP_HEIGHT

__all__ = ["OrientPrepare", "Text", "Upright"]

Strips = Annotated[np.ndarray, "UINT8 (N, 48, S, 3)"]
Widths = Annotated[np.ndarray, "INT32 (N,)"]

_LOOK_WIDTH = 192  # what the orientation network takes
_LOOKS = 3  # start, middle, end
_READ_WIDTH = 320  # what the recogniser was trained on; shorter strips are padded


class Looks(TypedDict):
    """What `OrientPrepare` gives: three looks at each strip, one after another."""

    x: Annotated[np.ndarray, "FP32 (M, 3, 48, 192)"]


class OrientPrepare:
    """Model ``ocr-orient-prepare``: strips to the orientation network's input.

    The network sees a width of 192 only. A long line squeezed into that misleads it, so it looks at the start, the
    middle and the end of each strip as they are.
    """

    def predict(self, crops: Strips, widths: Widths) -> Looks:
        """Return three normalised looks at each strip; short strips are padded."""
        looks = [look for strip in _strips(crops, widths) for look in _looks(strip)]
        return {"x": _normalised(looks, _LOOK_WIDTH)}


class Turned(TypedDict):
    """What `Upright` gives; as wide as its own widest strip, whatever the picture's widest is."""

    x: Annotated[np.ndarray, "FP32 (N, 3, 48, X)"]


class Upright:
    """Model ``ocr-upright``: strips to the recogniser's input, those that lie on their head turned by 180 degrees."""

    def __init__(self, *, threshold: float = 0.7) -> None:
        self._threshold = threshold

    def predict(self, crops: Strips, widths: Widths, turned: Annotated[np.ndarray, "FP32 (M, 2)"]) -> Turned:
        """Turn the strips whose three looks agree: the mean of the second column exceeds the threshold."""
        turn = turned[:, 1].reshape(-1, _LOOKS).mean(axis=1) > self._threshold
        strips = zip(_strips(crops, widths), turn, strict=True)
        upright = [strip[::-1, ::-1] if upside_down else strip for strip, upside_down in strips]
        return {"x": _normalised(upright, int(widths.max(initial=_READ_WIDTH)))}


class Reading(TypedDict):
    """What `Text` gives: one text a strip, and the mean probability of its characters (0 for no text)."""

    text: Annotated[np.ndarray, "TEXT (N,)"]
    confidence: Annotated[np.ndarray, "FP32 (N,)"]


class Text:
    """Model ``ocr-text``: the recogniser's probabilities to text.

    Args:
        recogniser: File of the recogniser; its ONNX metadata ``character`` lists one character a line.
    """

    def __init__(self, *, recogniser: str) -> None:
        self._recogniser = recogniser
        self._characters = np.array([], object)

    def load(self) -> None:
        """Read the characters: blank comes first, space last, and neither is in the list."""
        onnxruntime.disable_telemetry_events()
        metadata = onnxruntime.InferenceSession(self._recogniser, providers=["CPUExecutionProvider"]).get_modelmeta()
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


def _strips(crops: np.ndarray, widths: np.ndarray) -> list[np.ndarray]:
    """Return the strips without their padding, as views."""
    return [crop[:, :width] for crop, width in zip(crops, widths, strict=True)]


def _looks(strip: np.ndarray) -> list[np.ndarray]:
    last = max(0, strip.shape[1] - _LOOK_WIDTH)
    return [strip[:, start : start + _LOOK_WIDTH] for start in (0, last // 2, last)]


def _normalised(strips: list[np.ndarray], width: int) -> np.ndarray:
    """Return ``(N, 3, 48, width)`` in -1..1; padding is 0, as in training."""
    x = np.zeros((len(strips), 3, STRIP_HEIGHT, width), np.float32)
    for row, strip in zip(x, strips, strict=True):
        row[:, :, : strip.shape[1]] = strip.transpose(2, 0, 1) / np.float32(127.5) - 1
    return x
