"""What happened to one request."""

from __future__ import annotations

import json

import numpy as np

from graphmesh.graph.plan import make_plan
from graphmesh.graph.run import GraphRun
from graphmesh.graph.timeline import CallTiming, Timeline
from graphmesh.graph.yaml_form import parse_yaml

GRAPH = parse_yaml("""
    name: g
    inputs: [x]
    nodes:
      slow: {model: m, inputs: {x: x}}
      fast: {graph: h, inputs: {x: x}}
      each: {map: {model: m, over: x, max_concurrency: 2}, inputs: {x: slow.y, k: fast.y}}
    outputs: {y: each.y}
""")


def test_an_answer_explains_where_its_time_went() -> None:
    """Nodes come in starting order with their own times; a map's calls are one entry; the critical path is named."""
    plan = make_plan(GRAPH, lambda _: None)
    run = GraphRun(plan, {"x": np.arange(2)})
    slow, fast = run.ready()
    timeline = Timeline(plan, revision=7, start=10.0)
    nested = {"graph": "h", "nodes": []}
    timeline.record(fast, CallTiming(start=10.001, end=10.002, worker="w2", version="4", nested=nested))
    timeline.record(slow, CallTiming(start=10.0005, end=10.005, worker="w1", fused=True, version="1"))
    run.complete(fast, {"y": np.array(1)})
    run.complete(slow, {"y": np.arange(2)})
    first, second = run.ready()
    timeline.record(
        second, CallTiming(start=10.0061, end=10.007, worker="w2", parts={"queue": 0.0001, "compute": 0.0005})
    )
    timeline.record(first, CallTiming(start=10.006, end=10.009, worker="w1", fused=True, parts={"queue": 0.0002}))
    explained = timeline.to_dict(end=10.0095)
    assert json.loads(json.dumps(explained)) == explained
    assert {key: value for key, value in explained.items() if key != "nodes"} == {
        "graph": "g",
        "revision": 7,
        "duration_ms": 9.5,
        "critical_path": ["slow", "each"],
    }
    assert explained["nodes"] == [
        {
            "node": "slow",
            "target": "m",
            "version": "1",
            "worker": "w1",
            "fused": True,
            "start_ms": 0.5,
            "duration_ms": 4.5,
            "calls": 1,
            "calls_ms": 4.5,
        },
        {
            "node": "fast",
            "target": "h",
            "version": "4",
            "worker": "w2",
            "fused": False,
            "start_ms": 1.0,
            "duration_ms": 1.0,
            "calls": 1,
            "calls_ms": 1.0,
            "nested": [nested],
        },
        {
            "node": "each",
            "target": "m",
            "version": "",
            "worker": "w1,w2",
            "fused": False,
            "start_ms": 6.0,
            "duration_ms": 3.0,
            "calls": 2,
            "calls_ms": 3.9,
            "queue_ms": 0.3,
            "compute_ms": 0.5,
        },
    ]


def test_a_run_without_calls_is_explained_too() -> None:
    """A request that made no call has a duration and nothing else."""
    explained = Timeline(make_plan(GRAPH, lambda _: None), revision=1, start=1.0).to_dict(end=1.5)
    assert explained == {"graph": "g", "revision": 1, "duration_ms": 500.0, "critical_path": [], "nodes": []}
