"""Expressions are from someone else: none of them crashes the process, takes long, or fills the memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import FailedPrecondition, InvalidGraph
from graphmesh.graph.conditions import Condition, Scope
from graphmesh.graph.conditions.cost import MAX_COST, MAX_PARAMETER_BYTES, MAX_TEXT_BYTES
from graphmesh.graph.limits import MAX_CONDITION_CHARACTERS, MAX_CONDITION_ELEMENTS

if TYPE_CHECKING:
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.conditions.cost import Limits

SEES = frozenset({"inputs"})
SLOW_S = 0.5
"""Of processor time: no allowed evaluation takes 10 ms on an idle machine, and a busy one gets this."""

# What is worst for the library, as long as what conditions see allows.
WORST = Scope(
    inputs={
        "l": np.arange(MAX_CONDITION_ELEMENTS),
        "m": np.arange(MAX_CONDITION_ELEMENTS) + MAX_CONDITION_ELEMENTS,
        "t": np.array([b"a" * MAX_TEXT_BYTES], dtype=object),
        "w": np.array([b"a" * (MAX_TEXT_BYTES // MAX_CONDITION_ELEMENTS)] * MAX_CONDITION_ELEMENTS, dtype=object),
    },
    headers={"h": "a" * (MAX_PARAMETER_BYTES - 1) + "b"},
)


def _cut(limits: Limits) -> Scope:
    """Return the worst of what an expression with these limits sees."""
    inputs = {name: tensor[: limits.elements] for name, tensor in WORST.inputs.items()}
    text = np.array([b"a" * limits.text], dtype=object)
    return Scope(inputs=inputs | {"t": text}, headers={"h": "a" * (limits.parameter - 1) + "b"})


def _try(source: str, scope: Scope | None = None) -> object:
    """Return whether it holds, on the worst that it sees if nothing else is said, or the error; none takes long."""
    result: object
    try:
        condition = Condition.parse(source, sees=SEES)
        scope = scope or _cut(condition.expression.limits)
        start = time.thread_time()
        result = condition.holds(scope)
    except InvalidGraph as error:
        return error
    except FailedPrecondition as error:
        result = error
    assert time.thread_time() - start < SLOW_S
    return result


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("inputs.t.matches('(a+)+$')", True),
        ("inputs.t.matches('(a|aa)+b')", False),
        ("inputs.t.matches('(a*)*(a*)*(a*)*b')", False),
        ("inputs.t.contains(headers.h)", False),
        ("inputs.w.exists(x, x.matches('^b[a-z]+$'))", False),
        ("inputs.w.exists(x, x.contains('b') || x.endsWith('b') || x == 'b')", False),
        ("inputs.l.exists(a, a in inputs.m)", False),
        ("inputs.l.map(a, a * 2).filter(a, a > 100).size() > 1", True),
        ("inputs.t + inputs.t + inputs.t == inputs.t", False),
        (r"inputs.t.matches('^\\d{4}-\\d{2}-\\d{2}T')", False),
        (r"inputs.t.matches('\\pL+')", True),
        ("inputs.l == inputs.m", False),
    ],
)
def test_what_people_write_is_allowed_at_the_largest_sizes(source: str, expected: object) -> None:
    """No backtracking, no long wait."""
    assert _try(source) is expected
    assert Condition.parse(source, sees=SEES).expression.limits.elements >= 128
    assert Condition.parse(source, sees=SEES).expression.cost <= MAX_COST


def test_what_costs_much_for_each_element_sees_fewer() -> None:
    """What is larger is not seen, and the error says what is."""
    linear = Condition.parse("inputs.l.exists(a, a > 5)", sees=SEES)
    quadratic = Condition.parse("inputs.l.filter(a, a > 5).size() > 3", sees=SEES)
    assert linear.holds(WORST)
    assert linear.expression.limits.elements == MAX_CONDITION_ELEMENTS
    assert quadratic.expression.limits.elements == 256
    assert quadratic.holds(_cut(quadratic.expression.limits))
    with pytest.raises(
        FailedPrecondition, match=r"inputs.l is too large to be seen: at most 256 elements and 16384 byt"
    ):
        quadratic.holds(WORST)
    assert linear.holds(WORST)


def test_a_pattern_that_makes_backtracking_engines_hang_is_instant() -> None:
    """(a+)+$ on 50 characters and one that does not fit takes other engines years."""
    scope = Scope(inputs={"x": np.array([b"a" * 50 + b"!"], dtype=object)})
    assert _try("inputs.x.matches('(a+)+$')", scope) is False


@pytest.mark.parametrize(
    "source",
    [
        # Macros inside macros, at which the library itself only stops after 10,000 iterations.
        "inputs.l.all(a, inputs.l.all(b, inputs.l.all(c, c >= 0)))",
        # Texts that grow with each step: unchecked, the first takes gigabytes.
        "['ab']" + ".map(a, a + a + a + a + a + a + a + a + a + a)" * 8 + ".size() > 0",
        f"[inputs.t].all(a, [{'+'.join('a' * 9)}].all(b, [{'+'.join('b' * 9)}].all(c, [{'+'.join('c' * 9)}] == [c])))",
        # Lists likewise, and lists that hold one list many times, which are small until they are compared.
        "[[1]]" + ".map(a, a + a + a + a + a + a + a + a + a + a)" * 8 + ".size() > 0",
        "[[1]]" + ".map(a, [a, a, a, a, a, a, a, a, a, a])" * 8 + ".all(a, a == a)",
        "inputs.l.map(a, inputs.l.map(b, inputs.l)) == inputs.l.map(a, inputs.l.map(b, inputs.l))",
        # All of a list in one of its elements: the average says nothing of squares.
        "inputs.l.all(a, inputs.w.all(x, !(x + x).contains(x + 'b')))",
        "[inputs.w + inputs.w + inputs.w + inputs.w].all(v, v.map(w, 1).size() > 5)",
        # Long texts searched for every element.
        "inputs.l.all(a, inputs.t.matches('x'))",
        "inputs.l.all(a, inputs.t.contains('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'))",
        "inputs.l.all(a, inputs.l.all(b, inputs.t + 'a' != inputs.t))",
        # Large automata, compiled for each match and run on long texts.
        "inputs.t.matches('((a|b)?){900}c')",
        r"inputs.t.matches('(\\pL|\\pN){300}c')",
        r"inputs.l.exists(a, 'x'.matches('[\\pL\\pN]+y'))",
        "inputs.l.exists(a, 'x'.matches('(a|b)*a(a|b){500}c'))",
        "inputs.t.matches('((a|b)*a(a|b){900}c|(a|b)*b(a|b){900}d|.*a.{900}e)')",
    ],
)
def test_what_could_cost_too_much_is_refused(source: str) -> None:
    """Before anything runs, with the numbers; or it sees so little that it is done in time."""
    error = _try(source)
    if isinstance(error, InvalidGraph):
        assert f"at most {MAX_COST} are allowed" in error.message
    else:
        limits = Condition.parse(source, sees=SEES).expression.limits
        assert limits.elements <= 128
        with pytest.raises(FailedPrecondition, match="too large to be seen"):
            Condition.parse(source, sees=SEES).holds(WORST)


def test_what_is_built_of_lists_stays_within_the_time() -> None:
    """The most that is allowed of nested `map`s; each copies its list for every element."""
    assert _try("inputs.l.map(a, inputs.m.map(b, a + b)).size() > 5") is True


_LISTS = st.sampled_from(["inputs.l", "inputs.m", "inputs.w"])
_TEXTS = st.sampled_from(["inputs.t", "headers.h", "'aab'"])
_BODIES = st.sampled_from(
    ["v in inputs.l", "v == v", "inputs.l == inputs.m", "'a'.matches('(a?){20}b')", "inputs.t.contains('aab')", "true"]
)
_WALKS = st.builds("{}.{}(v, {})".format, _LISTS, st.sampled_from(["map", "filter"]), _BODIES)
_WHOLES = st.one_of(
    st.builds("{}.{}(v, {})".format, _LISTS | _WALKS, st.sampled_from(["all", "exists", "exists_one"]), _BODIES),
    st.builds("size({}) > 9999".format, _LISTS | _WALKS),
    st.builds("{} == {}".format, _WALKS, _LISTS | _WALKS),
    st.builds("{}.contains({})".format, _TEXTS, _TEXTS),
    st.builds("{}.matches('{}')".format, _TEXTS, st.sampled_from(["(a+)+$", "(a|b)*a(a|b){20}c", "[a-z]+x", "(?i)B"])),
)


@given(st.lists(_WHOLES, min_size=1, max_size=3))
def test_whatever_is_allowed_takes_little_time(parts: list[str]) -> None:
    """On the worst that it sees: `_try` measures."""
    _try(" || ".join(parts))


_CHILD = """
import json, sys
from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.conditions import Condition
for source in json.load(sys.stdin):
    try:
        Condition.parse(source, sees=frozenset({"inputs"}))
        print("allowed")
    except InvalidGraph as error:
        print(error.message.replace("\\n", " ")[:200])
