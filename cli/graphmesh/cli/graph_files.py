"""Graphs checked against files: a mesh.yaml, a saved answer of `graphmesh models -o json`, and one another.

The files become what a gateway knows of a mesh, a snapshot of its registry, and the gateway's own check decides. A step
that calls a model whose types are not known cannot be checked, nor can what reads from it: the rest of the graph is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graphmesh.cli.graph_load import read_graphs
from graphmesh.cli.model_types import read_types
from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.gateway.graph_checks import typed
from graphmesh.graph.callees import callees_first
from graphmesh.graph.checks.hints import at
from graphmesh.graph.checks.structure import check_structure
from graphmesh.graph.forms.wire import graph_to_bytes
from graphmesh.graph.order import levels
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, ModelCall, Node
from graphmesh.registry import GraphRecord, HostedModel, ModelSpec, ModelState, Snapshot, WorkerRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from graphmesh.cli.mesh_file import MeshFile
    from graphmesh.cli.model_types import ModelTypes
    from graphmesh.core.signature import Signature
    from graphmesh.graph.spec import Target

__all__ = ["Checked", "Outcome", "check_against_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A graph in which no mistake was found."""

    file: str
    """Where it is."""
    graph: Graph
    """The whole of it."""
    signature: Signature | None
    """What it takes and gives, without what hangs on steps that were not checked; None if none was."""
    unchecked: Mapping[str, str] = field(default_factory=dict)
    """Its steps that could not be checked, each with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of checking several graphs."""

    checked: Sequence[Checked]
    """Those of the files in question that have no mistake, callees first."""
    mistakes: Sequence[str] = ()
    """What is wrong with graphs, each with its file."""
    faults: Sequence[str] = ()
    """Models that no worker could load, each reason once with all models that it stops."""
    notes: Sequence[str] = ()
    """Models whose types are not known for certain, and why."""


def check_against_files(files: Sequence[str], mesh: MeshFile, saved: Sequence[ModelTypes]) -> Outcome:
    """Check graphs; those of the mesh file that they call, or that call them, are checked with them.

    Args:
        files: The graphs' files. A graph in them stands for one of the same name in the mesh file.
        mesh: Which models there are, and which graphs beside those of ``files``.
        saved: What is known already; these models are not read from the mesh file's sources.

    Returns:
        What was found. A graph with a mistake counts as one whose types are not known for those that call it.
    """
    own = {Path(path).resolve() for path in files}
    given, errors = read_graphs(files)
    others, more = read_graphs(path for path in mesh.graphs if Path(path).resolve() not in own)
    mistakes = [error.message for error in (*errors, *more)]
    beside = {path: graph for path, graph in others.items() if not _is_in(graph, given.values())}
    every = {**given, **_related(given.values(), beside)}
    called = {target.name for graph in every.values() for target in _targets(graph)}
    models = _models(called, mesh, saved)
    names = {*mesh.models(), *(model.name for model in models)}
    found: list[Checked] = []
    try:
        _check_names(every, {*mesh.models(), *(model.name for model in saved if not model.graph)})
        checks = _Checks(every.values(), models, names)
        for index in callees_first(list(every.values())):
            try:
                found.append(checks.check(*list(every.items())[index]))
            except InvalidRequest as error:
                mistakes.append(error.message)
    except InvalidRequest as error:
        mistakes.append(error.message)
    return Outcome(
        checked=[one for one in found if one.file in given],
        mistakes=mistakes,
        faults=_faults(models),
        notes=[f"{one.name} version {one.version}: {one.remark}" for one in models if one.remark and not one.fault],
    )


def _faults(models: Iterable[ModelTypes]) -> list[str]:
    """Return why models cannot be served, each reason once: one module can stop many of them."""
    stopped: dict[str, list[str]] = {}
    for model in models:
        if model.fault:
            stopped.setdefault(model.remark, []).append(repr(model.name))
    return [
        f"model{'s' * (len(names) > 1)} {', '.join(names)} cannot be served: {reason}"
        for reason, names in stopped.items()
    ]


def _is_in(graph: Graph, graphs: Iterable[Graph]) -> bool:
    return any(graph.name == other.name for other in graphs)


def _targets(graph: Graph) -> set[Target]:
    return {target for node in graph.nodes for target in node.targets()}


def _related(given: Iterable[Graph], beside: Mapping[str, Graph]) -> dict[str, Graph]:
    """Return the graphs that call those given, however far off, and what they all call."""
    callers = {graph.name for graph in given}
    for _ in beside:  # as often as a chain of them can be long
        callers |= {graph.name for graph in beside.values() if callers & {target.name for target in _targets(graph)}}
    wanted = {*callers, *(target.name for graph in given for target in _targets(graph))}
    for _ in beside:
        wanted |= {target.name for graph in beside.values() if graph.name in wanted for target in _targets(graph)}
    return {path: graph for path, graph in beside.items() if graph.name in wanted}


def _models(called: set[str], mesh: MeshFile, saved: Sequence[ModelTypes]) -> list[ModelTypes]:
    known = [model for model in saved if model.name in called]
    unread = called - {model.name for model in known}
    sources = [entry.config() for name, entries in mesh.models().items() if name in unread for entry in entries]
    return known + read_types(sources)


def _check_names(graphs: Mapping[str, Graph], models: set[str]) -> None:
    files: dict[str, str] = {}
    for path, graph in graphs.items():
        if graph.name in files:
            raise InvalidRequest(f"{path} and {files[graph.name]} both have a graph {graph.name!r}; names must differ")
        if graph.name in models:
            raise InvalidRequest(f"{path}: {graph.name!r} is a model's name already; names must differ")
        files[graph.name] = path


