"""The demo's content: reading the text in a picture, as models and two graphs.

    ocr        decode > prepare > detect* > boxes > crop > read (a map over the crops) > lines
    ocr-line   orient-prepare > orient* > upright > read* > text

Steps with a star are the PP-OCR networks of the ``rapidocr-onnxruntime`` package, used as data; the others are the
classes of `detection` and `recognition`, written from the published method (PP-OCR: arXiv 2009.09941; differentiable
binarisation: arXiv 1911.08947). `mesh.yaml` puts them on two workers.
Pictures are blue, green, red, as OpenCV reads them and as the networks were trained.
"""

from pathlib import Path

__all__ = ["MESH", "PICTURE"]

MESH = Path(__file__).with_name("mesh.yaml")
"""The demo's mesh: two workers and both graphs."""

PICTURE = Path(__file__).with_name("picture.png")
"""The demo's picture, a photographed page; `NOTICE.md` names its source and licence."""
