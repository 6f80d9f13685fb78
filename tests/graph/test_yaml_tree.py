"""YAML documents as trees: what is refused, and the readers of leaves."""

from __future__ import annotations

import time

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.yaml_tree import (
    choice,
    compose,
    duration,
    fields,
    flag,
    items,
    named,
    number,
    real,
    size,
    text,
)
from graphmesh.graph.spec import Join


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("", "line 1: the document must not be empty"),
        ("a: 1\nb: [", "line 2: expected the node content"),
        ("a: 1\n\tb: 2", "line 2: found character"),
        ("a: 1\n---\nb: 2", "line 2: but found another document"),
        ("a: &x 1\nb: *x", "line 1: aliases are not allowed"),
        ("a: 1\nb: *x", "line 2: aliases are not allowed"),
        ("a: 1\nb: !!python/name:os.system", "line 2: tags are not allowed"),
        ("a: 1\nb: !!binary aGk=", "line 2: tags are not allowed"),
        ("a: \x00", "not YAML: "),
        ("[\n" + "a," * 60_000, "line 2: at most 50000 keys, values and items are allowed; nest graphs instead"),
        ("[" * 50, "line 1: at most 48 levels of nesting"),
    ],
)
def test_what_a_graph_never_needs_is_refused(document: str, expected: str) -> None:
    """Broken, several, aliased, tagged and deeply nested documents are refused, with the line where there is one."""
    with pytest.raises(InvalidGraph) as caught:
        compose(document)
    assert caught.value.message.startswith(expected)


def test_hostile_nesting_costs_nothing() -> None:
    """Ten thousand levels are refused at the forty-ninth."""
    start = time.perf_counter()
    with pytest.raises(InvalidGraph):
        compose('{"a":' * 10_000)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("[1]", "line 1: a thing must be a mapping, got a list"),
        ("x", "line 1: a thing must be a mapping, got 'x'"),
        ("size: 1\nsize: 2", "line 2: a thing has 'size' twice"),
        ("batchSize: 1\nbatch_size: 2", "line 2: a thing has 'batch_size' twice"),
        ("a: 1\nsise: 2", "line 1: a thing has no field 'a'; there are"),
        ("size: 1\nsise: 2", "line 2: a thing has no field 'sise'; did you mean 'size'?"),
        ("[1, 2]: 3", "line 1: a key of a thing must be text, got a list"),
        ("~: 3", "line 1: a key of a thing must be text, got nothing"),
    ],
)
def test_fields_must_be_known_and_given_once(document: str, expected: str) -> None:
    """A misspelt, unknown or repeated field is refused with its line, not ignored."""
    with pytest.raises(InvalidGraph) as caught:
        fields(compose(document), "a thing", ("size", "batch_size"))
    assert caught.value.message.startswith(expected)


def test_fields_that_are_null_count_as_absent() -> None:
    """As in proto3 JSON, null is the default; JSON's spelling of names is understood."""
    assert list(fields(compose("batchSize: 1\nsize: null"), "a thing", ("size", "batch_size"))) == ["batch_size"]


def test_text_is_taken_as_written() -> None:
    """What YAML would make a boolean, a number or a date stays the text that a name is."""
    assert [text(node, "x") for node in items(compose("[no, 010, 1.0, 2024-01-01, '']"), "list")] == [
        "no",
        "010",
        "1.0",
        "2024-01-01",
        "",
    ]
    assert text(None, "x") == ""


def test_leaves_that_are_absent_have_defaults() -> None:
    """Missing values read as in protobuf: 0, false, empty."""
    assert (number(None, "x"), flag(None, "x"), items(None, "x"), named(None, "x", lambda *_: 1)) == (0, False, [], ())
    assert (duration(None, "x"), size(None, "x")) == (0.0, 0)
    assert choice(None, "x", Join, default=Join.ANY) is Join.ANY


@pytest.mark.parametrize("document", ["8", '"8"'])
def test_numbers_may_be_quoted(document: str) -> None:
    """As in proto3 JSON, a number may be written as text."""
    assert number(compose(document), "x") == 8


