"""Conditions of a graph against the types that its signatures give."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.spec import Binding, Cache, Case, Loop, ModelCall, Share, Split, Switch
from tests.graph.typing_help import graph, model, signed, step, typed

CATALOG = {
    "lang": signed({"text": "TEXT"}, {"lang": "TEXT", "scores": "FP32 (3,)"}),
    "a": signed({"text": "TEXT"}, {"y": "INT64 (N,)"}),
    "grow": signed({"x": "INT64 (N,)"}, {"x": "INT64 (M,)", "done": "BOOL"}),
}


def _switched(when: str, *more: str) -> Switch:
    cases = (when, *more)
    return Switch(
        cases=tuple(Case(when=each, then=step(f"b{index}", ModelCall(name="a"))) for index, each in enumerate(cases))
    )


def _route(when: str, *more: str) -> None:
    nodes = (
        model("lang", "text"),
        step("route", _switched(when, *more), {"text": "text", "lang": "lang.lang", "p": "lang.scores"}),
    )
    typed(graph({"text": "TEXT"}, nodes, {"y": "route.y"}), CATALOG)


def test_types_come_along_the_edges() -> None:
    """What a model before the step gives is what its condition sees."""
    _route("inputs.lang == 'en' && inputs.p[0] > 0.5 && shapes.p[0] == 3")
    with pytest.raises(InvalidGraph) as caught:
        _route("inputs.lang > 5")
    assert caught.value.message == (
        "node route: the case of branch 'b0': this expression does not fit the tensors that it reads, character 13:\n"
        "    inputs.lang > 5\n"
        "                ^\n"
        "`>` cannot be applied to text and a whole number (inputs.lang is TEXT ()): compare what is of one kind: text "
        "with 'en', a number with 5; `int(...)` and `string(...)` convert"
    )


def test_all_conditions_that_are_wrong_are_told() -> None:
    """In their order."""
    with pytest.raises(InvalidGraph) as caught:
        _route("inputs.lang", "inputs.lang == 'a'", "inputs.p > 0.5")
    lead, *mistakes = caught.value.message.split("\n- ")
    assert lead == "2 mistakes"
    assert ["branch 'b0'" in mistakes[0], "branch 'b2'" in mistakes[1]] == [True, True]


def test_steps_inside_others_and_keys_are_checked() -> None:
    """With the path of the step."""
    inner = step("pick", Split(shares=(Share(weight=1, then=model("a")),), key="inputs.text + 1"), "text")
    outer = step("kept", Cache(body=inner), "text")
    with pytest.raises(
        InvalidGraph, match=r"^node kept/pick: `key`: .*\n.*\n.*\n`\+` cannot be applied to text and a whole"
    ):
        typed(graph({"text": "TEXT"}, (outer,), {"y": "kept.y"}), CATALOG)


def _looped(until: str, *, given: str = "INT64 (N,)") -> None:
    kind = Loop(body=model("grow"), max_iterations=3, until=until, carry=(Binding(name="x", source="x"),))
    typed(graph({"x": given}, (step("n", kind, "x"),), {"x": "n.x"}), CATALOG)


def test_a_loop_sees_what_its_body_gives() -> None:
    """And what it is given, which may have another length each time."""
    _looped("outputs.done && iteration > 1 && shapes.done == []")
    _looped("size(inputs.x) > 5 || inputs.x == 5", given="INT64 (1,)")
    with pytest.raises(InvalidGraph, match=r"outputs.done is BOOL \(\)"):
        _looped("outputs.done == 1")
    with pytest.raises(InvalidGraph, match=r"until reads shapes.dome, but grow gives x, done; did you mean 'done'"):
        _looped("shapes.dome[0] > 1")


def test_an_input_without_a_type_has_that_of_its_reader() -> None:
    """Wherever that reader is."""
    kind = _switched("inputs.text > 5")
    with pytest.raises(InvalidGraph, match=r"inputs.text is TEXT \(\)"):
        typed(graph({"text": ""}, (step("route", kind, "text"),), {"y": "route.y"}), CATALOG)
