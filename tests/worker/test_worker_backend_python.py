"""Python classes: what `predict` may take and give, and errors that say what to change."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graphmesh.core.errors import LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
import dataclasses
from collections.abc import Iterator
from typing import Annotated, TypedDict
import numpy as np
from graphmesh.worker import Context, batched

class Point(TypedDict):
    x: float
    name: str

@dataclasses.dataclass
class Pixels:
    image: Annotated[np.ndarray, "uint8 (N, H, W)"]
    scale: float

@dataclasses.dataclass
class Answer:
    total: float
    labels: list[str]
"""


def _load(tmp_path: Path, body: str) -> Any:  # noqa: ANN401 - any model
    path = tmp_path / "net.py"
    path.write_text(HEAD + textwrap.dedent(body))
    return load_model(ModelConfig(name="m", source=f"{path}:Net", backend="python"))


def test_a_dataclass_as_inputs(tmp_path: Path) -> None:
    """The fields of a dataclass are the inputs, those of another the outputs."""
    model = _load(
        tmp_path,
        """
        class Net:
            def predict(self, pixels: Pixels) -> Answer:
                return Answer(total=float(pixels.image.sum() * pixels.scale), labels=["a", "é"])
        """,
    )
    assert [str(spec) for spec in model.signature.inputs] == ["image: UINT8 (N, H, W)", "scale: FP64 ()"]
    assert [str(spec) for spec in model.signature.outputs] == ["total: FP64 ()", "labels: TEXT (?,)"]
    outputs = model.run({"image": np.ones((1, 2, 3), np.uint8), "scale": np.array(2.0)})
    model.signature.check_outputs(outputs)
    assert (outputs["total"].item(), outputs["labels"].tolist()) == (12.0, [b"a", "é".encode()])


def test_a_typed_dict_as_inputs(tmp_path: Path) -> None:
    """The fields of a TypedDict are the inputs; text arrives as `str`."""
    model = _load(
        tmp_path,
        """
        class Net:
            def predict(self, point: Point, context: Context) -> str:
                return f"{point['name']} {point['x']} {context}"
        """,
    )
    outputs = model.run({"x": np.array(1.5), "name": np.array(b"p", dtype=object)}, ["the context"])
    assert outputs["output"].item() == b"p 1.5 the context"


def test_a_generator_gives_records(tmp_path: Path) -> None:
    """A generator may yield records; closing it closes the model's."""
    model = _load(
        tmp_path,
        """
        class Net:
            closed = False
            def predict(self, n: int) -> Iterator[Point]:
                try:
                    for i in range(n):
                        yield {"x": i, "name": str(i)}
                finally:
                    Net.closed = True
        """,
    )
    assert model.signature.streaming
    answers = model.run({"n": np.array(3)})
    assert next(answers)["name"].item() == b"0"
    answers.close()
    assert type(model._instance).closed


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("async def load(self): ...", "load must not be async: it runs on a thread of its own"),
        ("def predict(self, *xs: int) -> int: ...", r"predict must name every input, got \*xs"),
        ("def predict(self, x: int): ...", "predict must annotate what it returns: a TypedDict, a dataclass"),
        ("def predict(self, x: 'Missing') -> int: ...", "the annotations of predict cannot be read: .*Missing"),
        ('def predict(self, x: Annotated[np.ndarray, "FP31 (N,)"]) -> int: ...', "'x' of predict: a type must look"),
        ("def predict(self, x: dict) -> int: ...", "'x' of predict must be annotated as Annotated"),
        ("def predict(self, x: int) -> Iterator[int]:\n        return iter([])", "so it must be a generator"),
        ("def predict(self, x: int) -> int:\n        yield x", "must be annotated as Iterator"),
        ("def predict(self, x: int, c: list[Context]) -> int: ...", "'c' of predict must be annotated as Context"),
        (
            "@batched()\n    def predict(self, x: int, c: Context) -> int: ...",
            r"'c' of predict must be annotated as list\[Context\], since it is batched",
        ),
        (
            "@batched()\n    def predict(self, x: int) -> Iterator[int]:\n        yield x",
            "predict cannot both be batched and stream",
        ),
    ],
)
def test_errors_say_what_to_change(tmp_path: Path, body: str, said: str) -> None:
    """What cannot be served is refused when it is loaded, by the parameter and what is understood."""
    usual = "" if "def predict" in body else "\n    def predict(self, x: int) -> int: ..."
    with pytest.raises(LoadFailed, match=said):
        _load(tmp_path, f"class Net:\n    {body}{usual}\n")