def _snapshot(found: Iterable[ModelTypes], names: Iterable[str]) -> Snapshot:
    """Return a registry of one worker, which nobody connects to: it has the models, loaded if their types are known."""
    models = [model for model in found if not model.graph]
    hosted = tuple(
        HostedModel(
            name=model.name,
            version=model.version,
            state=ModelState.AVAILABLE if model.signature else ModelState.FAILED,
            signature_digest=model.signature.digest if model.signature else "",
            message="" if model.signature else model.remark,
        )
        for model in models
    )
    return Snapshot(
        workers={"files": WorkerRecord(worker_id="files", host="127.0.0.1", http_port=1, grpc_port=1, models=hosted)},
        models={name: ModelSpec(name=name) for name in sorted(names)},
        signatures={model.signature.digest: model.signature for model in models if model.signature},
        graphs={model.name: _closed(model.name, model.signature) for model in found if model.graph and model.signature},
    )


def _record(graph: Graph, signature: Signature) -> GraphRecord:
    return GraphRecord(
        name=graph.name, document=graph_to_bytes(graph), revision=1, signature=signature, create_time=0.0, live=True
    )


def _closed(name: str, signature: Signature) -> GraphRecord:
    """Return a graph of which only the signature is known: what it calls counts as one call."""
    step = Node(name="inside", kind=ModelCall(name=name))
    return _record(
        Graph(name=name, nodes=(step,), outputs=(Binding(name="inside", source="inside.inside"),)), signature
    )


class _Checks:
    """Graphs, checked one after the other, each after those that it calls."""

    def __init__(self, graphs: Iterable[Graph], models: Sequence[ModelTypes], names: Iterable[str]) -> None:
        self._snapshot = _snapshot(models, names)
        self._waiting = {graph.name for graph in graphs}
        self._untyped_graphs = {model.name for model in models if model.graph and not model.signature}

    def check(self, path: str, graph: Graph) -> Checked:
        """Return what is found of a graph, which the next ones can call; raises InvalidGraph."""
        try:
            return self._check(path, graph)
        except InvalidRequest:
            self._waiting.discard(graph.name)
            self._untyped_graphs.add(graph.name)
            raise

    def _check(self, path: str, graph: Graph) -> Checked:
        with at(path):
            check_structure(graph)
            self._check_circle(graph)
            unchecked = self._unchecked(graph)
            part = _part(graph, unchecked) if unchecked else graph
            signature = typed(part, self._snapshot, promised=None).signature if part.nodes else None
        self._waiting.discard(graph.name)
        if unchecked:
            self._untyped_graphs.add(graph.name)
        elif signature is not None:
            graphs = {**self._snapshot.graphs, graph.name: _record(graph, signature)}
            self._snapshot = replace(self._snapshot, graphs=graphs)
        if signature is not None:
            own = {binding.name for binding in graph.outputs}
            signature = replace(signature, outputs=tuple(spec for spec in signature.outputs if spec.name in own))
        return Checked(file=path, graph=graph, signature=signature, unchecked=unchecked)

    def _check_circle(self, graph: Graph) -> None:
        for target in _targets(graph):
            if isinstance(target, GraphCall) and target.name in self._waiting:
                raise InvalidGraph(f"graphs must not call one another in a cycle, got {graph.name} -> {target.name}")

    def _unchecked(self, graph: Graph) -> dict[str, str]:
        """Return the steps that call what has no types, and those that read from them, each with the reason."""
        found: dict[str, str] = {}
        before = -1
        while before < len(found):
            before, open_inputs = len(found), _open_inputs(graph, found)
            for node in (node for level in levels(graph) for node in level if node.name not in found):
                reasons = [f"calls {target}" for target in node.targets() if self._is_untyped(target)]
                reasons += [f"reads {one.source}" for one in node.inputs if one.node in found]
                reasons += [
                    f"reads {one.source}, typed by an unchecked step"
                    for one in node.inputs
                    if one.source in open_inputs
                ]
                if reasons:
                    found[node.name] = reasons[0]
        return found

    def _is_untyped(self, target: Target) -> bool:
        """Return whether something that can be called has types that are not known."""
        if isinstance(target, GraphCall):
            return target.name in self._untyped_graphs
        versions = {hosted.version for _, hosted in self._snapshot.replicas(target.name)}
        known = self._snapshot.served.get(target.name, {})
        if target.version:
            return target.version in versions - set(known)
        return bool(versions) and not known


def _open_inputs(graph: Graph, unchecked: Mapping[str, str]) -> set[str]:
    """Return the inputs of a graph that are written without a type and get it from steps that are not checked alone."""
    untyped = {spec.name for spec in graph.inputs if not spec.datatype}
    typing = [node for node in graph.nodes if node.target is not None and node.name not in unchecked]
    typed_here = {binding.source for node in typing for binding in node.inputs}
    read = {binding.source for node in graph.nodes if node.name in unchecked for binding in node.inputs}
    return untyped & read - typed_here


def _part(graph: Graph, unchecked: Mapping[str, str]) -> Graph:
    """Return a graph without some steps; what they read are outputs, so that it is known to be there."""
    nodes = tuple(node for node in graph.nodes if node.name not in unchecked)
    outputs = [binding for binding in graph.outputs if binding.node not in unchecked]
    outputs += [
        Binding(name=f"{name}.{binding.name}", source=binding.source)
        for name, binding in graph.edges()
        if name in unchecked and binding.node and binding.node not in unchecked
    ]
    read = {binding.source for node in nodes for binding in node.inputs} | {binding.source for binding in outputs}
    inputs: tuple[GraphInput, ...] = tuple(spec for spec in graph.inputs if spec.name in read)
    return replace(graph, nodes=nodes, inputs=inputs, outputs=tuple(outputs))
