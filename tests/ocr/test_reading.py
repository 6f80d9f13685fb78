"""The whole graph on the demo's picture, and the strips' graph by itself."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import pytest

from graphmesh.cli.ocr import PICTURE
from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.core.tensor import Tensor

    Encode = Callable[..., bytes]


class Chain(Protocol):
    """The demo's models and graphs in this process."""

    def call(self, name: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what a model or graph answers."""

    def read(self, image: bytes) -> tuple[list[str], Tensor, Tensor]:
        """Return the lines of a picture, their confidences and their boxes."""


def likeness(read: list[str], expected: tuple[str, ...]) -> float:
    """Return the share of characters that agree, 0 to 1."""
    return SequenceMatcher(None, "\n".join(read), "\n".join(expected), autojunk=False).ratio()


def test_reads_the_page(chain: Chain, lines: tuple[str, ...]) -> None:
    """All seven lines are found in order, most of them letter by letter, the whole at least 95 % alike."""
    text, confidence, boxes = chain.read(PICTURE.read_bytes())
    assert len(text) == 7
    assert sum(got == wanted for got, wanted in zip(text, lines, strict=True)) >= 5
    assert likeness(text, lines) >= 0.95
    assert confidence.min() > 0.8
    assert np.all(np.diff(boxes.mean(axis=1)[:, 1]) > 10)
    assert boxes[0, 1, 0] == pytest.approx(291, abs=6)  # the heading's end
    assert np.allclose(boxes[1:5, 1, 0], 377, atol=6)  # the justified lines' ends


@pytest.mark.parametrize("name", ["grey", "transparent", "jpeg", "enlarged"])
def test_reads_other_forms(chain: Chain, page: np.ndarray, encode: Encode, lines: tuple[str, ...], name: str) -> None:
    """Grey, transparent, compressed and large pictures read nearly as well."""
    data = {
        "grey": lambda: encode(page[:, :, 0]),
        "transparent": lambda: encode(np.dstack((page, np.full(page.shape[:2], 255, np.uint8)))),
        "jpeg": lambda: encode(page, ".jpg"),
        "enlarged": lambda: encode(cv2.resize(page, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)),
    }[name]()
    assert likeness(chain.read(data)[0], lines) >= 0.9


@pytest.mark.parametrize("turns", [1, 3])
def test_text_that_runs_up_or_down(
    chain: Chain, page: np.ndarray, encode: Encode, lines: tuple[str, ...], turns: int
) -> None:
    """A page turned by a quarter either way still gives most of its lines."""
    assert len(set(lines) & set(chain.read(encode(np.rot90(page, turns)))[0])) >= 5


@pytest.mark.parametrize("size", [(300, 300), (1, 1), (3, 2000)])
def test_no_text(chain: Chain, encode: Encode, size: tuple[int, int]) -> None:
    """A picture without text gives no lines, in the shapes of some."""
    text, confidence, boxes = chain.read(encode(np.full((*size, 3), 180, np.uint8)))
    assert text == []
    assert confidence.shape == (0,)
    assert boxes.shape == (0, 4, 2)


def test_corrupt_picture(chain: Chain) -> None:
    """A damaged file is the caller's mistake and says so."""
    with pytest.raises(InvalidRequest, match="damaged or incomplete PNG"):
        chain.read(PICTURE.read_bytes()[:9000])


@pytest.fixture(scope="module")
def strips(chain: Chain, page: np.ndarray) -> Mapping[str, Tensor]:
    """The crops of the page's six printed lines."""
    prepared = chain.call("ocr-detect-prepare", {"pixels": page})
    (chart,) = chain.call("ocr-detect", {"x": prepared["x"]}).values()
    boxes = chain.call("ocr-boxes", {"chart": chart, "size": prepared["size"]})["boxes"]
    printed = boxes[boxes.mean(axis=1)[:, 1] < 150]
    return chain.call("ocr-crop", {"pixels": page, "boxes": printed})


def test_upside_down_strips_are_turned(chain: Chain, strips: Mapping[str, Tensor], lines: tuple[str, ...]) -> None:
    """Strips on their head read as if they were not, and upright ones are left alone."""
    printed = {line.encode() for line in lines}
    turned = strips["crops"].copy()
    for crop, width in zip(turned, strips["widths"], strict=True):
        crop[:, :width] = crop[::-1, :width][:, ::-1].copy()
    assert len(printed & set(chain.call("ocr-line", strips)["text"])) >= 5
    assert len(printed & set(chain.call("ocr-line", {**strips, "crops": turned})["text"])) >= 5


def test_batching_changes_nothing(chain: Chain, strips: Mapping[str, Tensor]) -> None:
    """A strip reads the same by itself as beside longer ones."""
    together = chain.call("ocr-line", strips)
    alone = [
        chain.call("ocr-line", {name: value[row : row + 1] for name, value in strips.items()})
        for row in range(len(strips["widths"]))
    ]
    assert [one["text"][0] for one in alone] == list(together["text"])
    assert np.array([one["confidence"][0] for one in alone]) == pytest.approx(together["confidence"], abs=0.05)
