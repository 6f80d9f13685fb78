"""The next branch while one is not sure enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from graphmesh.core.errors import ModelFailed, Unavailable
from graphmesh.graph.running.actions.cascade import CascadeAction
from tests.graph.branches import Played, branches, play
from tests.graph.host import Reply

if TYPE_CHECKING:
    from tests.graph.host import Script


def _sure(*confidence: float, y: float = 0, **more: Any) -> Reply:  # noqa: ANN401 - any field of a reply
    return Reply({"y": np.array([y]), "p": np.array(confidence, np.float64)}, **more)


def _play(answers: dict[str, Script], outputs: tuple[str, ...] = ("y",)) -> Played:
    action = CascadeAction(branches=branches("".join(answers)), confidence="p", threshold=0.8)
    return play(action, answers, outputs=outputs)


def test_an_answer_that_is_sure_enough_is_taken() -> None:
    """At least the threshold; the costly branch is not called."""
    played = _play({"a": _sure(0.8, 0.9, y=1), "b": _sure(y=2)})
    assert played.values() == [1]
    assert played.host.names == ["a"]
    assert played.notes == {"chosen": "a", "confidence": "a 0.8"}


def test_the_smallest_element_counts() -> None:
    """One unsure row sends all of the request on."""
    played = _play({"a": _sure(0.99, 0.79, y=1), "b": _sure(y=2)})
    assert played.values() == [2]
    assert played.notes == {"chosen": "b", "confidence": "a 0.79"}
    assert played.degraded == []


def test_the_last_answer_is_taken_as_it_is() -> None:
    """It is not asked how sure it is."""
    played = _play({"a": _sure(0.1), "b": _sure(0.2), "c": Reply({"y": np.array([3.0])})})
    assert played.values() == [3]
    assert played.notes == {"chosen": "c", "confidence": "a 0.1, b 0.2"}
    assert played.host.made[2].call.outputs == ("y",)


@pytest.mark.parametrize("confidence", [(math.nan,), (0.9, math.nan), ()])
def test_what_is_no_number_is_not_sure(confidence: tuple[float, ...]) -> None:
    """NaN, and an answer about nothing."""
    assert _play({"a": _sure(*confidence, y=1), "b": _sure(y=2)}).values() == [2]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.bool_, np.int8])
def test_any_number_says_how_sure(dtype: Any) -> None:  # noqa: ANN401
    """All datatypes of numbers, and scalars."""
    reply = Reply({"y": np.array([1]), "p": np.array(1, dtype)})
    assert _play({"a": reply, "b": _sure(y=2)}).values() == [1]


def test_what_became_degraded_counts_with_its_answer_only() -> None:
    """The unsure branch's answer is not used."""
    played = _play({"a": _sure(0.1, degraded=("x",)), "b": _sure(0.9, degraded=("y",)), "c": _sure()})
    assert played.degraded == ["step/b/y"]


def test_a_branch_that_fails_fails_the_step() -> None:
    """A cascade is no fallback."""
    played = _play({"a": Reply(error=Unavailable("down")), "b": _sure(y=2)})
    assert isinstance(played.error, Unavailable)
    assert played.host.names == ["a"]


def test_text_and_nothing_at_all_are_refused() -> None:
    """The error names output and branch."""
    text = Reply({"y": np.array([1]), "p": np.array([b"very"], dtype=object)})
    for reply, found in ((text, "has text"), (Reply({"y": np.array([1])}), "has none")):
        played = _play({"a": reply, "b": _sure()})
        assert isinstance(played.error, ModelFailed)
        assert played.error.message == f"output 'p' must say in numbers how sure an answer is; that of a {found}"


def test_the_confidence_may_be_an_output_of_the_step() -> None:
    """It is asked for once."""
    played = _play({"a": _sure(0.9), "b": _sure()}, ("y", "p"))
    assert played.values("p") == [0.9]
    assert played.host.made[0].call.outputs == ("y", "p")
