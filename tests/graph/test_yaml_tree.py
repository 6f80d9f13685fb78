"""YAML documents as trees: what is refused, and the readers of leaves."""

from __future__ import annotations

import time

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.yaml_tree import compose, fields, flag, items, named, number, text


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
        ("[" * 40, "line 1: at most 32 levels of nesting"),
    ],
)
def test_what_a_graph_never_needs_is_refused(document: str, expected: str) -> None:
    """Broken, several, aliased, tagged and deeply nested documents are refused, with the line where there is one."""
    with pytest.raises(InvalidGraph) as caught:
        compose(document)
    assert caught.value.message.startswith(expected)


def test_hostile_nesting_costs_nothing() -> None:
    """Ten thousand levels are refused at the thirty-third."""
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
