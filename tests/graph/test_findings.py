"""Mistakes that are collected and told together."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.graph.checks.findings import MAX_FOUND, MAX_SHOWN, ByStep, Findings, told
from tests.graph.typing_help import graph, model


def _settled(findings: Findings) -> InvalidGraph:
    with pytest.raises(InvalidGraph) as caught:
        findings.settle()
    return caught.value


def _fail(error: Exception) -> None:
    raise error


def test_nothing_found_is_no_error() -> None:
    """Settling goes on."""
    Findings().settle()


def test_one_mistake_is_told_as_it_is() -> None:
    """With where it is, whatever kind of wrong it was."""
    findings = Findings()
    with findings.inside("node a").inside("`key`").note():
        _fail(InvalidRequest("no key"))
    error = _settled(findings)
    assert (error.message, told(error)) == ("node a: `key`: no key", ["node a: `key`: no key"])


def test_several_are_told_in_order_and_stay_apart() -> None:
    """Also where they were collected once before, and where one has several lines."""
    inner, outer = Findings("inside"), Findings()
    for text in ("first\n  ^", "second"):
        with inner.note():
            _fail(InvalidGraph(text))
    with outer.inside("node a").note():
        inner.settle()
    with outer.note():
        _fail(InvalidGraph("third"))
    error = _settled(outer)
    assert told(error) == ["node a: inside: first\n  ^", "node a: inside: second", "third"]
    assert error.message == "3 mistakes\n- node a: inside: first\n    ^\n- node a: inside: second\n- third"


def test_several_are_worded_anew_like_any_error() -> None:
    """By their message or by their class: that is the whole text, not a list to be made into one."""
    findings = Findings()
    findings.add(["first", "second"])
    error = _settled(findings)
    other = error.reworded(f"g.yaml: {error.message}")
    assert other.message == str(other) == "g.yaml: 2 mistakes\n- first\n- second"
    assert (told(other), type(error)("g.yaml: no").message) == (["first", "second"], "g.yaml: no")


def test_what_is_no_mistake_of_the_graph_is_not_collected() -> None:
    """A bug stays a bug."""
    with pytest.raises(KeyError), Findings().note():
        raise KeyError("x")


@pytest.mark.parametrize(("length", "shown"), [(5, MAX_SHOWN), (900, 4)])
def test_how_much_is_told_is_bounded(length: int, shown: int) -> None:
    """The rest is a number."""
    findings = Findings()
    findings.add("x" * length for _ in range(50))
    lines = _settled(findings).message.splitlines()
    assert lines[0] == "50 mistakes"
    assert len(lines) == shown + 2
    assert lines[-1] == f"- and {50 - shown} more, told once these are mended"


def test_no_more_is_looked_for_when_much_is_wrong() -> None:
    """Whatever collects around it, what was found so far is told, each mistake once."""
    looked = []

    def look() -> None:
        outer, inner = Findings(), Findings("inside")
        with outer.note():
            with outer.note():
                _fail(InvalidGraph("before"))
            with outer.note():
                for number in range(1_000):
                    looked.append(number)
                    with inner.note():
                        _fail(InvalidGraph(str(number)))

    with pytest.raises(InvalidGraph) as caught:
        look()
    assert len(looked) == MAX_FOUND + 1
    assert caught.value.message.splitlines()[:3] == [f"more than {MAX_FOUND} mistakes", "- before", "- inside: 0"]
    assert len(told(caught.value)) == MAX_FOUND + 2


def test_no_more_steps_are_looked_at_when_much_is_wrong() -> None:
    """What was found is told in the order of the document."""
    nodes = tuple(model(f"n{number}", "x") for number in range(100))
    found, looked = ByStep(graph({"x": ""}, nodes, {"y": "n0.y"})), []

    def look() -> None:
        for number in reversed(range(100)):
            looked.append(number)
            with found.step(f"n{number}"):
                _fail(InvalidGraph(str(number)))

    with pytest.raises(InvalidGraph) as caught:
        look()
    assert len(looked) == MAX_FOUND + 1
    assert told(caught.value) == [str(number) for number in reversed(looked)]


def test_mistakes_of_steps_are_told_in_the_order_in_which_these_are_written() -> None:
    """Whatever order they were looked at in; what is the graph's own comes last."""
    nodes = (model("c", {"x": "a.y"}), model("b", {"x": "c.y"}), model("a", "x"), model("d", "x"))
    found = ByStep(graph({"x": ""}, nodes, {"y": "b.y"}))
    with found.whole():
        _fail(InvalidGraph("whole"))
    for name in ("d", "a"):
        with found.step(name):
            _fail(InvalidGraph(name))
    with found.step("c"):
        pass
    with pytest.raises(InvalidGraph) as caught:
        found.settle()
    assert told(caught.value) == ["a", "d", "whole"]


def test_what_reads_from_a_step_that_is_wrong_is_not_sound() -> None:
    """Nor what reads from that; neither is a mistake of its own."""
    a, b, c, d = nodes = (model("a", "x"), model("b", {"x": "a.y"}), model("c", {"x": "b.y"}), model("d", "x"))
    found = ByStep(graph({"x": ""}, nodes, {"y": "c.y"}))
    with found.step("a"):
        _fail(InvalidGraph("a"))
    assert [found.sound(node) for node in (a, b, c, d)] == [False, False, False, True]
    assert [found.readable(name) for name in ("c", "d", "")] == [False, True, True]
    with pytest.raises(InvalidGraph, match=r"^a$"):
        found.settle()
