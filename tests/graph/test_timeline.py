"""What happened to one request."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any, cast

from graphmesh.core.clock import NO_DEADLINE
from graphmesh.graph.running.call import Call
from graphmesh.graph.running.ending import CANCELLED, OK, Ending
from graphmesh.graph.running.timeline import Timeline
from graphmesh.graph.running.timing import CallTiming, timing_of
from graphmesh.graph.spec import Cascade, Fallback, Graph, GraphCall, GraphInput, Loop, Map, Race, Transform
from tests.graph.pictured import model, step

if TYPE_CHECKING:
    from graphmesh.graph.running.frame import Run
    from graphmesh.graph.spec import Target

SLOW, FAST = model("slow", "m", x="x"), step("fast", GraphCall(name="h"), x="x")
EACH = step("each", Map(target=GraphCall(name="h"), over=("x",)), x="slow.y", k="fast.y")
GRAPH = Graph(name="g", inputs=(GraphInput(name="x"),), nodes=(EACH, SLOW, FAST))


def call(path: str, target: Target | None = None) -> Call:
    """Return a call of whatever the path names."""
    run = cast("Run", None)
    return Call(target or GraphCall(name="h"), {}, (), path, NO_DEADLINE, run)


def timing(start: float, end: float, *, outcome: str = "ok", **more: Any) -> CallTiming:  # noqa: ANN401 - any field
    """Return the timing of a call that began and ended so many milliseconds after the run began, at 10 s."""
    return CallTiming(**{"start": 10 + start / 1000, "end": 10 + end / 1000, "ending": Ending(outcome), **more})


def nodes(timeline: Timeline) -> dict[str, dict[str, Any]]:
    """Return the entries by path, branches too."""
    found: dict[str, dict[str, Any]] = {}
    left = list(cast("list[dict[str, Any]]", timeline.to_dict(end=11)["nodes"]))
    for entry in left:  # grows while it is walked
        found[entry["node"]] = entry
        left += entry.get("branches", [])
    return found


def path(timeline: Timeline) -> object:
    """Return the critical path."""
    return timeline.to_dict(end=11)["critical_path"]


def test_an_answer_explains_where_its_time_went() -> None:
    """Steps come in starting order with their own times; a map's calls are one entry; the critical path is named."""
    timeline = Timeline(GRAPH, revision=7, start=10.0)
    timeline.record(call("fast"), timing(1, 2, worker="w2", version="4", parts={"network": 0.0002}))
    timeline.record(call("slow", SLOW.target), timing(0.5, 5, worker="w1", fused=True, version="1"))
    parts = {"queue": 0.0001, "compute": 0.0005}
    timeline.record(call("each[1]"), timing(6.1, 7, worker="w2", parts=parts, batch_rows=4, retries=1))
    timeline.record(call("each[0]"), timing(6, 9, worker="w1", fused=True, parts={"queue": 0.0002}, version="2"))
    explained = timeline.to_dict(end=10.0095)
    assert json.loads(json.dumps(explained)) == explained
    assert {key: value for key, value in explained.items() if key != "nodes"} == {
        "graph": "g",
        "revision": 7,
        "duration_ms": 9.5,
        "critical_path": ["slow", "each"],
    }
    slow, fast, each = cast("list[dict[str, Any]]", explained["nodes"])
    assert slow == {
        "node": "slow",
        "kind": "model",
        "outcome": "ok",
        "start_ms": 0.5,
        "duration_ms": 4.5,
        "target": "m",
        "version": "1",
        "worker": "w1",
        "fused": True,
        "calls": 1,
        "calls_ms": 4.5,
    }
    assert (fast["node"], fast["kind"], fast["fused"], fast["network_ms"]) == ("fast", "graph", False, 0.2)
    assert each == {
        "node": "each",
        "kind": "map",
        "outcome": "ok",
        "start_ms": 6.0,
        "duration_ms": 3.0,
        "target": "h",
        "version": "2",
        "worker": "w1,w2",
        "fused": False,
        "calls": 2,
        "calls_ms": 3.9,
        "queue_ms": 0.3,
        "compute_ms": 0.5,
        "batch_rows": 4,
        "retries": 1,
    }


def test_nested_graphs_are_placed_in_time() -> None:
    """A graph that ran here began with its call; one elsewhere is put amid its call, which it took less than."""
    timeline = Timeline(GRAPH, revision=1, start=10)
    facts = {"graph": "h", "duration_ms": 2, "nodes": [], "worker": "w2", "network_ms": 1.5, "serialise_ms": 0.5}
    timeline.record(call("fast"), timing_of(facts, start=10.001, end=10.005, fused=False, version="4"))
    timeline.record(call("each[0]"), timing_of(facts, start=10.006, end=10.01, fused=True, version="4"))
    found = nodes(timeline)
    assert found["fast"]["nested"] == [
        {"call": "fast", "start_ms": 2.0, "graph": "h", "duration_ms": 2, "nodes": [], "worker": "w2"}
    ]
    assert (found["fast"]["network_ms"], found["fast"]["serialise_ms"]) == (1.5, 0.5)
    assert [one["start_ms"] for one in found["each"]["nested"]] == [6.0]


