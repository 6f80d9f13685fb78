"""`graphmesh graph revisions`, `diff`, `rollback`, `advise` and what `apply` says, against a service in memory."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click
import grpc
import pytest
from google.protobuf import empty_pb2

from graphmesh.cli.graph_revisions import changes, difference
from graphmesh.graph.forms.text import dump_yaml, parse_yaml
from graphmesh.graph.forms.wire import graph_to_wire
from graphmesh.v1 import graph_pb2, graph_service_pb2, graph_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

GRAPH = """
name: page
inputs: {x: "FP32 (8,)"}
nodes:
  - {name: find, model: finder, inputs: {x: x}}
  - {name: read, model: reader, inputs: {x: find.y}}
outputs: {y: read.y}
"""
OTHER = GRAPH.replace("reader", "better-reader")


class _Graphs(graph_service_pb2_grpc.GraphServiceServicer):
    """Revisions in memory, with as much of the protocol as the commands show."""

    def __init__(self) -> None:
        self.revisions: list[graph_pb2.GraphRevision] = []
        self.live = 0
        self.asked: list[Any] = []
        self.advice = graph_service_pb2.AdviseGraphResponse()

    def _found(self, number: int) -> graph_pb2.GraphRevision:
        found = graph_pb2.GraphRevision()
        found.CopyFrom(self.revisions[(number or self.live) - 1])
        found.live, found.etag = found.revision == self.live, f'"{self.live}"'
        return found

    def ApplyGraph(self, request: Any, _: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802 - the protocol's
        if not self.live or self.revisions[self.live - 1].graph != request.graph:
            number = len(self.revisions) + 1
            self.revisions.append(graph_pb2.GraphRevision(graph=request.graph, revision=number, replaces=self.live))
            self.live = number
        return self._found(0)

    def GetGraph(self, request: Any, context: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802 - the protocol's
        if not self.live:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no graph {request.name!r}")
        return self._found(request.revision)

    def ListGraphRevisions(self, _request: Any, _: Any) -> Any:  # noqa: ANN401, N802 - the protocol's
        found = [self._found(one.revision) for one in self.revisions]
        return graph_service_pb2.ListGraphRevisionsResponse(revisions=found)

    def RollbackGraph(self, request: Any, _: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802 - the protocol's
        self.asked.append(request)
        self.live = request.revision or self._found(0).replaces
        return self._found(0)

    def DeleteGraph(self, request: Any, _: Any) -> empty_pb2.Empty:  # noqa: ANN401, N802 - the protocol's
        self.asked.append(request)
        return empty_pb2.Empty()

    def AdviseGraph(self, _request: Any, _: Any) -> Any:  # noqa: ANN401, N802 - the protocol's
        return self.advice


@pytest.fixture
def graphs() -> _Graphs:
    """The mesh's graphs: none yet."""
    return _Graphs()


@pytest.fixture
def graph(graphs: _Graphs, graphmesh: Run) -> Iterator[Run]:
    """Return what runs a `graphmesh graph` command against the test's services."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        graph_service_pb2_grpc.add_GraphServiceServicer_to_server(graphs, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield lambda *arguments: graphmesh("graph", *arguments, "--gateway", address)
        server.stop(None).wait()


@pytest.fixture
def apply(graph: Run, tmp_path: Path) -> Callable[[str], str]:
    """Return what applies a graph and says what the command printed."""

    def run(text: str) -> str:
        (tmp_path / "page.yaml").write_text(text)
        code, out, errors = graph("apply", str(tmp_path / "page.yaml"))
        assert (code, errors) == (0, "")
        return out

    return run


def test_apply_says_what_it_changed(apply: Callable[[str], str], graphs: _Graphs) -> None:
    """A new graph, a change, the same again, and the same over other types of its models."""
    assert apply(GRAPH).splitlines()[1].split(maxsplit=2) == ["page", "1", "new: 2 steps"]
    assert "1 -> 2    changed read" in apply(OTHER)
    assert "nothing: it is live already" in apply(OTHER)
    graphs.revisions[1].graph.description = "as another caller wrote it meanwhile"
    assert "2 -> 3    other description" in apply(OTHER)


def test_revisions_are_listed(apply: Callable[[str], str], graph: Run) -> None:
    """Newest first, with the live one marked and what each changed."""
    for text in (GRAPH, OTHER, GRAPH):
        apply(text)
    graph("rollback", "page")
    _, out, _ = graph("revisions", "page")
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows] == ["Revision", "3", "2", "1"]
    assert [row[1] == "live" for row in rows[1:]] == [False, True, False]
    assert rows[2][-2:] == ["changed", "read"]
    _, out, _ = graph("revisions", "page", "-o", "json")
    kept = json.loads(out)["revisions"]
    assert [(one["revision"], one["live"]) for one in kept] == [(3, False), (2, True), (1, False)]


def test_the_difference(apply: Callable[[str], str], graph: Run) -> None:
    """What the live revision changed, or any two differ in; the exit code tells only if it was asked to."""
    apply(GRAPH)
    code, _, errors = graph("diff", "page")
    assert (code, "replaced none" in errors) == (1, True)
    apply(OTHER)
    code, out, _ = graph("diff", "page")
    assert code == 0
    assert out.startswith("--- page revision 1\n+++ page revision 2\n@@")
    assert "-    model: reader\n+    model: better-reader\n" in out
    assert graph("diff", "page", "1", "2", "--exit-code")[:2] == (1, out)
    assert graph("diff", "page", "2", "2", "--exit-code")[:2] == (0, "")
    code, told, _ = graph("diff", "page", "-o", "json")
    assert json.loads(told) == {"graph": "page", "from": 1, "to": 2, "diff": out.rstrip("\n")}


def test_the_difference_has_colours_on_a_terminal(
    apply: Callable[[str], str], graph: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Green is new, red is gone; a pipe gets none."""
    apply(GRAPH)
    apply(OTHER)
    assert "\x1b[" not in graph("diff", "page")[1]
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)
    _, out, _ = graph("diff", "page")
    assert click.style("+    model: better-reader", fg="green") in out
    assert click.style("-    model: reader", fg="red") in out


