"""Operations on tensors: numpy's results, of the promised type, within bounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.tensor import BYTES, DTYPES, Tensor, datatype_of
from graphmesh.graph.checks.flows import Flow
from graphmesh.graph.checks.sizes import Unknown, resolve
from graphmesh.graph.forms.yaml_tree import compose
from graphmesh.graph.limits import MAX_BYTES_IN_FLIGHT
from graphmesh.graph.transforms.apply import compile_operations
from graphmesh.graph.transforms.operations import (
    Argmax,
    Cast,
    Compare,
    Concat,
    Copy,
    Format,
    Gather,
    JoinText,
    Length,
    Normalize,
    Operation,
    Pad,
    Replace,
    Reshape,
    Slice,
    Softmax,
    Stack,
    TopK,
    Transpose,
    Unsqueeze,
    Upper,
)
from graphmesh.graph.transforms.typing import give
from graphmesh.graph.transforms.yaml_form import operation_from_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphmesh.graph.transforms.operations import What


def texts(*elements: str | bytes) -> Tensor:
    """Make a BYTES tensor."""
    array = np.empty(len(elements), dtype=object)
    array[:] = [element.encode() if isinstance(element, str) else element for element in elements]
    return array


def _run(setting: str, *arrays: Tensor, outputs: str = "y") -> Tensor:
    """Run one operation of the inputs a, b, ... and return its first result."""
    names = "abcdef"[: len(arrays)]
    operation = operation_from_tree(compose(f"{{{setting}, inputs: [{', '.join(names)}], outputs: [{outputs}]}}"))
    return compile_operations([operation], ("y",))(dict(zip(names, arrays, strict=True)))[outputs.partition(",")[0]]


_NUMBERS = [name for name in DTYPES if name not in {BYTES, "BOOL"}]
_SHAPES = nps.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


def _numbers(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
    whole = nps.arrays(np.int64, shape, elements=st.integers(0, 100))
    return st.tuples(st.sampled_from(_NUMBERS), whole).map(lambda drawn: drawn[1].astype(DTYPES[drawn[0]]))


def _words(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
    count = math.prod(shape)
    words = st.text(max_size=5).filter(lambda word: word.isprintable())
    return st.lists(words, min_size=count, max_size=count).map(lambda drawn: texts(*drawn).reshape(shape))


@st.composite
def _cases(draw: st.DrawFn) -> tuple[What, list[Tensor]]:
    """Draw an operation with tensors that it works on."""
    shape = draw(_SHAPES)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    array = draw(_numbers(shape))
    small = st.integers(0, 2)
    channels = draw(st.lists(st.floats(0.5, 9), min_size=shape[axis], max_size=shape[axis]))
    places = st.lists(st.integers(-shape[axis], shape[axis] - 1), min_size=1, max_size=5)
    amounts = st.lists(small, min_size=len(shape), max_size=len(shape)).map(tuple)
    word = draw(_words(shape))
    choices: list[tuple[What, list[Tensor]]] = [
        (Copy(), [word]),
        (Cast(draw(st.sampled_from(list(DTYPES)))), [array]),
        (Reshape((-1,)), [array]),
        (Reshape((*(0 for _ in shape), 1)), [array]),
        (Reshape(draw(st.permutations(shape).map(tuple))), [array]),
        (Unsqueeze((axis,)), [array]),
        (Transpose(tuple(draw(st.permutations(range(len(shape)))))), [array]),
        (Slice(f"..., {draw(small)}:{draw(small)}:{draw(st.sampled_from([-1, 1, 2]))}"), [array]),
        (Slice(str(draw(st.integers(-shape[0], shape[0] - 1)))), [word]),
        (Gather(axis, tuple(draw(places))), [array]),
        (Gather(axis), [word, np.array([draw(places)])]),
        (Concat(axis), [array] * draw(st.integers(1, 3))),
        (Stack(axis), [word] * draw(st.integers(1, 3))),
        (Pad(draw(amounts), draw(amounts), 1), [array]),
        (Pad(draw(amounts)), [word]),
        (Normalize(axis, 0.5, tuple(channels), tuple(channels)), [array]),
        (Softmax(axis), [array]),
        (Argmax(axis, keepdims=draw(st.booleans())), [array]),
        (TopK(draw(st.integers(1, shape[axis])), axis), [array]),
        (Compare("less_equal", value=draw(st.floats(0, 99))), [array]),
        (Compare("equal"), [word, word]),
        (Upper(), [word]),
        (Length(), [word]),
        (JoinText("-"), [word, word]),
        (Format("{{{a}|{a}}}"), [word]),
    ]
    return draw(st.sampled_from(choices))


@given(_cases(), st.data())
def test_results_are_of_the_promised_type(case: tuple[What, list[Tensor]], data: st.DataObject) -> None:
    """Whatever was known of the sizes when the graph was typed, values bear it out."""
    what, arrays = case
    outputs = ("y", "z") if isinstance(what, TopK) else ("y",)
    operation = Operation(what=what, inputs=tuple("abc"[: len(arrays)]), outputs=outputs)
    unknown: list[tuple[Unknown, int]] = []

    def size(number: int) -> int | Unknown:
        if data.draw(st.booleans()):
            return number
        unknown.append((Unknown(), number))
        return unknown[-1][0]

    flows = [Flow(datatype_of(array), [size(number) for number in array.shape], text=False) for array in arrays]
    promised = give(operation, flows)
    results = compile_operations([operation], ())(dict(zip(operation.inputs, arrays, strict=True)))
    for free, number in unknown:
        end = resolve(free)
        if isinstance(end, Unknown):
            end.known = number
        assert resolve(free) == number
    for name, flow in zip(outputs, promised, strict=True):
        assert (datatype_of(results[name]), results[name].ndim) == (flow.datatype, len(flow.shape))
        for promise, actual in zip(flow.shape, results[name].shape, strict=True):
            assert isinstance(resolve(promise), Unknown) or resolve(promise) == actual


@given(_cases())
def test_inputs_are_left_alone(case: tuple[What, list[Tensor]]) -> None:
    """They may be read-only, as those of a request are, and belong to others."""
    what, arrays = case
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    outputs = ("y", "z") if isinstance(what, TopK) else ("y",)
    operation = Operation(what=what, inputs=tuple("abc"[: len(arrays)]), outputs=outputs)
    compile_operations([operation], ())(dict(zip(operation.inputs, arrays, strict=True)))
    for array, copy in zip(arrays, copies, strict=True):
        assert array.tolist() == copy.tolist()


_FLOATS = nps.arrays(np.float32, _SHAPES, elements=st.floats(-50, 50, width=32))


@given(_FLOATS)
def test_softmax_is_its_formula(array: Tensor) -> None:
    """The exponential over its sum, in FP64, and it adds up to 1."""
    wide = np.exp(array.astype(np.float64))
    result = _run("softmax: {axis: 0}", array)
    np.testing.assert_allclose(result, wide / wide.sum(axis=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(result.sum(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64", "INT32"])
def test_softmax_of_large_scores_does_not_overflow(datatype: str) -> None:
    """As scores of models in 16 bits are."""
    scores = np.array([1000, 1000, -1000]).astype(DTYPES[datatype])
    np.testing.assert_allclose(_run("softmax: {}", scores), [0.5, 0.5, 0])


def test_softmax_of_nothing() -> None:
    """No elements, or none along the axis."""
    assert _run("softmax: {}", np.zeros((2, 0), np.float32)).shape == (2, 0)
    assert _run("softmax: {axis: 0}", np.zeros((0, 2), np.float32)).shape == (0, 2)


@given(_FLOATS, st.integers(0, 2))
def test_normalize_is_its_formula(array: Tensor, axis: int) -> None:
    """With numbers for each channel, in any place."""
    axis %= array.ndim
    count = array.shape[axis]
    mean, std = list(range(count)), list(range(1, count + 1))
    shape = [count if place == axis else 1 for place in range(array.ndim)]
    wanted = (array.astype(np.float64) * 2 - np.reshape(mean, shape)) / np.reshape(std, shape)
    result = _run(f"normalize: {{axis: {axis}, scale: 2, mean: {mean}, std: {std}}}", array)
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)


@given(nps.arrays(np.float64, _SHAPES, elements=st.sampled_from([0.0, 1.0, 2.0, np.inf, -np.inf])), st.data())
def test_top_k_is_a_stable_sort(array: Tensor, data: st.DataObject) -> None:
    """Largest first, equal ones in their order."""
    axis = data.draw(st.integers(0, array.ndim - 1))
    k = data.draw(st.integers(1, array.shape[axis]))
    operation = operation_from_tree(compose(f"{{top_k: {{k: {k}, axis: {axis}}}, inputs: a, outputs: [v, i]}}"))
    results = compile_operations([operation], ())({"a": array})
    order = np.take(np.argsort(-array, axis=axis, kind="stable"), range(k), axis=axis)
    assert results["i"].tolist() == order.tolist()
    assert results["v"].tolist() == np.take_along_axis(array, order, axis=axis).tolist()


def test_nan_is_the_largest() -> None:
    """In top_k as in argmax, as numpy sorts."""
    array = np.array([1, np.nan, 3], dtype=ml_dtypes.bfloat16)
    assert _run("argmax: {}", array) == 1
    assert _run("top_k: 2", array, outputs="v, i").astype(np.float32).tolist()[1] == 3
    assert math.isnan(_run("top_k: 2", array, outputs="v, i")[0])
    assert _run("top_k: 3", np.array([1, 2**64 - 1, 5], np.uint64), outputs="v, i").tolist() == [2**64 - 1, 5, 1]


@pytest.mark.parametrize("source", _NUMBERS)
@pytest.mark.parametrize("target", _NUMBERS)
def test_numbers_that_fit_are_cast(source: str, target: str) -> None:
    """From every datatype to every other."""
    result = _run(f"cast: {target}", np.array([0, 1, 100]).astype(DTYPES[source]))
    assert datatype_of(result) == target
    assert result.astype(np.float64).tolist() == [0, 1, 100]


@given(st.floats(width=32) | st.floats(-300, 300, width=32), st.sampled_from(_NUMBERS))
def test_a_cast_is_exact_or_refused(number: float, target: str) -> None:
    """No integer comes out that the fraction cut off is not."""
    dtype = DTYPES[target]
    if dtype.kind not in "iu":
        return
    limits = np.iinfo(dtype)
    if math.isfinite(number) and limits.min <= math.trunc(number) <= limits.max:
        assert _run(f"cast: {target}", np.array([number], np.float32)).tolist() == [math.trunc(number)]
    else:
        with pytest.raises(InvalidRequest, match=f"does not fit {target}"):
            _run(f"cast: {target}", np.array([number], np.float32))


@pytest.mark.parametrize(
    ("array", "target"),
    [
        (np.array([2**63], np.float64), "INT64"),
        (np.array([2.0**64], np.float32), "UINT64"),
        (np.array([-1]), "UINT64"),
        (np.array([2**63], np.uint64), "INT64"),
        (np.array([np.inf], np.float16), "INT32"),
        (np.array([300], np.float32).astype(ml_dtypes.bfloat16), "UINT8"),
        (texts("300"), "UINT8"),
        (texts("nan"), "INT8"),
        (texts("18446744073709551616"), "UINT64"),
    ],
)
def test_what_an_integer_cannot_hold_is_refused(array: Tensor, target: str) -> None:
    """At the very edges, where numpy wraps or saturates as the machine likes."""
    with pytest.raises(InvalidRequest, match=f"operation cast of a .* fit {target}"):
        _run(f"cast: {target}", array)


def test_casts_of_text() -> None:
    """Numbers are read as they are written, exactly, and written back."""
    assert _run("cast: UINT64", texts("18446744073709551615")).tolist() == [2**64 - 1]
    assert _run("cast: INT8", texts(" 12 ", "1.9", "true")).tolist() == [12, 1, 1]
    assert _run("cast: BOOL", texts("true", "false", "0", "2")).tolist() == [True, False, False, True]
    assert _run("cast: FP64", texts("0.1", "-inf")).tolist() == [0.1, -np.inf]
    assert _run("cast: TEXT", np.array([0.1, 5], np.float32)).tolist() == [b"0.1", b"5.0"]
    assert _run("cast: TEXT", np.array([True, False])).tolist() == [b"true", b"false"]
    with pytest.raises(InvalidRequest, match="element 1 must be a number for FP32, got 'x'"):
        _run("cast: FP32", texts("1", "x"))
    with pytest.raises(InvalidRequest, match="element 0 must be UTF-8"):
        _run("cast: TEXT", texts(b"\xff"))


def test_floats_are_narrowed_as_numpy_does() -> None:
    """To infinities, without a warning."""
    assert _run("cast: FP16", np.array([1e6], np.float32)).tolist() == [np.inf]


@pytest.mark.parametrize(
    ("setting", "arrays", "expected"),
    [
        ("compare: {operator: equal, value: 3}", [np.array([2**63 + 3, 3], np.uint64)], [False, True]),
        ("compare: {operator: less, value: 2.5}", [np.array([2, 3], np.int8)], [True, False]),
        ("compare: {operator: greater, value: 300}", [np.array([255], np.uint8)], [False]),
        ("compare: {operator: equal, value: 1}", [np.array([True, False])], [True, False]),
        ("compare: {operator: not_equal, value: .nan}", [np.array([np.nan])], [True]),
        ("compare: {operator: greater, value: 1.0e+6}", [np.array([np.inf], np.float16)], [True]),
        ("compare: {operator: equal, text: ä}", [texts("ä", "a")], [True, False]),
        ("compare: {operator: not_equal}", [texts("ä", "a"), texts("ä", "b")], [False, True]),
        ("compare: {operator: less}", [np.array([1, 2]), np.array([2, 2])], [True, False]),
    ],
)
def test_comparisons(setting: str, arrays: list[Tensor], expected: list[bool]) -> None:
    """Whole numbers exactly, texts by their bytes."""
    assert _run(setting, *arrays).tolist() == expected


def test_places_that_are_not_there() -> None:
    """Only the request tells them."""
    array = np.arange(3)
    assert _run("gather: 0", array, np.array([-1, 0], np.int8)).tolist() == [2, 0]
    assert _run("gather: 0", texts("a", "b"), np.array(1)).tolist() == b"b"
    for places in ([3], [-4], [2**63 - 1]):
        with pytest.raises(InvalidRequest, match=r"operation gather of a, b .*indices must be -3 to 2"):
            _run("gather: 0", array, np.array(places))
    with pytest.raises(InvalidRequest, match=r"indices must be -3 to 2"):
        _run("gather: 0", array, np.array([2**64 - 1], np.uint64))


def test_views_copy_nothing() -> None:
    """However large the tensor."""
    array = np.arange(24.0).reshape(2, 3, 4)
    for setting in ("copy: {}", "reshape: [0, -1]", "transpose: {}", "unsqueeze: 0", "slice: '0, ..., ::-1'"):
        assert np.shares_memory(_run(setting, array), array), setting
    assert np.shares_memory(_run("cast: FP64", array), array)


@pytest.mark.parametrize(
    ("setting", "arrays"),
    [
        ("pad: {after: [1000000000]}", [np.zeros(1)]),
        ("pad: {after: [4611686018427387904, 4611686018427387904]}", [np.zeros((1, 1))]),
        ("gather: 0", [np.zeros((1, 1 << 17)), np.zeros(1 << 14, np.int8)]),
        ("cast: FP64", [np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), (1 << 28,), (0,))]),
        ("concat: 0", [np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), (1 << 29,), (0,))] * 3),
        ("stack: 0", [np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), (1 << 29,), (0,))] * 3),
        (f"replace: {{old: a, new: {'b' * 100}}}", [texts("a" * (MAX_BYTES_IN_FLIGHT // 99))]),
        (f"join: {'-' * 100_000}", [np.broadcast_to(texts("a"), (1 << 14,))] * 2),
        (f"format: '{'{a}' * 1000}'", [texts("a" * (2 << 20))]),
        (f"format: '{'a' * 100_000}'", [np.broadcast_to(texts("a"), (1 << 14,))]),
        ("gather: 0", [texts("a" * (1 << 20)), np.zeros(1 << 11, np.int8)]),
        ("concat: 0", [np.broadcast_to(texts("a" * (1 << 20)), (512,))] * 3),
        ("json_write: {}", [np.broadcast_to(np.zeros(1), (1 << 25,))]),
    ],
)
def test_results_that_are_too_large_are_refused_before_they_are_made(setting: str, arrays: Sequence[Tensor]) -> None:
    """The error says how large, and of what."""
    with pytest.raises(InvalidRequest, match=rf"operation {setting.partition(':')[0]} of a.*(at most|too large)"):
        _run(setting, *arrays)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.text(max_size=3))
def test_text_is_as_python_has_it(words: list[str], other: str) -> None:
    """Element by element."""
    array = texts(*words)
    pairs: list[tuple[str, Callable[[str], str]]] = [
        ("lower: {}", str.lower),
        ("upper: {}", str.upper),
        ("strip: {}", str.strip),
        ("truncate: 2", lambda word: word[:2]),
    ]
    for setting, change in pairs:
        assert _run(setting, array).tolist() == [change(word).encode() for word in words]
    assert _run("length: {}", array).tolist() == list(map(len, words))
    replace = Operation(what=Replace("e", other), inputs=("a",), outputs=("y",))
    assert compile_operations([replace], ())({"a": array})["y"].tolist() == [
        word.replace("e", other).encode() for word in words
    ]


def test_text_that_is_none() -> None:
    """It names the element."""
    with pytest.raises(InvalidRequest, match=r"operation lower of a \(BYTES \[2\]\): element 1 must be UTF-8"):
        _run("lower: {}", texts("a", b"\xff"))


@pytest.mark.parametrize(
    ("setting", "documents", "expected"),
    [
        ("{pointer: '', type: INT8}", ["1", "2.0"], [1, 2]),
        ("{pointer: /a/0/b~1c~0, type: BOOL}", ['{"a": [{"b/c~": true}]}'], [True]),
        ("{pointer: //, type: INT8}", ['{"": {"": 3}}'], [3]),
        ("{type: FP32 (2)}", ["[1, 2]"], [[1, 2]]),
        ("{type: 'INT8 (?, ?)'}", ["[[1, 2], [3, 4]]", "[[5, 6], [7, 8]]"], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        ("{type: 'TEXT (?)'}", ["[]"], [[]]),
        ("{type: TEXT}", ['"ä"', '{"a": [1]}'], ["ä".encode(), b'{"a":[1]}']),
        ("{pointer: /a, type: INT8, default: '7'}", ["{}", '{"a": null}', "3", '{"a": 1}'], [7, 7, 7, 1]),
        ("{pointer: /1, type: INT8, default: '7'}", ["[0, 1]", "[0]", '{"1": 2}'], [1, 7, 2]),
        ("{pointer: /01, type: INT8, default: '7'}", ["[0, 1]"], [7]),
        ("{pointer: /-, type: INT8, default: '7'}", ["[0, 1]"], [7]),
        ("{type: UINT64}", ["18446744073709551615"], [2**64 - 1]),
        ("{type: INT8}", [], []),
    ],
)
def test_json_is_read(setting: str, documents: list[str], expected: list[object]) -> None:
    """By pointer, as the type says."""
    assert _run(f"json_read: {setting}", texts(*documents)).tolist() == expected


@pytest.mark.parametrize(
    ("setting", "documents", "message"),
    [
        ("{type: INT8}", ["1", "{"], "element 1: must be JSON"),
        ("{pointer: /a/b, type: INT8}", ['{"a": 1}'], "element 0: nothing is at '/a/b'; a `default` would be taken"),
        ("{type: INT8}", ["300"], "must be INT8, got 300"),
        ("{type: INT8}", ["1.5"], "must be INT8, got 1.5"),
        ("{type: INT8}", ["true"], "must be INT8, got true"),
        ("{type: BOOL}", ["1"], "must be BOOL, got 1"),
        ("{type: FP32}", ['"1"'], 'must be FP32, got "1"'),
        ("{type: FP32 (2)}", ["[1]"], r"must be FP32 \(2\): lists of 2, got \[1\]"),
        ("{type: FP32 (2)}", ["1"], r"must be FP32 \(2\): lists of 2, got 1"),
        ("{type: 'FP32 (?, ?)'}", ["[[1], [2, 3]]"], r"must be FP32 \(\?, \?\)"),
        ("{type: 'FP32 (N, N)'}", ["[[1, 2]]"], r"must be FP32 \(N, N\)"),
        ("{type: 'FP32 (?)'}", ["[1]", "[1, 2]"], r"equally long for all elements, got \[2\] after \[1\]"),
        ("{type: INT8}", ["[" * 5000 + "]" * 5000], "must be JSON"),
    ],
)
def test_json_that_does_not_fit(setting: str, documents: list[str], message: str) -> None:
    """The element, what was wanted and what came."""
    with pytest.raises(InvalidRequest, match=rf"operation json_read of a \(BYTES .*{message}"):
        _run(f"json_read: {setting}", texts(*documents))


def test_json_is_written() -> None:
    """Every datatype; what JSON cannot say is null."""
    values = np.array([1, 0])
    for datatype, expected in (("BOOL", [True, False]), ("UINT64", [1, 0]), ("BF16", [1.0, 0.0]), ("FP16", [1.0, 0.0])):
        written = _run("json_write: {names: [v]}", values.astype(DTYPES[datatype]).reshape(1, 2))
        assert orjson.loads(written.item()) == {"v": [expected]}
    written = _run("json_write: {}", np.array(np.nan), texts("ä\0").reshape(()), np.array([0.1], np.float32).T)
    assert written.item() == '{"a":null,"b":"ä\\u0000","c":[0.1]}'.encode()
    with pytest.raises(InvalidRequest, match="element 0 must be UTF-8"):
        _run("json_write: {}", texts(b"\xff"))


def test_operations_follow_each_other() -> None:
    """Results that nobody reads come out, and those that are kept."""
    operations = [
        operation_from_tree(compose(written))
        for written in (
            "{cast: FP32, inputs: x, outputs: y}",
            "{softmax: {}, inputs: y, outputs: p}",
            "{argmax: {}, inputs: p, outputs: class}",
        )
    ]
    inputs = {"x": np.array([[1, 2]]), "unused": np.zeros(1)}
    assert list(compile_operations(operations, ())(inputs)) == ["class"]
    assert list(compile_operations(operations, ("y",))(inputs)) == ["y", "class"]
    assert list(inputs) == ["x", "unused"]


def test_shapes_that_never_repeat_are_not_remembered_for_ever() -> None:
    """A step serves any number of different requests."""
    operation = operation_from_tree(compose("{reshape: [-1], inputs: x, outputs: y}"))
    change = compile_operations([operation], ())
    for size in range(300):
        assert change({"x": np.zeros((size, 2))})["y"].shape == (2 * size,)
    assert len(change.steps[0]._expected) <= 64


def _written(*operations: str) -> list[Operation]:
    return [operation_from_tree(compose(f"{{{written}}}")) for written in operations]


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let results take only a MiB together."""
    monkeypatch.setattr("graphmesh.graph.transforms.apply.MAX_BYTES_IN_FLIGHT", 1 << 20)
    return 1 << 20


