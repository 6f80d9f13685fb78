"""Conditions and keys: what they see, what they say, and how they fail."""

from __future__ import annotations

import contextlib
import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import FailedPrecondition, InvalidGraph
from graphmesh.core.tensor import BYTES, DTYPES, Tensor
from graphmesh.graph.conditions import Condition, Key, Scope
from graphmesh.graph.conditions.cost import MAX_PARAMETER_BYTES, MAX_TEXT_BYTES
from graphmesh.graph.conditions.problems import quote
from graphmesh.graph.limits import MAX_CONDITION_CHARACTERS, MAX_CONDITION_ELEMENTS

ALL = frozenset({"inputs", "outputs", "iteration"})


def _texts(*elements: bytes) -> Tensor:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def _holds(source: str, scope: Scope | None = None, **inputs: Tensor) -> bool:
    return Condition.parse(source, sees=ALL).holds(scope or Scope(inputs=inputs))


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name not in {BYTES, "BOOL"}])
def test_a_number_of_every_datatype_is_a_number(datatype: str) -> None:
    """One element is a scalar, whatever the shape, and several are lists of lists."""
    one = np.array([[3]]).astype(DTYPES[datatype])
    many = np.array([[1, 2], [3, 4]]).astype(DTYPES[datatype])
    assert _holds("inputs.x == 3 && inputs.x > 2.5 && inputs.x < 4", x=one)
    assert _holds("inputs.x[1][0] == 3 && size(inputs.x) == 2 && inputs.x == [[1, 2], [3, 4]]", x=many)


def test_values_at_the_edges_of_datatypes_are_kept() -> None:
    """Nothing is rounded, wraps or becomes signed on the way."""
    assert _holds(f"inputs.x == {2**64 - 1}u && inputs.x > 0", x=np.array(2**64 - 1, dtype=np.uint64))
    assert _holds(f"inputs.x == {-(2**63)}", x=np.array(-(2**63), dtype=np.int64))
    assert _holds("inputs.x == 1.0 / 3.0", x=np.array(1 / 3))
    assert _holds("inputs.x > 0.33 && inputs.x < 0.34", x=np.array(1 / 3, dtype=ml_dtypes.bfloat16))
    assert _holds("inputs.x > 1e308 && -inputs.x < 0.0", x=np.array(np.inf, dtype=np.float16))


def test_nan_is_not_equal_to_itself() -> None:
    """As in IEEE 754: every comparison but `!=` is false."""
    assert _holds("inputs.x != inputs.x && !(inputs.x > 0.0) && !(inputs.x <= 0.0)", x=np.array(np.nan))


def test_text_is_a_string_and_other_bytes_are_bytes() -> None:
    """What is UTF-8 is text."""
    assert _holds("inputs.x == 'ä' && size(inputs.x) == 1", x=_texts("ä".encode()))
    assert _holds(r"inputs.x == b'\xff\x00'", x=_texts(b"\xff\0"))
    assert _holds(r"inputs.x == ['a', b'\xff', '']", x=_texts(b"a", b"\xff", b""))


def test_text_is_not_cut_off_at_a_nul() -> None:
    """Text with a NUL is bytes: to a library that thinks in C strings it would be the text before the NUL."""
    assert _holds(r"inputs.x != 'a' && inputs.x == b'a\x00b'", x=_texts(b"a\0b"))
    assert _holds("inputs.x[0] != 'a' && size(inputs.x[0]) == 3 && inputs.x[1] == 'a'", x=_texts(b"a\0b", b"a"))
    scope = Scope(params={"role": "admin\0", "admin\0x": 1, "half": "a\ud800"})
    assert _holds(r"params.role != 'admin' && params.role == b'admin\x00' && !('admin' in params)", scope)
    assert _holds("type(params.half) == bytes && size(params.half) == 4", scope)


def test_a_bool_is_a_bool() -> None:
    """It may stand alone, although only the request tells its type."""
    assert _holds("inputs.x", x=np.array([True]))
    assert _holds("inputs.x.exists(b, b) && !inputs.x.all(b, b)", x=np.array([True, False]))


