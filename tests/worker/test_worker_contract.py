"""Annotations of `predict` become a signature, tensors become arguments, results become tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import numpy as np
import pytest

from graphmesh.core.errors import InvalidRequest, InvalidTensor, ModelFailed
from graphmesh.worker.hosting.contract import read_contract

Image = Annotated[np.ndarray, "UINT8 (H, W, 3)"]


class Boxes(TypedDict):
    """Named outputs."""

    boxes: Annotated[np.ndarray, "float32 (N, 4, 2)"]
    texts: Annotated[np.ndarray, "TEXT (N,)"]


@dataclass
class Point:
    """Named outputs as a dataclass."""

    x: float
    y: int


def _show(contract: Any) -> tuple[list[str], list[str]]:  # noqa: ANN401
    signature = contract.signature
    return [str(spec) for spec in signature.inputs], [str(spec) for spec in signature.outputs]


def _objects(*values: bytes) -> Any:  # noqa: ANN401
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def test_arrays_scalars_and_lists() -> None:
    """Every documented annotation has its tensor type."""

    def predict(  # type: ignore[empty-body]
        *, image: Image, s: str, b: bytes, i: int, f: float, o: bool, ls: list[str], li: list[int]
    ) -> Boxes: ...

    inputs, outputs = _show(read_contract(predict))
    assert inputs == [
        "image: UINT8 (H, W, 3)",
        "s: TEXT ()",
        "b: BYTES ()",
        "i: INT64 ()",
        "f: FP64 ()",
        "o: BOOL ()",
        "ls: TEXT (?,)",
        "li: INT64 (?,)",
    ]
    assert outputs == ["boxes: FP32 (N, 4, 2)", "texts: TEXT (N,)"]


def test_single_output_is_called_output() -> None:
    """A return annotation that names nothing is one output called output."""

    def predict(x: float) -> float:
        return x

    assert _show(read_contract(predict))[1] == ["output: FP64 ()"]


def test_arguments_are_converted() -> None:
    """Scalars, lists and text arrive as Python values, arrays as they are."""

    def predict(image: Image, s: str, n: int, words: list[str]) -> Point: ...  # type: ignore[empty-body]

    contract = read_contract(predict)
    image = np.zeros((1, 1, 3), dtype=np.uint8)
    text = np.array("né".encode(), dtype=object)
    arguments = contract.arguments({"image": image, "s": text, "n": np.array(3), "words": _objects(b"a", b"b")})
    assert arguments["image"] is image
    assert (arguments["s"], arguments["n"], arguments["words"]) == ("né", 3, ["a", "b"])


def test_plain_arrays_cost_nothing() -> None:
    """When every input is an array, the request's own mapping is handed over."""

    def predict(image: Image) -> Point: ...  # type: ignore[empty-body]

    inputs = {"image": np.zeros((1, 1, 3), dtype=np.uint8)}
    assert read_contract(predict).arguments(inputs) is inputs


def test_text_must_be_utf8() -> None:
    """Bytes that are not UTF-8 are the caller's mistake, and the element is named."""

    def predict(words: list[str]) -> Point: ...  # type: ignore[empty-body]

    with pytest.raises(InvalidTensor, match="'words': element 1 must be UTF-8"):
        read_contract(predict).arguments({"words": _objects(b"a", b"\xff")})


def test_outputs_become_tensors() -> None:
    """Lists, numbers, strings and dataclasses become tensors; arrays stay as they are."""

    def boxes() -> Boxes: ...  # type: ignore[empty-body]

    def point() -> Point: ...  # type: ignore[empty-body]

    array = np.zeros((0, 4, 2), dtype=np.float32)
    outputs = read_contract(boxes).outputs({"texts": ["a"], "boxes": array})
    assert list(outputs) == ["boxes", "texts"]
    assert outputs["boxes"] is array
    assert outputs["texts"].tolist() == [b"a"]
    outputs = read_contract(point).outputs(Point(x=1, y=2))
    assert (outputs["x"].dtype, outputs["y"].dtype) == (np.float64, np.int64)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"boxes": []}, "output 'texts' is missing"),
        ([1], "must return the outputs by name, got list"),
        ({"boxes": "no", "texts": []}, "output 'boxes' cannot be an array of float32"),
        ({"boxes": [], "texts": [b"bytes"]}, "output 'texts' must hold str, got bytes"),
        ({"boxes": [], "texts": ["a", ["b"]]}, "output 'texts' must hold str, got list"),
    ],
)
def test_wrong_results_are_the_models_failure(result: object, said: str) -> None:
    """A result that is not what was declared is named."""

    def predict() -> Boxes: ...  # type: ignore[empty-body]

    with pytest.raises(ModelFailed, match=said):
        read_contract(predict).outputs(result)


def _no_return(x: float): ...  # type: ignore[no-untyped-def]  # noqa: ANN202


def _no_annotation(x) -> float: ...  # type: ignore[no-untyped-def, empty-body]  # noqa: ANN001


def _bare_array(x: np.ndarray) -> float: ...  # type: ignore[empty-body]


def _bad_datatype(x: Annotated[np.ndarray, "FLOAT (N,)"]) -> float: ...  # type: ignore[empty-body]


def _bad_shape(x: Annotated[np.ndarray, "FP32 [N]"]) -> float: ...  # type: ignore[empty-body]


def _bad_dimension(x: Annotated[np.ndarray, "FP32 (N+1,)"]) -> float: ...  # type: ignore[empty-body]


def _default(x: float, n: int = 3) -> float: ...  # type: ignore[empty-body]


def _plain_dict(x: float) -> dict[str, float]: ...  # type: ignore[empty-body]


def _plain_tuple(x: float) -> tuple[int, int]: ...  # type: ignore[empty-body]


def _star(*x: float) -> float: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("predict", "said"),
    [
        (_no_return, "must annotate what it returns"),
        (_no_annotation, "'x' of predict has no annotation; it must be Annotated"),
        (_bare_array, "'x' of predict must be annotated .* got ndarray$"),
        (_default, "'n' of predict must have no default, for every input is required"),
        (_plain_dict, "predict returns dict, .* return a TypedDict or a dataclass"),
        (_plain_tuple, "predict returns tuple, .* return a TypedDict or a dataclass"),
        (_bad_datatype, "a type must look like"),
        (_bad_shape, "a type must look like"),
        (_bad_dimension, "a dimension must be"),
        (_star, "must name every input"),
    ],
)
def test_unclear_annotations_are_refused(predict: Any, said: str) -> None:  # noqa: ANN401
    """What cannot be understood is refused with what would be."""
    with pytest.raises(InvalidRequest, match=said):
        read_contract(predict)