def test_rollback(apply: Callable[[str], str], graph: Run, graphs: _Graphs) -> None:
    """To what the live revision replaced, or to the one that is named; with an etag if it is given."""
    apply(GRAPH)
    apply(OTHER)
    code, out, _ = graph("rollback", "page", "--etag", '"2"')
    assert (code, "2 -> 1    changed read" in out) == (0, True)
    assert graphs.asked[-1] == graph_service_pb2.RollbackGraphRequest(name="page", etag='"2"')
    code, out, _ = graph("rollback", "page", "--to", "2", "-o", "json")
    assert (code, json.loads(out)["revision"]) == (0, 2)
    assert graphs.asked[-1] == graph_service_pb2.RollbackGraphRequest(name="page", revision=2)


def test_delete(graph: Run, graphs: _Graphs) -> None:
    """What others call is deleted only if that is asked for."""
    assert graph("delete", "page", "--etag", '"2"')[:2] == (0, "deleted page\n")
    graph("delete", "page", "--force")
    assert graphs.asked == [
        graph_service_pb2.DeleteGraphRequest(name="page", etag='"2"'),
        graph_service_pb2.DeleteGraphRequest(name="page", force=True),
    ]


def test_advice(graph: Run, graphs: _Graphs) -> None:
    """Where it runs and what it calls; then what to do, or that there is nothing to do."""
    graphs.advice = graph_service_pb2.AdviseGraphResponse(graph="page", revision=3, workers=["w1"], calls=5)
    _, out, _ = graph("advise", "page")
    assert out == (
        "page revision 3 runs on w1; calls of models in one request: 5, calls over the network: 0\nnothing to move\n"
    )
    graphs.advice.network_calls = 2
    assert "no single model would save a call" in graph("advise", "page")[1]
    move = graphs.advice.moves.add(model="m", to_worker="w1", from_workers=["w2", "w3"], network_calls=0.5)
    move.tensors.extend(f"step-{number}.x" for number in range(6))
    move.known_bytes, move.unsized_tensors = 48, 2
    (row,) = graph("advise", "page")[1].splitlines()[2:]
    assert [cell.strip() for cell in row.split("  ") if cell] == [
        "host m on w1",
        "as well as w2, w3",
        "2 -> 0.5",
        "step-0.x, step-1.x, step-2.x, step-3.x and 2 more (48 bytes, 2 of unknown size)",
        "75% fewer calls over the network",
    ]
    move.network_calls, move.movable, move.unsized_tensors = 0, True, 0
    assert "instead of w2, w3" in graph("advise", "page")[1]
    assert "the whole graph runs in one process" in graph("advise", "page")[1]
    document = json.loads(graph("advise", "page", "-o", "json")[1])
    assert (document["revision"], document["moves"][0]["known_bytes"], document["moves"][0]["movable"]) == (3, 48, True)


def test_changes_in_a_few_words() -> None:
    """Steps by name, then what is around them."""
    old, new = parse_yaml(GRAPH), parse_yaml(OTHER)
    assert changes(old, old) == "the same graph"
    assert changes(old, new) == "changed read"
    bigger = parse_yaml(
        GRAPH.replace("name: find", "name: seek").replace("find.y", "seek.y").replace("outputs: {y:", "outputs: {z:")
    )
    assert changes(old, bigger) == "added seek; changed read; removed find; other outputs"
    assert changes(None, new) == "new: 2 steps"
    assert changes(None, dataclasses.replace(new, nodes=new.nodes[:1])) == "new: 1 step"


def test_no_difference_is_empty() -> None:
    """Equal graphs have an empty diff; the YAML of a difference is the command's own form."""
    old = parse_yaml(GRAPH)
    assert difference(old, old, names=("a", "b")) == ""
    shown = difference(old, parse_yaml(OTHER), names=("a", "b"))
    assert all(line[1:] in dump_yaml(old) for line in shown.splitlines()[3:] if line.startswith(" "))
    assert graph_to_wire(old).name == "page"