def test_empty_tensors_are_empty_lists() -> None:
    """Their shapes still say which."""
    assert _holds("inputs.x == [] && shapes.x == [0, 3]", x=np.zeros((0, 3)))
    assert _holds("size(inputs.x) == 2 && inputs.x[0] == []", x=np.zeros((2, 0)))


def test_shapes_are_those_of_inputs_and_outputs() -> None:
    """Of an input and an output of one name, the output's."""
    scope = Scope(inputs={"x": np.zeros((2, 3)), "y": np.zeros(5)}, outputs={"x": np.zeros(7)})
    assert _holds("shapes.y == [5] && shapes.x == [7] && size(shapes) == 2", scope)


def test_params_headers_and_iteration() -> None:
    """Parameters keep their types; headers are text."""
    scope = Scope(params={"b": True, "i": 3, "f": 0.5, "s": "x"}, headers={"x-tier": "gold"}, iteration=4)
    assert _holds("params.b && params.i == 3 && params.f == 0.5 && params.s == 'x'", scope)
    assert _holds("headers['x-tier'] == 'gold' && iteration == 4 && !has(params.q) && !('y' in headers)", scope)


def test_a_tensor_with_too_many_elements_shows_its_shape_only() -> None:
    """Reading it is an error that says so, asking for its shape is none."""
    large, fits = np.zeros(MAX_CONDITION_ELEMENTS + 1), np.zeros(MAX_CONDITION_ELEMENTS)
    assert _holds("shapes.x[0] > 5", x=large)
    assert _holds("size(inputs.x) > 5", x=fits)
    assert _holds("shapes.x[0] > 5 || inputs.x[0] > 1.0", x=large)
    with pytest.raises(FailedPrecondition, match=r"inputs.x is too large to be seen: at most 1024 elements.*`shapes`"):
        _holds("inputs.x[0] > 1.0", x=large)


def test_long_text_is_too_large_too() -> None:
    """What an expression costs is bounded by the text that it sees."""
    assert _holds("size(inputs.x) > 5", x=_texts(b"a" * MAX_TEXT_BYTES))
    with pytest.raises(FailedPrecondition, match=r"inputs.x is too large"):
        _holds("size(inputs.x) > 5", x=_texts(b"a" * MAX_TEXT_BYTES, b"b"))
    scope = Scope(headers={"h": "a" * (MAX_PARAMETER_BYTES + 1)}, params={"p": "a" * MAX_PARAMETER_BYTES})
    assert _holds("size(params.p) > 5", scope)
    with pytest.raises(FailedPrecondition, match=r"headers.h is too large to be seen: at most 8192 bytes"):
        _holds("headers.h == ''", scope)


def test_only_what_is_selected_is_converted() -> None:
    """A condition on one small tensor costs nothing for its neighbours."""
    scope = Scope(inputs={"x": np.array(1), "y": np.zeros(1000)}, headers={"h": "1"})
    assert _holds("inputs.x == 1", scope)
    assert set(scope._values) == {("inputs", "x")}
    assert _holds("inputs['x'] == 1 && inputs[params.missing] == 1 || true", scope)
    assert ("inputs", "y") in scope._values


def test_names_that_show_only_at_run_time_are_found() -> None:
    """`inputs[...]` of something that the request says."""
    scope = Scope(inputs={"a": np.array(1), "b": np.array(2)}, params={"which": "b"})
    assert _holds("inputs[params.which] == 2", scope)
    assert _holds("inputs.all(name, inputs[name] > 0)", scope)