def test_of_many_nested_graphs_the_longest_are_told() -> None:
    """A map over a thousand items does not make an answer of a thousand explanations."""
    timeline = Timeline(GRAPH, revision=1, start=10)
    for index in range(1000):
        facts = {"graph": "h", "duration_ms": 1, "nodes": []}
        ends = 10 + (1000 + index) / 1000
        timeline.record(
            call(f"each[{index}]"), timing_of(facts, start=10 + index / 10000, end=ends, fused=True, version="1")
        )
    entry = nodes(timeline)["each"]
    assert entry["calls"] == 1000
    assert [one["call"] for one in entry["nested"]] == [f"each[{index}]" for index in range(984, 1000)]


def test_what_is_kept_does_not_grow_with_the_calls() -> None:
    """As of a stream that goes on and on, whose every answer tells what is known by then."""
    timeline = Timeline(GRAPH, revision=7, start=0.0)
    for i in range(2_000):
        timeline.record(
            call(f"each[{i}]"), timing(i, i + 1, worker=f"w{i}", parts={"queue": 0.001}, nested={"nodes": []})
        )
    (entry,) = cast("list[dict[str, Any]]", timeline.to_dict(end=2)["nodes"])
    assert (entry["calls"], entry["queue_ms"], len(entry["nested"])) == (2_000, 2_000.0, 16)
    assert len(entry["worker"].split(",")) == 64
    assert sum(type(kept) is CallTiming for kept in gc.get_objects()) < 100


def test_a_run_without_calls_is_explained_too() -> None:
    """A request that made no call has a duration and nothing else."""
    explained = Timeline(GRAPH, revision=1, start=1.0).to_dict(end=1.5)
    assert explained == {"graph": "g", "revision": 1, "duration_ms": 500.0, "critical_path": [], "nodes": []}


FALLBACK = step("try", Fallback(branches=(model("big"), model("small"))), x="x")
COMPOSED = Graph(
    name="g",
    nodes=(
        FALLBACK,
        step("cut", Transform(operations=()), x="try.y"),
        step("race", Race(branches=(model("one"), model("two"))), x="cut.y"),
        step("hedge", Race(branches=(model("same"),)), x="cut.y"),
        step("loop", Loop(body=model("body"), max_iterations=9), x="race.y"),
        step("deep", Cascade(branches=(FALLBACK, model("last")), confidence="c", threshold=1), x="loop.y"),
    ),
)


def test_branches_are_inside_their_step() -> None:
    """A composed step reaches over its branches; those say how they ended; what was noted stands beside them."""
    timeline = Timeline(COMPOSED, revision=1, start=10)
    timeline.record(call("try/big"), timing(1, 3, outcome="UNAVAILABLE"))
    timeline.record(call("try/small"), timing(3, 4))
    timeline.note("try", {"chosen": "small"})
    timeline.ran("cut", start=10.004, end=10.005)
    found = nodes(timeline)
    assert (found["try"]["start_ms"], found["try"]["duration_ms"]) == (1.0, 3.0)
    assert found["try"]["notes"] == {"chosen": "small"}
    assert "calls" not in found["try"]
    assert (found["try/big"]["outcome"], found["try/small"]["outcome"]) == ("UNAVAILABLE", "ok")
    assert found["cut"] == {"node": "cut", "kind": "transform", "outcome": "ok", "start_ms": 4.0, "duration_ms": 1.0}
    assert path(timeline) == ["try", "try/big", "try/small", "cut"]


def test_the_critical_path_goes_through_branches() -> None:
    """Of branches side by side the one that was waited for is on it; what was cancelled never is."""
    timeline = Timeline(COMPOSED, revision=1, start=10)
    timeline.record(call("race/one"), timing(1, 5.1, outcome=CANCELLED))
    timeline.record(call("race/two"), timing(2, 5))
    timeline.record(call("loop/body"), timing(5, 6))
    timeline.record(call("loop/body"), timing(6, 7))
    timeline.record(call("deep/try/big"), timing(7, 8, outcome="INTERNAL"))
    timeline.record(call("deep/try/small"), timing(8, 9))
    timeline.record(call("deep/last"), timing(9, 10))
    assert path(timeline) == [
        "race",
        "race/two",
        "loop",
        "loop/body",
        "deep",
        "deep/try",
        "deep/try/big",
        "deep/try/small",
        "deep/last",
    ]