@pytest.mark.parametrize("document", ["-1", "1.5", "x", "99999999999", "[1]"])
def test_other_numbers_are_refused(document: str) -> None:
    """Sizes are whole and not negative."""
    with pytest.raises(InvalidGraph, match="line 1: x must be"):
        number(compose(document), "x")


def test_flags_are_true_or_false() -> None:
    """Only `true` and `false` are flags; YAML's other spellings are names."""
    assert flag(compose("true"), "x")
    assert not flag(compose("false"), "x")
    with pytest.raises(InvalidGraph, match="x must be true or false, got 'yes'"):
        flag(compose("yes"), "x")


def test_lists_may_leave_out_their_brackets_where_that_is_said() -> None:
    """One item stands for a list of one only where the reader allows it."""
    assert [text(node, "x") for node in items(compose("crop"), "over", single=True)] == ["crop"]
    with pytest.raises(InvalidGraph, match="over must be a list, got 'crop'"):
        items(compose("crop"), "over")
    with pytest.raises(InvalidGraph, match="over must be a list, got a mapping"):
        items(compose("a: b"), "over", single=True)


def test_named_things_are_a_mapping_or_a_list() -> None:
    """Entries of a mapping come with their names, items of a list without."""
    assert named(compose("a: x\nb: y"), "t", lambda node, name: (name, text(node, ""))) == (("a", "x"), ("b", "y"))
    assert named(compose("[x]"), "t", lambda node, name: (name, text(node, ""))) == ((None, "x"),)
    with pytest.raises(InvalidGraph, match="t must be a mapping by name or a list, got 'x'"):
        named(compose("x"), "t", lambda node, name: name)


@pytest.mark.parametrize(
    ("document", "expected"),
    [("0.9", 0.9), ("-1", -1.0), ("+.5e-3", 0.0005), ("3.", 3.0), ("'1.0E+2'", 100.0), ("-0", 0.0)],
)
def test_real_numbers_are_read_as_written(document: str, expected: float) -> None:
    """Signs, fractions and exponents; zero has no sign."""
    assert str(real(compose(document), "x")) == str(expected)


@pytest.mark.parametrize("document", ["x", ".inf", "nan", "1e999", "0x10", "1_000", "[1]", "1" * 500])
def test_what_is_no_finite_number_is_refused(document: str) -> None:
    """Infinities, other bases and separators are refused with the line."""
    with pytest.raises(InvalidGraph, match="line 1: x must be"):
        real(compose(document), "x")


def test_amounts_are_read_with_their_units() -> None:
    """Durations are seconds, sizes bytes; a mistake has its line and what it is about."""
    assert duration(compose("50ms"), "x") == 0.05
    assert size(compose("1KiB"), "x") == 1024
    with pytest.raises(InvalidGraph, match="line 1: x: a duration must be a number and its unit"):
        duration(compose("50"), "x")
    with pytest.raises(InvalidGraph, match="line 1: x: a size must be"):
        size(compose("1kB"), "x")
    with pytest.raises(InvalidGraph, match="line 1: x must be text, got a list"):
        size(compose("[1]"), "x")


@pytest.mark.parametrize("document", ["quorum", "JOIN_QUORUM"])
def test_choices_are_written_short_or_as_json_has_them(document: str) -> None:
    """The member's value, or the protocol's name of it."""
    assert choice(compose(document), "join", Join, default=Join.ALL) is Join.QUORUM
    assert choice(compose("JOIN_UNSPECIFIED"), "join", Join, default=Join.ANY) is Join.ANY


@pytest.mark.parametrize("document", ["Quorum", "QUORUM", "JOIN_quorum", "JOIN_SOME", "", "2"])
def test_other_choices_are_refused(document: str) -> None:
    """Anything else is refused with what there is."""
    with pytest.raises(InvalidGraph, match="line 1: join must be one of all, any, quorum, first, got"):
        choice(compose(f"'{document}'"), "join", Join, default=Join.ALL)
