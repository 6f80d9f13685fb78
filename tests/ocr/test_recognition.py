"""Each recognition step by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphmesh.cli.mesh_file import resolve_source
from graphmesh.cli.ocr.recognition import OrientPrepare, Text, Upright

RECOGNISER = resolve_source(
    "wheel://rapidocr-onnxruntime/rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", Path.cwd()
)


def strips(*widths: int) -> tuple[np.ndarray, np.ndarray]:
    """Return strips whose columns hold their own number, padded with 255, and their widths."""
    crops = np.full((len(widths), 48, max(widths, default=1), 3), 255, np.uint8)
    for crop, width in zip(crops, widths, strict=True):
        crop[:, :width] = (np.arange(width) % 250)[None, :, None]
    return crops, np.array(widths, np.int32)


def shown(x: np.ndarray) -> np.ndarray:
    """Return a normalised row of pixels as bytes again."""
    return np.asarray(((x[0, 20] + 1) * 127.5).round().astype(int))


def test_orient_looks_at_start_middle_and_end() -> None:
    """A long strip is looked at three times, as it is; padding never shows."""
    x = OrientPrepare().predict(*strips(240, 60))["x"]
    assert x.shape == (6, 3, 48, 192)
    assert [shown(look)[0] for look in x[:3]] == [0, 24, 48]
    assert np.array_equal(shown(x[5])[:60], np.arange(60))
    assert np.all(x[3:, :, :, 60:] == 0)


def test_upright_turns_what_is_surely_turned() -> None:
    """A strip is turned by 180 degrees when the mean of its three looks says so, without its padding."""
    turned = np.array([(0, value) for value in (1, 1, 0.5, 1, 1, 0)], np.float32)
    x = Upright().predict(*strips(100, 100), turned)["x"]
    assert shown(x[0])[0] == 99
    assert shown(x[1])[0] == 0


def test_upright_pads_to_its_own_widest() -> None:
    """The recogniser's input is as wide as the widest strip of the batch, and never narrower than 320."""
    crops, widths = strips(100, 400, 500)
    not_turned = np.zeros((6, 2), np.float32)
    assert Upright().predict(crops[:2], widths[:2], not_turned)["x"].shape == (2, 3, 48, 400)
    alone = Upright().predict(crops[:1], widths[:1], not_turned[:3])["x"]
    assert alone.shape == (1, 3, 48, 320)
    assert np.all(alone[:, :, :, 100:] == 0)


def test_no_strips() -> None:
    """No strips pass through every step in the shapes of some."""
    crops, widths = strips()
    assert OrientPrepare().predict(crops, widths)["x"].shape == (0, 3, 48, 192)
    assert Upright().predict(crops, widths, np.zeros((0, 2), np.float32))["x"].shape == (0, 3, 48, 320)
    read = Text(recogniser=RECOGNISER).predict(np.zeros((0, 40, 6625), np.float32))
    assert read["text"].shape == read["confidence"].shape == (0,)
    assert read["text"].dtype == object
    assert read["confidence"].dtype == np.float32


@pytest.fixture(scope="module")
def text() -> Text:
    """A loaded decoder."""
    model = Text(recogniser=RECOGNISER)
    model.load()
    return model


def columns(text: Text, written: str, probability: float = 0.8) -> np.ndarray:
    """Return probabilities of a row whose columns say ``written``; ``_`` is blank."""
    known = {character: index for index, character in enumerate(text._characters)}
    row = np.zeros((len(written), len(known)), np.float32)
    row[np.arange(len(written)), [0 if character == "_" else known[character] for character in written]] = probability
    return row


def test_characters_match_the_recogniser(text: Text) -> None:
    """There is a character for each of the recogniser's 6625 classes: blank first, space last."""
    assert text._characters.shape == (6625,)
    assert text._characters[0] == ""
    assert text._characters[-1] == " "


def test_greedy_decoding(text: Text) -> None:
    """Equal neighbours join, blanks separate and vanish, spaces stay."""
    rows = np.stack([columns(text, "HH_el_lo__ "), columns(text, "_中中_文______")])
    assert text.predict(rows)["text"].tolist() == ["Hello ", "中文"]


def test_confidence(text: Text) -> None:
    """Confidence is the mean over the characters that count, not over blanks or repeats; nothing read has none."""
    row = columns(text, "ab_", 0.5)
    row[1] *= 1.8
    read = text.predict(np.stack([row, columns(text, "___")]))
    assert read["confidence"] == pytest.approx([0.7, 0])
    assert read["text"].tolist() == ["ab", ""]
