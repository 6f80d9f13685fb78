"""Names in an expression that stand for nothing."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.conditions import Condition
from graphmesh.graph.conditions.problems import Problem
from graphmesh.graph.conditions.undeclared import FUNCTIONS, undeclared

ALL = frozenset({"inputs", "outputs", "iteration"})


@pytest.mark.parametrize("written", FUNCTIONS.values())
def test_each_function_is_written_as_errors_say(written: str) -> None:
    """All that are listed exist."""
    Condition.parse(f"[dyn(inputs.x)].all(x, [{written}] != [])", sees=ALL)


def test_a_function_that_is_not_there_is_told_with_those_that_are() -> None:
    """All of them, below the place."""
    with pytest.raises(InvalidGraph) as caught:
        Condition.parse("sqrt(outputs.delta) > 1", sees=ALL)
    assert caught.value.message == (
        "this expression cannot work, character 1:\n"
        "    sqrt(outputs.delta) > 1\n"
        "    ^\n"
        "there is no function `sqrt`\n"
        f"The functions are {', '.join(FUNCTIONS)}; for all else put a transform or a model before the step"
    )


def test_a_variable_that_is_nearly_there_is_named() -> None:
    """Beside how a tensor of that name would be written."""
    with pytest.raises(InvalidGraph, match=r"did you mean 'iteration'\? A tensor is `inputs.iteraton`, and text is in"):
        Condition.parse("iteraton > 2", sees=ALL)


def test_other_problems_are_none_of_this() -> None:
    """They are said elsewhere."""
    assert undeclared("1 +", Problem(1, 4, "mismatched input"), ["inputs"]) is None