@pytest.mark.parametrize(
    ("source", "inputs", "outputs", "shapes"),
    [
        ("inputs.x > 1 && inputs['y'] > 2 && has(inputs.z)", {"x", "y", "z"}, set(), set()),
        ("outputs.p > 1.0 || shapes.q[0] > 1", set(), {"p"}, {"q"}),
        ("inputs[params.n] == 1", set(), set(), set()),
        ("[1].all(inputs, inputs > 0) && inputs.x", {"x"}, set(), set()),
        (".inputs.x.exists(a, a.y == inputs.z)", {"x", "z"}, set(), set()),
        ("{'inputs': 1}.inputs == 1", set(), set(), set()),
    ],
)
def test_what_is_read_is_known_beforehand(
    source: str, inputs: set[str], outputs: set[str], shapes: set[str]
) -> None:  # fmt: skip
    """Names that are selected, not those of macros' own variables."""
    condition = Condition.parse(source, sees=ALL)
    assert condition.reads("inputs") == frozenset(inputs)
    assert condition.reads("outputs") == frozenset(outputs)
    assert condition.reads("shapes") == frozenset(shapes)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", r"an expression must not be empty"),
        ("outputs.x > 1", r"there is no 'outputs' here, only"),
        ("inputs.x + 1", r"its value is a whole number, but a condition must be true or false; .*as `\(\.\.\.\) > 0`"),
        ("size(inputs.x)", r"\^\nits value is a whole number, .*compare it with something, as `size\(inputs.x\) > 0`"),
        ("inputs.x.matches('(')", r"missing \)"),
        ("inputs.x.matches(params.p)", r"regular expression of `matches` must be written out"),
        (r"inputs.x.matches('\\Qa\\E')", r"no \\Q"),
        ("google.protobuf.Struct{} == {}", r"conditions cannot make messages, got 'google.protobuf.Struct'"),
        ("inputs.x == '\ud800'", r"not Unicode"),
        ("x" * (MAX_CONDITION_CHARACTERS + 1), r"at most 2000 characters, got 2001"),
    ],
)
def test_what_cannot_work_is_refused_before_it_runs(source: str, message: str) -> None:
    """With why."""
    with pytest.raises(InvalidGraph, match=message) as raised:
        Condition.parse(source, sees=frozenset({"inputs"}))
    assert len(raised.value.message) < 700


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "headers.tier == 'gold'",
            r"the request has no header 'tier'; where it may be missing, write `'tier' in headers && h",
        ),
        ("inputs.x == 1 && params.p", r"the request has no parameter 'p'"),
        ("outputs.x == 1", r"the body gives no output 'x'; where it may be missing, write `'x' in outputs && outputs"),
        ("{'a': inputs.x}['b'] == 1", r"there is no 'b'; where it may be missing, ask first, as `'a' in params`"),
        ("inputs.t", r"it must be true or false, got text"),
        ("inputs.x", r"it must be true or false, got a whole number"),
        ("inputs.t + 1 == 2", r"No matching overloads"),
        ("inputs.x / 0 == 1", r"divide by zero"),
        ("inputs.l[7] == 1", r"[Ii]ndex"),
        ("inputs.x.y == 1", r"SELECT|select"),
    ],
)
def test_what_has_no_value_fails_the_precondition(source: str, message: str) -> None:
    """The error names the expression and the cause."""
    scope = Scope(inputs={"x": np.array(1), "t": _texts(b"a"), "l": np.arange(3)})
    with pytest.raises(FailedPrecondition, match=message) as raised:
        _holds(source, scope)
    assert raised.value.message.startswith(f"expression {quote(source)}: ")


def test_a_number_that_cel_cannot_hold_fails_the_precondition() -> None:
    """A parameter of more than 64 bits is nobody's fault but the request's."""
    with pytest.raises(FailedPrecondition):
        _holds("params.p == 1", Scope(params={"p": 2**70}))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("headers.user", "ann"),
        ("params.i", "3"),
        ("params.b", "true"),
        ("inputs.x", "7"),
        ("params.i > 5", "false"),
        ("headers.user + '/' + string(params.i)", "ann/3"),
        ("'literal'", "literal"),
    ],
)
def test_a_key_is_text(source: str, value: str) -> None:
    """Strings as they are, whole numbers in decimals, bools as words."""
    scope = Scope(inputs={"x": np.array([7])}, params={"i": 3, "b": True}, headers={"user": "ann"})
    assert Key.parse(source).value(scope) == value


