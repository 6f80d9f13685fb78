"""A graph with a node of most kinds, and its types, for tests of pictures."""

from __future__ import annotations

from dataclasses import replace

from graphmesh.core.signature import TensorSpec
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    Graph,
    GraphCall,
    GraphInput,
    Join,
    Kind,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    parse_type,
)

__all__ = ["CLAIMS", "TYPES", "model", "step", "types"]


def step(name: str, kind: Kind, **inputs: str) -> Node:
    """Return a node that reads ``inputs``: sources by name."""
    bindings = tuple(Binding(name=to, source=source) for to, source in inputs.items())
    return Node(name=name, kind=kind, inputs=bindings)


def model(name: str, target: str = "", **inputs: str) -> Node:
    """Return a node that calls a model, named as itself if no target is given."""
    return step(name, ModelCall(name=target or name), **inputs)


def types(**tensors: str) -> dict[str, TensorSpec]:
    """Return types by source; in names `__` stands for a dot and `___` for a slash."""
    result = {}
    for written, type_ in tensors.items():
        source = written.replace("___", "/").replace("__", ".")
        datatype, shape, text = parse_type(type_)
        result[source] = TensorSpec(name=source.rpartition(".")[2], datatype=datatype, shape=shape, text=text)
    return result


CLAIMS = Graph(
    name="claims",
    description="reads a claim",
    inputs=(GraphInput(name="image"), GraphInput(name="customer")),
    nodes=(
        step(
            "route",
            Switch(
                cases=(
                    Case(
                        when="params.mode == 'full' && size(inputs.lines) > 3", then=model("full", "llm", text="lines")
                    ),
                    Case(
                        when="inputs.short",
                        then=step(
                            "sure",
                            Cascade(branches=(model("tiny"), model("large")), confidence="sure", threshold=0.9),
                        ),
                    ),
                ),
                default=model("quick"),
            ),
            lines="read.text",
            customer="customer",
        ),
        step("read", Map(target=GraphCall(name="ocr-line"), over=("strip",), batch_size=8), strip="detect.crops"),
        replace(
            step("detect", Fallback(branches=(model("big"), model("small")), on=("UNAVAILABLE",)), x="image"),
            timeout_s=0.2,
        ),
        step(
            "vote",
            Parallel(branches=(model("a"), model("b")), join=Join.QUORUM, quorum=1, aggregate=Aggregate.VOTE),
            x="image",
        ),
        step("try", Split(shares=(Share(weight=9, then=model("old")), Share(weight=1, then=model("new")))), x="image"),
        step("hedge", Race(branches=(model("one"), model("two")), delay_s=0.05), x="image"),
        step("again", Race(branches=(model("same"),), delay_s=0.05), x="image"),
        step(
            "refine",
            Loop(
                body=model("better"),
                max_iterations=5,
                until="outputs.good",
                carry=(Binding(name="x", source="y"),),
            ),
            x="hedge.y",
        ),
        step("known", Cache(body=model("embed"), ttl_s=5), x="image"),
    ),
    outputs=(
        Binding(name="decision", source="route.score"),
        Binding(name="text", source="read.text"),
        Binding(name="better", source="refine.y"),
    ),
)
TYPES = types(
    image="BYTES ()",
    customer="TEXT ()",
    detect__crops="UINT8 (N, 48, 320, 3)",
    detect___big__crops="UINT8 (N, 48, 320, 3)",
    read__text="TEXT (N,)",
    route__score="FP32 (3,)",
    route___sure___tiny__score="FP32 (3,)",
    hedge__y="FP32 (N,)",
    refine__y="FP32 (N,)",
)
