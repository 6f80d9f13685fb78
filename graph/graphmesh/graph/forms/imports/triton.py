"""Triton's ensembles: `ensemble_scheduling` in a `config.pbtxt`.

Steps are nodes, the names in their maps are edges, and the ensemble's inputs keep their types. Scheduling, warm-up and
what else belongs to a server is noted and left out.
Specification: `triton-inference-server/common:protobuf/model_config.proto`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.tensor import BYTES, DTYPES
from graphmesh.graph.forms.imports.fields import messages, parse, word
from graphmesh.graph.forms.imports.imported import Imported, Names
from graphmesh.graph.spec import Binding, Graph, GraphInput, ModelCall, Node

if TYPE_CHECKING:
    from graphmesh.core.textproto import Message

__all__ = ["read_triton"]

_READ = {"name", "platform", "backend", "max_batch_size", "input", "output", "ensemble_scheduling"}
_READ_TENSOR = {"name", "data_type", "dims"}
_READ_STEP = {"model_name", "model_version", "input_map", "output_map"}


def read_triton(document: str) -> Imported:
    """Return the ensemble of a `config.pbtxt`; raises InvalidGraph if it is none."""
    config = parse(document)
    steps = [step for scheduling in messages(config, "ensemble_scheduling") for step in messages(scheduling, "step")]
    if not steps:
        raise InvalidGraph("a config.pbtxt must have `ensemble_scheduling` with a step to be read as a graph, got none")
    names = Names()
    names.ignored("config.pbtxt", config.keys() - _READ)
    batched = word(config, "max_batch_size") not in {"", "0"}
    inputs = tuple(_input(spec, names, batched=batched) for spec in messages(config, "input"))
    made = [names.node(word(step, "model_name")) for step in steps]
    sources = {word(spec, "name"): made.name for spec, made in zip(messages(config, "input"), inputs, strict=True)}
    for node, step in zip(made, steps, strict=True):
        for tensor, ensemble in _map(step, "output_map"):
            if ensemble in sources:
                raise InvalidGraph(f"the ensemble's tensor {ensemble!r} is given twice; each must be given once")
            sources[ensemble] = f"{node}.{tensor}"
    graph = Graph(
        name=names.model(word(config, "name") or "ensemble"),
        inputs=inputs,
        nodes=tuple(_node(name, step, sources, names) for name, step in zip(made, steps, strict=True)),
        outputs=tuple(_output(spec, sources, names) for spec in messages(config, "output")),
    )
    _note_models([word(step, "model_name") for step in steps], names)
    return Imported(graph, tuple(names.notes))


def _note_models(written: list[str], names: Names) -> None:
    models = {names.model(name): name for name in written}
    name, there = next(iter(models.items()))
    names.notes.append(
        f"models that must be in the mesh by these names: {', '.join(models)}; a Triton that serves them can be their "
        f'source in mesh.yaml: {{name: {name}, source: "grpc://triton:8001/{there}"}}'
    )


def _input(spec: Message, names: Names, *, batched: bool) -> GraphInput:
    name = word(spec, "name")
    names.ignored(f"input {name}", spec.keys() - _READ_TENSOR)
    written = word(spec, "data_type").removeprefix("TYPE_")
    datatype = BYTES if written == "STRING" else written
    if datatype not in DTYPES:
        names.notes.append(f"input {name}: there is no datatype {written!r}; the type is taken from what reads it")
        return GraphInput(name=names.tensor(name))
    dims = tuple(size if isinstance(size, int) and size >= 0 else None for size in spec.get("dims", []))
    return GraphInput(name=names.tensor(name), datatype=datatype, shape=("N", *dims) if batched else dims)


def _map(step: Message, name: str) -> list[tuple[str, str]]:
    return [(word(entry, "key"), word(entry, "value")) for entry in messages(step, name)]


def _source(where: str, tensor: str, sources: dict[str, str]) -> str:
    if tensor not in sources:
        raise InvalidGraph(f"{where} reads {tensor!r}, which is neither an input of the ensemble nor what a step gives")
    return sources[tensor]


def _node(name: str, step: Message, sources: dict[str, str], names: Names) -> Node:
    where = f"the step of model {word(step, 'model_name')}"
    names.ignored(where, step.keys() - _READ_STEP)
    version = word(step, "model_version").removeprefix("-1")
    inputs = tuple(
        Binding(name=tensor, source=_source(where, ensemble, sources)) for tensor, ensemble in _map(step, "input_map")
    )
    return Node(name=name, kind=ModelCall(name=names.model(word(step, "model_name")), version=version), inputs=inputs)


def _output(spec: Message, sources: dict[str, str], names: Names) -> Binding:
    name = word(spec, "name")
    return Binding(name=names.tensor(name), source=_source("the ensemble's output", name, sources))