def test_a_key_that_is_none() -> None:
    """Fractions and lists do not tell requests apart reliably."""
    with pytest.raises(
        InvalidGraph, match=r"its value is a number with a fraction, but a key must be text, a whole number, or true or"
    ):
        Key.parse("1.5")
    with pytest.raises(InvalidGraph, match=r"take one element of it, as `\[1\]\[0\]`"):
        Key.parse("[1]")
    scope = Scope(inputs={"x": np.array(1.5), "l": np.arange(3), "b": _texts(b"\xff")})
    for name, kind in (("x", "a number with a fraction"), ("l", "a list"), ("b", "bytes")):
        with pytest.raises(FailedPrecondition, match=f"got {kind}"):
            Key.parse(f"inputs.{name}").value(scope)
    with pytest.raises(FailedPrecondition, match=r"no header 'zz'; .*, write `'zz' in headers \? headers.zz : ''`"):
        Key.parse("headers.zz").value(scope)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("headers['x-tier'] == 'gold'", "x-tier"),
        ("headers['a'] == 'gold' || inputs.x > 5", "a"),
        ("params.q > 5 ? true : false", "q"),
        ("  params['q'] == 'x' &&\n  true", "q"),
    ],
)
def test_what_an_error_about_a_missing_name_tells_to_write_has_a_value(source: str, name: str) -> None:
    """The condition in the message is accepted, does not hold without the name, and with it holds as before."""
    empty = Scope(inputs={"x": np.array(1)})
    with pytest.raises(FailedPrecondition) as caught:
        _holds(source, empty)
    written = re.findall("`(.*)`", caught.value.message)[0]
    assert written.startswith(f"'{name}' in ")
    if "..." not in written:
        assert not _holds(written, empty)
        for value in ("gold", "tin"):
            scope = Scope(inputs={"x": np.array(1)}, headers={name: value}, params={name: len(value) + 2})
            assert _holds(written, scope) == _holds(source, scope)


def test_a_key_guarded_as_told_has_a_value() -> None:
    """An empty text where the header is missing."""
    with pytest.raises(FailedPrecondition) as caught:
        Key.parse("headers['x-user']").value(Scope())
    key = Key.parse(re.findall("`(.*)`", caught.value.message)[0])
    assert [key.value(Scope()), key.value(Scope(headers={"x-user": "ann"}))] == ["", "ann"]


def test_asking_whether_a_name_is_there_costs_no_more_than_has() -> None:
    """It reads that name only, so that a guard leaves as large tensors to be seen as there were."""
    asked = Condition.parse("'x-tier' in headers && inputs.x.exists(v, v > 0.5)", sees=ALL).expression
    field = Condition.parse("has(headers.tier) && inputs.x.exists(v, v > 0.5)", sees=ALL).expression
    assert (asked.limits, asked.reading["headers"].whole) == (field.limits, False)
    assert Condition.parse("'x-tier' in headers", sees=ALL).reads("headers") == {"x-tier"}


@given(st.text(max_size=60))
def test_no_text_does_worse_than_being_refused(source: str) -> None:
    """Whatever is written, there is a condition or an InvalidGraph."""
    with contextlib.suppress(InvalidGraph):
        Condition.parse(source, sees=ALL)


@given(st.lists(st.floats(), min_size=2, max_size=20), st.floats())
def test_searching_a_list_agrees_with_python(values: list[float], bound: float) -> None:
    """`exists` is any, and `all` is all."""
    scope = Scope(inputs={"x": np.array(values), "b": np.array(bound)})
    assert _holds("inputs.x.exists(v, v > inputs.b)", scope) == any(value > bound for value in values)
    assert _holds("inputs.x.all(v, v <= inputs.b)", scope) == all(value <= bound for value in values)