def test_results_are_let_go_with_their_last_reader(little: int) -> None:
    """A long step holds no more than what is still to be read, and gives what is wanted."""
    operations = _written(
        f"pad: {{after: [{little // 3}]}}, inputs: x, outputs: a0",
        *(f"copy: {{}}, inputs: a{place}, outputs: a{place + 1}" for place in range(12)),
        'slice: "0:3", inputs: a12, outputs: y',
    )
    inputs = {"x": np.ones(2, np.uint8)}
    work = compile_operations(operations, ()).begin(inputs)
    assert work.go()
    assert list(work._values) == ["y"]
    assert (work._held, work._sizes) == (3, {"y": 3})
    assert work.outputs()["y"].tolist() == [1, 1, 0]
    with pytest.raises(InvalidRequest, match="results that are still needed"):
        compile_operations(operations, ("a0",))(inputs)


@pytest.mark.parametrize(
    ("operation", "problem", "held"),
    [
        ("pad: {after: [400000]}, inputs: x, outputs: NAME", "operation pad of x .* would take 1200006 bytes", 800_004),
        (
            f"replace: {{old: a, new: {'b' * 40}}}, inputs: t, outputs: NAME",
            "operation replace of t .* would take 1200024 bytes",
            1_200_024,
        ),
    ],
    ids=["numbers", "text"],
)
def test_results_that_are_needed_together_are_bounded_together(
    operation: str, problem: str, held: int, little: int
) -> None:
    """Numbers before they are made, texts once they are: each alone would be allowed."""
    made = [operation.replace("NAME", f"r{place}") for place in range(3)]
    changes = compile_operations(_written(*made, "copy: {}, inputs: x, outputs: y"), ())
    work = changes.begin({"x": np.ones(2, np.uint8), "t": texts("a" * 10_000)})
    with pytest.raises(InvalidRequest, match=f"{problem} together, a request holds at most {little}"):
        work.go()
    assert work._held == held


def test_sorting_takes_longer_than_anything_else_on_numbers() -> None:
    """About 15 ns for a byte."""
    x = {"x": np.zeros(100_000, np.uint8)}
    assert compile_operations(_written("cast: INT8, inputs: x, outputs: y"), ()).begin(x).go(1_000_000)
    assert not compile_operations(_written("top_k: {k: 1}, inputs: x, outputs: [y, z]"), ()).begin(x).go(1_000_000)