"""


def test_no_text_ends_the_process() -> None:
    """Deep nesting, long texts, and characters that nobody expects, tried in a process of its own."""
    deep = (MAX_CONDITION_CHARACTERS - 10) // 2
    sources = [
        "(" * 10_000 + "true" + ")" * 10_000,
        "(" * deep + "true" + ")" * deep,
        "[" * deep + "]" * deep,
        "!" * (MAX_CONDITION_CHARACTERS - 5) + "true",
        "true ? " * 250 + "true",
        "{1:" * 400 + "1" + "}" * 400,
        "inputs" + ".a" * 900,
        "inputs" + "[0]" * 600,
        "1" + "+1" * 900 + " > 0",
        "x" * 100_000,
        "\0",
        "true\0",
        "inputs.x == '\0'",
        "\u202etrue\U0001f600",
        "'\U0001f600'.size() == 1",
        "\ufeff true",
        "`inputs`",
        "'" + "a" * 1_900,
        "/" * 1_999,
        "b'\\xff' == b'\\377'",
        "inputs.x.matches('" + "(" * 900 + ")" * 900 + "')",
        "inputs.x.matches('" + "a*" * 900 + "')",
    ]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    answers = child.stdout.splitlines()
    assert (child.returncode, len(answers)) == (0, len(sources)), child.stderr[-500:]
    allowed = {source for source, answer in zip(sources, answers, strict=True) if answer == "allowed"}
    assert {"inputs.x == '\0'", "'\U0001f600'.size() == 1", "b'\\xff' == b'\\377'"} <= allowed
    assert all("nested too deeply" in answers[place] for place in (1, 2, 6, 7, 8))
    assert "at most 2000 characters" in answers[0]


def test_sizes_of_the_worst_scope_are_the_limits() -> None:
    """What the tests above call worst is as large as anything that a condition sees."""

    def seen(tensor: Tensor) -> bool:
        return Condition.parse("has(inputs.x)", sees=SEES).holds(Scope(inputs={"x": tensor}))

    assert all(seen(tensor) for tensor in WORST.inputs.values())
    assert not seen(np.append(WORST.inputs["l"], 0))
    assert not seen(np.array([WORST.inputs["t"][0] + b"a"], dtype=object))
