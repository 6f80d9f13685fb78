"""TorchServe's workflows: the YAML specification of a workflow archive.

Its nodes hand over bytes without a name, so that every model here has the input `data` and the output `output`; a node
with several before it has an input for each, called as that one is. Functions of the workflow's handler are Python that
stays behind: they become calls of models that are to be written. What a server does on its own (workers, batches) is
noted and left out.
Specification: https://pytorch.org/serve/workflows.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.forms.imports.imported import Imported, Names
from graphmesh.graph.forms.imports.plain import listed, load, mapping, text, whole
from graphmesh.graph.spec import Binding, Graph, GraphInput, ModelCall, Node

if TYPE_CHECKING:
    from graphmesh.graph.forms.imports.plain import Mapping

__all__ = ["read_torchserve"]

_TIMEOUT = "timeout-ms"
_OPTIONS = {"url", "min-workers", "max-workers", "batch-size", "max-batch-delay", "retry-attempts", _TIMEOUT}


def read_torchserve(document: str) -> Imported:
    """Return the workflow of a specification; raises InvalidGraph if it is none."""
    found = load(document)
    models, dag = mapping(found.get("models"), "models"), mapping(found.get("dag"), "dag")
    if not dag:
        raise InvalidGraph("a workflow must have `dag`, which says what each node hands on to, got none")
    names = Names()
    names.ignored("the workflow", found.keys() - {"models", "dag"})
    before = _before(dag)
    nodes = {name: names.node(name) for name in before}
    called = {name: mapping(value, name) for name, value in models.items() if name not in _OPTIONS}
    ends = [name for name in before if not any(name in others for others in before.values())]
    graph = Graph(
        name="workflow",
        inputs=(GraphInput(name="data"),),
        nodes=tuple(
            Node(
                name=nodes[name],
                kind=ModelCall(name=names.model(name)),
                inputs=_inputs([nodes[other] for other in others]),
                timeout_s=whole(called.get(name, {}).get(_TIMEOUT, models.get(_TIMEOUT)), _TIMEOUT) / 1000,
            )
            for name, others in before.items()
        ),
        outputs=tuple(
            Binding(name="output" if len(ends) == 1 else nodes[name], source=f"{nodes[name]}.output") for name in ends
        ),
    )
    _note(names, models, called, before)
    return Imported(graph, tuple(names.notes))


def _before(dag: Mapping) -> dict[str, list[str]]:
    """Return for each node those that hand on to it, in the order they are written."""
    before: dict[str, list[str]] = {}
    for name, after in dag.items():
        before.setdefault(name, [])
        for other in listed(after, f"dag: {name}"):
            before.setdefault(text(other, f"an entry of dag: {name}"), []).append(name)
    return before


def _inputs(others: list[str]) -> tuple[Binding, ...]:
    if not others:
        return (Binding(name="data", source="data"),)
    if len(others) == 1:
        return (Binding(name="data", source=f"{others[0]}.output"),)
    return tuple(Binding(name=other, source=f"{other}.output") for other in others)


def _note(names: Names, models: Mapping, called: dict[str, Mapping], before: dict[str, list[str]]) -> None:
    names.notes.append("a specification has no name: the graph is called 'workflow' until you give it one")
    names.notes.append(
        "inputs 'data' and outputs 'output' stand for bytes without a name; write your models' own names"
    )
    functions = [name for name in before if name not in called]
    if functions:
        names.notes.append(
            f"{', '.join(functions)}: functions of the workflow's handler; write a model for each, or use `transform`"
        )
    unused = [name for name in called if name not in before]
    if unused:
        names.notes.append(f"{', '.join(unused)}: models that `dag` does not name, left out")
    names.ignored("models", models.keys() & _OPTIONS - {_TIMEOUT})
    for name, options in called.items():
        names.ignored(f"model {name}", options.keys() - {_TIMEOUT})
