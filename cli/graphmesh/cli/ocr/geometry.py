"""Boxes around text: four corners ``(4, 2)`` as x and y in pixels, clockwise from the top left."""

import cv2
import numpy as np

__all__ = ["STRIP_HEIGHT", "aspect", "clockwise", "cut_strip", "reading_order", "sides"]

STRIP_HEIGHT = 48
"""What the recogniser reads."""

_MAX_LENGTH = 50 * STRIP_HEIGHT  # more than a hundred letters; longer strips are squeezed
_DOWNWARD = 1.5  # a box this much taller than wide holds text running down


def clockwise(corners: np.ndarray) -> np.ndarray:
    """Return four corners as FP32, ordered from the top left: of the two on the left the upper one."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.array((left[0], right[0], right[1], left[1]), np.float32)


def sides(quad: np.ndarray) -> tuple[float, float]:
    """Return a box's width and height: the longer of each pair of opposite edges."""
    edges = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    return float(max(edges[0], edges[2])), float(max(edges[1], edges[3]))


def aspect(quad: np.ndarray) -> float:
    """Return how many times longer than high a box's text is."""
    width, height = sides(quad)
    return height / width if _runs_down(width, height) else width / height


def cut_strip(pixels: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Cut a box out as UINT8 ``(48, length, 3)``, text running to the right.

    A small box is enlarged in the step that straightens it, which blurs once instead of twice; a large one is
    straightened at its own size and then averaged down, which keeps thin strokes.
    """
    width, height = sides(quad)
    down = _runs_down(width, height)
    scale = max(1.0, STRIP_HEIGHT / (width if down else height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    frame = np.array(((0, 0), (size[0], 0), size, (0, size[1])), np.float32)
    transform = cv2.getPerspectiveTransform(quad, frame)
    strip = cv2.warpPerspective(pixels, transform, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if down:
        strip = cv2.rotate(strip, cv2.ROTATE_90_COUNTERCLOCKWISE)
    length = min(_MAX_LENGTH, max(1, round(strip.shape[1] * STRIP_HEIGHT / strip.shape[0])))
    return np.asarray(cv2.resize(strip, (length, STRIP_HEIGHT), interpolation=cv2.INTER_AREA))


def reading_order(boxes: np.ndarray) -> list[int]:
    """Return the indexes of boxes ``(N, 4, 2)`` row by row, each row from the left.

    From the top, a box joins the row of the one before when its centre lies within half the height of that row's first.
    """
    centres = boxes.mean(axis=1)
    rows: list[list[int]] = []
    for index in map(int, np.argsort(centres[:, 1], kind="stable")):
        if rows and centres[index, 1] - centres[rows[-1][0], 1] < sides(boxes[rows[-1][0]])[1] / 2:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [index for row in rows for index in sorted(row, key=lambda member: float(centres[member, 0]))]


def _runs_down(width: float, height: float) -> bool:
    return height >= _DOWNWARD * width