def test_a_hedge_has_the_time_of_the_call_that_won() -> None:
    """Two calls at one place, of which one was cancelled: the other counts, in whatever order they ended."""
    for order in (1, -1):
        timeline = Timeline(COMPOSED, revision=1, start=10)
        for one in ((1, 9, CANCELLED), (3, 6, "ok"))[::order]:
            timeline.record(call("hedge/same"), timing(one[0], one[1], outcome=one[2]))
        entry = nodes(timeline)["hedge/same"]
        assert (entry["outcome"], entry["start_ms"], entry["duration_ms"], entry["calls"]) == ("ok", 3.0, 3.0, 2)


def test_what_a_limit_cut_off_was_waited_for() -> None:
    """It is on the critical path and says whose limit it was; beside it what nobody needed any more is not."""
    timeline = Timeline(COMPOSED, revision=1, start=10)
    cut = Ending("DEADLINE_EXCEEDED", "cut off after 2 ms by the limit of try/big")
    timeline.record(call("try/big"), timing(1, 3, ending=cut))
    timeline.record(call("try/small"), timing(3, 4))
    timeline.ran("cut", start=10.004, end=10.004)
    timeline.record(call("race/one"), timing(4, 9, ending=Ending(CANCELLED, "another answer came first")))
    timeline.record(call("race/two"), timing(4, 8))
    found = nodes(timeline)
    assert (found["try/big"]["outcome"], found["try/big"]["reason"]) == ("DEADLINE_EXCEEDED", cut.reason)
    assert (found["race/one"]["outcome"], found["race/one"]["reason"]) == (CANCELLED, "another answer came first")
    assert "reason" not in found["try/small"]
    assert path(timeline) == ["try", "try/big", "try/small", "cut", "race", "race/two"]


def test_a_stream_that_goes_on() -> None:
    """It says how far it is, as do the steps around it; what came of it later is on the path; its end replaces it."""
    timeline = Timeline(COMPOSED, revision=1, start=10)
    stream = call("try/big")
    for count in (1, 2, 3):
        answers: dict[str, Any] = {"answers": count, "first_answer_s": 0.002, "worker": f"w{count}"}
        timeline.record(stream, timing(1, 1 + 2 * count, **answers, ending=None))
        timeline.ran("cut", start=10.001 + 0.002 * count, end=10.002 + 0.002 * count)
    for _ in range(2):  # telling changes nothing
        found = nodes(timeline)
        big = found["try/big"]
        assert (big["outcome"], big["answers"], big["first_answer_ms"]) == ("running", 3, 2.0)
        assert (big["calls"], big["calls_ms"], big["duration_ms"], big["worker"]) == (1, 6.0, 6.0, "w3")
        assert found["try"]["outcome"] == "running"
        assert found["cut"]["outcome"] == "ok"
        assert path(timeline) == ["try", "try/big", "cut"]
    timeline.record(stream, timing(1, 9, answers=3, first_answer_s=0.002, ending=OK))
    timeline.ran("try", start=10.001, end=10.009)
    found = nodes(timeline)
    assert (found["try/big"]["outcome"], found["try/big"]["answers"], found["try/big"]["calls"]) == ("ok", 3, 1)
    assert found["try"]["outcome"] == "ok"


def test_notes_that_differ_are_kept_side_by_side() -> None:
    """A step that ran several times may have decided differently each time; not more than 16 values are kept."""
    timeline = Timeline(COMPOSED, revision=1, start=10)
    for chosen in ("big", "small", "big"):
        timeline.note("deep/try", {"chosen": chosen, "asked": 1})
    for index in range(99):
        timeline.note("loop", {"index": index})
    timeline.ran("loop", start=10, end=10.5)
    timeline.ran("deep/try", start=10, end=10.5)
    found = nodes(timeline)
    assert found["deep/try"]["notes"] == {"chosen": ["big", "small"], "asked": 1}
    assert found["loop"]["notes"]["index"] == list(range(16))


def test_what_only_noted_something_is_left_out() -> None:
    """A step without any time is not an entry."""
    timeline = Timeline(COMPOSED, revision=1, start=10)
    timeline.note("deep/try", {"chosen": "big"})
    assert timeline.to_dict(end=11)["nodes"] == []


def test_a_foreign_path_is_kept() -> None:
    """A place that the graph does not have is told as it is; nothing fails for the sake of an explanation."""
    timeline = Timeline(GRAPH, revision=1, start=10)
    timeline.record(call("gone/inner"), timing(1, 2))
    found = nodes(timeline)
    assert (found["gone/inner"]["kind"], found["gone/inner"]["target"]) == ("", "")
