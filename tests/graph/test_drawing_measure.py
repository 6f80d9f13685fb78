"""How wide text is taken to be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graphmesh.graph.drawing.measure import shorten, text_width, wrap

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=200)


def test_widths_are_on_the_wide_side() -> None:
    """Real fonts are narrower: DejaVu Sans takes 56.3 pixels for this at 11.5, and Chinese is as wide as high."""
    assert 56.3 <= text_width("detect-large", 11.5) < 90
    assert text_width("检测", 10) >= 20
    assert text_width("abc", 10, mono=True) >= 3 * 6.02


@given(TEXT, st.floats(20, 400), st.booleans())
def test_what_is_shortened_fits(text: str, width: float, mono: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """Text that fits stays as it is; other text is cut to fit and says so."""
    shown = shorten(text, 10, width, mono=mono)
    assert text_width(shown, 10, mono=mono) <= width
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


@given(TEXT, st.integers(1, 4))
def test_what_is_wrapped_fits(text: str, lines: int) -> None:
    """Wrapped text has no more lines than asked for, each fits, and all words are there unless it is cut."""
    shown = wrap(text, 10, 100, lines=lines)
    assert len(shown) <= lines
    assert all(text_width(line, 10) <= 100 for line in shown)
    assert any("…" in line for line in shown) or " ".join(shown).split() == text.split()
