"""Types of what operations give: names of sizes go through, and every mistake is named with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.checks.flows import declared
from graphmesh.graph.forms.yaml_tree import compose
from graphmesh.graph.spec import GraphInput, parse_type
from graphmesh.graph.transforms.typing import give
from graphmesh.graph.transforms.yaml_form import operation_from_tree

if TYPE_CHECKING:
    from graphmesh.graph.checks.flows import Flow


def _flows(*types: str) -> list[Flow]:
    """Return flows of the inputs a, b, ...; equal names of sizes are the same size."""
    parsed = [parse_type(written) for written in types]
    inputs = [
        GraphInput(name=name, datatype=datatype, shape=shape, text=text)
        for name, (datatype, shape, text) in zip("abcdef", parsed, strict=False)
    ]
    return list(declared(inputs).values())


def _give(setting: str, *types: str, outputs: str = "y") -> list[str]:
    names = ", ".join("abcdef"[: len(types)])
    operation = operation_from_tree(compose(f"{{{setting}, inputs: [{names}], outputs: [{outputs}]}}"))
    return [flow.type for flow in give(operation, _flows(*types))]


@pytest.mark.parametrize(
    ("setting", "types", "given"),
    [
        ("copy: {}", ["TEXT (N,)"], "TEXT (N,)"),
        ("cast: float32", ["INT8 (N, 3)"], "FP32 (N, 3)"),
        ("cast: TEXT", ["BYTES (N,)"], "TEXT (N,)"),
        ("cast: BYTES", ["BYTES (N,)"], "BYTES (N,)"),
        ("reshape: [0, -1]", ["FP32 (N, 3, 4)"], "FP32 (N, 12)"),
        ("reshape: [-1, 12]", ["FP32 (N, 3, 4)"], "FP32 (N, 12)"),
        ("reshape: [-1, 2]", ["FP32 (N, 3, 4)"], "FP32 (?, 2)"),
        ("reshape: [-1]", ["FP32 (2, 3)"], "FP32 (6,)"),
        ("reshape: [-1]", ["FP32 (N, M)"], "FP32 (?,)"),
        ("reshape: [2, 6]", ["FP32 (N, M)"], "FP32 (2, 6)"),
        ("reshape: [0, 0, 1]", ["FP32 (N, M)"], "FP32 (N, M, 1)"),
        ("reshape: []", ["FP32 (1, 1)"], "FP32 ()"),
        ("squeeze: [-1]", ["FP32 (N, 1)"], "FP32 (N,)"),
        ("squeeze: [0]", ["FP32 (?, 3)"], "FP32 (3,)"),
        ("unsqueeze: [0, -1]", ["FP32 (N,)"], "FP32 (1, N, 1)"),
        ("transpose: {}", ["FP32 (N, 3, M)"], "FP32 (M, 3, N)"),
        ("transpose: [2, 0, 1]", ["UINT8 (H, W, 3)"], "UINT8 (3, H, W)"),
        ("slice: '0'", ["FP32 (N, 3)"], "FP32 (3,)"),
        ("slice: '..., 0:2'", ["FP32 (N, M, 3)"], "FP32 (N, M, 2)"),
        ("slice: '::-1, 1:'", ["FP32 (N, 3)"], "FP32 (N, 2)"),
        ("slice: '0:2'", ["FP32 (N, 3)"], "FP32 (?, 3)"),
        ("gather: {axis: 1, indices: [0, 0]}", ["FP32 (N, 3)"], "FP32 (N, 2)"),
        ("gather: {axis: 0}", ["TEXT (3,)", "INT64 (N, K)"], "TEXT (N, K)"),
        ("concat: 0", ["FP32 (2, M)", "FP32 (3, 4)"], "FP32 (5, 4)"),
        ("concat: 0", ["FP32 (N, 3)", "FP32 (2, 3)"], "FP32 (?, 3)"),
        ("concat: 0", ["TEXT (N,)", "BYTES (N,)"], "BYTES (?,)"),
        ("concat: 0", ["FP32 (N, 3)"], "FP32 (N, 3)"),
        ("stack: {axis: -1}", ["FP32 (N,)", "FP32 (M,)"], "FP32 (N, 2)"),
        ("pad: {after: [0, 2]}", ["FP32 (N, 3)"], "FP32 (N, 5)"),
        ("pad: {before: [1, 0]}", ["FP32 (N, 3)"], "FP32 (?, 3)"),
        ("normalize: {mean: [1, 2, 3]}", ["UINT8 (H, W, C)"], "FP32 (H, W, 3)"),
        ("softmax: {}", ["FP16 (N, 3)"], "FP32 (N, 3)"),
        ("softmax: {}", ["FP64 (N, 3)"], "FP64 (N, 3)"),
        ("argmax: {}", ["FP32 (N, 3)"], "INT64 (N,)"),
        ("argmax: {axis: 0, keepdims: true}", ["FP32 (N, 3)"], "INT64 (1, 3)"),
        ("compare: {operator: less}", ["FP32 (N, 3)", "FP32 (2, M)"], "BOOL (2, 3)"),
        ("lower: {}", ["BYTES (N,)"], "TEXT (N,)"),
        ("length: {}", ["TEXT (N,)"], "INT64 (N,)"),
        ("join: ' '", ["TEXT (N,)", "TEXT (3,)"], "TEXT (3,)"),
        ("format: '{b}{a}'", ["TEXT (N,)", "TEXT (N,)"], "TEXT (N,)"),
        ("json_read: {type: 'FP32 (3)'}", ["TEXT (N,)"], "FP32 (N, 3)"),
        ("json_read: {type: 'TEXT (K, ?)'}", ["TEXT ()"], "TEXT (K, ?)"),
        ("json_write: {}", ["FP32 (N,)", "TEXT ()"], "TEXT ()"),
    ],
)
def test_types_go_through(setting: str, types: list[str], given: str) -> None:
    """Datatypes, numbers of dimensions, sizes and their names."""
    assert _give(setting, *types) == [given]


def test_top_k_gives_two() -> None:
    """Values keep their datatype, places are INT64."""
    assert _give("top_k: 2", "FP16 (N, 5)", outputs="v, i") == ["FP16 (N, 2)", "INT64 (N, 2)"]


def test_what_an_operation_needs_reaches_its_inputs() -> None:
    """An unknown size becomes the number that the operation works with."""
    for setting, types, found in (
        ("squeeze: 1", ["FP32 (N, M)"], ["FP32 (N, 1)"]),
        ("reshape: [2, 4]", ["FP32 (N, 4)"], ["FP32 (2, 4)"]),
        ("normalize: {std: [1, 2]}", ["FP32 (N, C)"], ["FP32 (N, 2)"]),
        ("stack: 0", ["FP32 (N,)", "FP32 (4,)"], ["FP32 (4,)", "FP32 (4,)"]),
    ):
        flows = _flows(*types)
        names = ", ".join("ab"[: len(types)])
        give(operation_from_tree(compose(f"{{{setting}, inputs: [{names}], outputs: y}}")), flows)
        assert [flow.type for flow in flows] == found


@pytest.mark.parametrize(
    ("setting", "types", "message"),
    [
        ("cast: FP31", ["FP32 ()"], r"operation cast of a \(FP32 \(\)\): a type must look like"),
        ("cast: FP32 (3)", ["FP32 ()"], r"`reshape` changes shapes"),
        ("reshape: [5]", ["FP32 (2, 3)"], r"elements of FP32 \(2, 3\) do not fill shape \[5\]; -1 stands"),
        ("reshape: [-1, 4]", ["FP32 (2, 3)"], r"do not fill shape \[-1, 4\]"),
        ("reshape: [7]", ["FP32 (N, 3)"], r"do not fill shape \[7\]"),
        ("reshape: [-1, -1]", ["FP32 (2, 3)"], r"at most one -1"),
        ("reshape: [0, 0, 0]", ["FP32 (2, 3)"], r"0 at axis 2, which keeps a size that FP32 \(2, 3\) does not have"),
        ("squeeze: 1", ["FP32 (2, 3)"], r"axis 1, which is taken away, must have size 1, got 3"),
        ("squeeze: {}", ["FP32 (2, 3)"], r"at least one axis"),
        ("unsqueeze: [0, 0]", ["FP32 (2, 3)"], r"each once, got \[0, 0\]"),
        ("unsqueeze: [5]", ["FP32 (2, 3)"], r"axis must be -3 to 2, got 5"),
        ("transpose: [0, 0]", ["FP32 (2, 3)"], r"each of the 2 axes once, got \[0, 0\]"),
        ("slice: '3'", ["FP32 (3, 2)"], r"index 3 is out of range: axis 0 has size 3"),
        ("slice: '0, 0, 0'", ["FP32 (3, 2)"], r"for more axes than FP32 \(3, 2\) has"),
        ("slice: '..., ...'", ["FP32 (3, 2)"], r"at most one \.\.\."),
        ("slice: '::0'", ["FP32 (3, 2)"], r"start:stop:step"),
        ("slice: 'x'", ["FP32 (3, 2)"], r"as `:, 0:3`, got 'x'"),
        ("slice: {}", ["FP32 (3, 2)"], r"start:stop:step"),
        ("gather: 0", ["FP32 (3,)"], r"either `indices` or a second input"),
        ("gather: 0", ["FP32 (3,)", "FP32 (3,)"], r"second input must hold whole numbers, got FP32"),
        ("gather: {indices: [3]}", ["FP32 (3,)"], r"index 3 is out of range: axis 0 has size 3"),
        ("concat: 0", ["FP32 (3,)", "FP64 (3,)"], r"must have one datatype, got FP32 \(3,\), FP64 \(3,\); `cast`"),
        ("concat: 0", ["FP32 ()", "FP32 ()"], r"a scalar has no axes; `unsqueeze`"),
        ("concat: 0", ["FP32 (2, 3)", "FP32 (2, 4)"], r"equal sizes, got 3 and 4 at axis 1"),
        ("concat: 0", ["FP32 (2, 3)", "FP32 (2,)"], r"equally many dimensions.*`reshape`"),
        ("stack: 0", ["FP32 (2,)", "FP32 (3,)"], r"equal sizes, got 2 and 3"),
        ("pad: {before: [1]}", ["FP32 (2, 3)"], r"for each of the 2 axes, got \[1\] and \[\]"),
        ("pad: {before: [-1, 0]}", ["FP32 (2, 3)"], r"a number, 0 or more"),
        ("pad: {value: 300}", ["UINT8 (2,)"], r"a whole number that UINT8 holds, got 300"),
        ("pad: {value: .nan}", ["UINT8 (2,)"], r"a whole number that UINT8 holds, got nan"),
        ("pad: {value: 1}", ["TEXT (2,)"], r"empty elements, so value must not be set"),
        ("normalize: {}", ["TEXT (2,)"], r"it takes numbers, got TEXT \(2,\); `cast` it first"),
        ("normalize: {std: 0}", ["FP32 (2,)"], r"no std 0"),
        (
            "normalize: {mean: [1, 2, 3]}",
            ["FP32 (N, 4)"],
            r"axis 1, for which mean has as many numbers, .*size 3, got 4",
        ),
        ("softmax: 1", ["FP32 (4,)"], r"axis must be -1 to 0, got 1"),
        ("argmax: {}", ["FP32 (4, 0)"], r"axis 1 has no elements"),
        ("argmax: {}", ["TEXT (4,)"], r"numbers or BOOL, got TEXT"),
        ("compare: {operator: approximately, value: 1}", ["FP32 (4,)"], r"must be one of equal, .*'approximately'"),
        ("compare: {operator: less}", ["FP32 (4,)"], r"exactly one of a second input, `value` and `text`"),
        ("compare: {operator: less, value: 1}", ["FP32 (4,)", "FP32 (4,)"], r"exactly one"),
        ("compare: {operator: less, text: a}", ["TEXT (4,)"], r"one of equal, not_equal for BYTES"),
        ("compare: {operator: equal, text: a}", ["FP32 (4,)"], r"`value` is for numbers"),
        ("lower: {}", ["FP32 (4,)"], r"it takes text, got FP32 \(4,\); `cast` it to TEXT first"),
        ("replace: {new: a}", ["TEXT (4,)"], r"`old` must not be empty"),
        ("truncate: -1", ["TEXT (4,)"], r"must not be negative, got -1"),
        ("format: '{x}'", ["TEXT (4,)"], r"names 'x', but there are the inputs \['a'\]; a brace is written twice"),
        ("format: '{a.b}'", ["TEXT (4,)"], r"names 'a.b'"),
        ("format: '{a!r}'", ["TEXT (4,)"], r"names 'a'"),
        ("format: '{a:>9999}'", ["TEXT (4,)"], r"names 'a'"),
        ("format: '{a'", ["TEXT (4,)"], r"template is malformed"),
        ("json_read: {pointer: a, type: TEXT}", ["TEXT ()"], r"empty or start with /"),
        ("json_read: {pointer: /a~2, type: TEXT}", ["TEXT ()"], r"~0 for ~"),
        ("json_read: {}", ["TEXT ()"], r"a type must look like"),
        ("json_read: {type: INT8, default: '300'}", ["TEXT ()"], r"default must be JSON of type INT8, got '300'"),
        ("json_read: {type: INT8, default: '{'}", ["TEXT ()"], r"default must be JSON of type INT8"),
        ("json_write: {names: [x]}", ["TEXT ()", "TEXT ()"], r"one for each of the 2 inputs"),
        ("softmax: {}", ["FP32 (4,)", "FP32 (4,)"], r"it must have one of `inputs`, got \['a', 'b'\]"),
        ("concat: 0", [], r"it must have at least one of `inputs`"),
        ("top_k: 2", ["FP32 (4,)"], r"it must have 2 of `outputs`, got \['y'\]"),
    ],
)
def test_mistakes_are_named_with_their_fix(setting: str, types: list[str], message: str) -> None:
    """The operation, its inputs, what was expected and what came."""
    with pytest.raises(InvalidGraph, match=message) as raised:
        _give(setting, *types)
    assert raised.value.message.startswith(f"operation {setting.partition(':')[0]} of ")


@pytest.mark.parametrize(("setting", "message"), [("top_k: 0", "at least 1"), ("top_k: 5", "k is 5, but axis 0 has 4")])
def test_top_k_of_too_few(setting: str, message: str) -> None:
    """At least one, at most what there is."""
    with pytest.raises(InvalidGraph, match=message):
        _give(setting, "FP32 (4,)", outputs="v, i")
