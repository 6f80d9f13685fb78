"""Graphs as YAML: the proto3 JSON form of `graphmesh.v1.Graph`, and short forms of what is written most.

inputs: {image: UINT8 (H, W, 3)}    instead of a list of specs; nothing after the name infers the type
nodes: {detect: {...}}              instead of a list of nodes with `name`; `branches` likewise
inputs: {image: decode.image}       instead of a list of bindings with `name` and `source`; `outputs`, `carry` likewise
model: ocr-detect                   instead of `model: {name: ocr-detect}`; `graph` likewise
over: crop                          instead of `over: [crop]`; `on` and `keep` likewise

Of a branch, a step inside a step:

small                               instead of `{model: small}`
{model: small}                      is named as what it calls, or, where it calls nothing itself, as its kind
{when: ..., model: small}           instead of `{when: ..., then: {model: small}}`; beside `weight` likewise
race: {model: small, delay: 50ms}   instead of `branches` with a single one

Of a kind:

fallback: [a, b]                    instead of `fallback: {branches: [a, b]}`; a list is the first field of every kind
                                    that begins with one: `switch`, `split`, `parallel`, `fallback`, `race`, `transform`
switch: [..., {default: small}]     instead of `default` beside `cases`
join: quorum, aggregate: mean       instead of `JOIN_QUORUM`, `AGGREGATE_MEAN`

Durations are `50ms`, `1.5s`, `10m`, `2h`, `7d`; sizes `64MiB` or bytes. Operations of `transform` are those of
`transforms.yaml_form`. What is written is always the shortest of these, and lists for branches.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.signature import Dimension, parse_dimension, show_dimension
from graphmesh.graph.checks.findings import Findings
from graphmesh.graph.forms.wire import check_size
from graphmesh.graph.forms.yaml_read import read_binding, read_node
from graphmesh.graph.forms.yaml_tree import Tree, compose, fields, flag, is_null, items, named, text, wrong
from graphmesh.graph.forms.yaml_write import bindings_form, nodes_form
from graphmesh.graph.spec import Graph, GraphInput, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["dump_yaml", "parse_yaml"]


class _Dumper(yaml.SafeDumper):
    """Writes nothing where nothing is said: ``image:`` rather than ``image: null``."""


_Dumper.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", ""))


def parse_yaml(document: str) -> Graph:
    """Return the graph of a YAML (or JSON) document.

    Raises:
        InvalidGraph: too large, or not such a document; names the line of each mistake (INVALID_ARGUMENT, retry: no).
    """
    check_size(len(document))
    parts = fields(compose(document), "a graph", tuple(_READERS))
    findings, graph = Findings(), Graph(name="")
    for part in sorted(parts, key=lambda part: parts[part].start_mark.index):
        with findings.note():
            graph = replace(graph, **{part: _READERS[part](parts[part])})
    findings.settle()
    return graph


_READERS: Mapping[str, Callable[[Tree], Any]] = {
    "name": lambda tree: text(tree, "name"),
    "description": lambda tree: text(tree, "description"),
    "inputs": lambda tree: named(tree, "inputs", _input),
    "nodes": lambda tree: named(tree, "nodes", read_node),
    "outputs": lambda tree: named(tree, "outputs", read_binding),
}
"""What the fields of a graph are."""


def _input(node: Tree, name: str | None) -> GraphInput:
    if isinstance(node, yaml.ScalarNode):
        return GraphInput(name=text(node, "a graph input")) if name is None else _typed_input(node, name)
    parts = _parts(node, "a graph input", name, ("datatype", "shape", "text", "description"))
    return GraphInput(
        name=_name(parts, name),
        datatype=text(parts.get("datatype"), "datatype"),
        shape=tuple(_dimension(entry) for entry in items(parts.get("shape"), "shape")),
        text=flag(parts.get("text"), "text"),
        description=text(parts.get("description"), "description"),
    )


def _typed_input(node: Tree, name: str) -> GraphInput:
    if is_null(node):
        return GraphInput(name=name)
    try:
        datatype, shape, is_text = parse_type(text(node, "a type"))
    except InvalidGraph as error:
        raise wrong(node, f"{error.message}; inside {{...}} a type with commas needs quotes") from error
    return GraphInput(name=name, datatype=datatype, shape=shape, text=is_text)


def _dimension(node: Tree) -> Dimension:
    entry = text(node, "a dimension")
    try:
        return parse_dimension(entry)
    except InvalidRequest as error:
        raise wrong(node, error.message) from error


def _parts(node: Tree, what: str, name: str | None, allowed: tuple[str, ...]) -> dict[str, Tree]:
    return fields(node, what, allowed if name is not None else ("name", *allowed))


def _name(parts: dict[str, Tree], name: str | None) -> str:
    return text(parts.get("name"), "name") if name is None else name


def dump_yaml(graph: Graph) -> str:
    """Return the YAML document of a graph, in short forms; `parse_yaml` reads it back."""
    document: dict[str, object] = {"name": graph.name}
    if graph.description:
        document["description"] = graph.description
    if graph.inputs:
        document["inputs"] = _inputs_form(graph.inputs)
    document["nodes"] = nodes_form(graph.nodes)
    document["outputs"] = bindings_form(graph.outputs)
    written = _dump(document, allow_unicode=True)
    # PyYAML writes these line breaks as they are and reads them back as spaces.
    return _dump(document, allow_unicode=False) if set(written) & {"\x85", "\u2028", "\u2029"} else written


def _dump(document: dict[str, object], *, allow_unicode: bool) -> str:
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode, width=120)
    return str(text)


def _inputs_form(inputs: tuple[GraphInput, ...]) -> object:
    forms = {spec.name: _type_form(spec) for spec in inputs}
    if len(forms) == len(inputs):
        return forms
    return [{"name": spec.name} | _full_form(spec) for spec in inputs]


def _type_form(spec: GraphInput) -> object:
    """Return the shortest form that reads back as the same: nothing, a type, or all fields."""
    if spec == GraphInput(name=spec.name):
        return None
    inner = ", ".join(show_dimension(dimension) for dimension in spec.shape)
    short = f"{'TEXT' if spec.text else spec.datatype} ({inner}{',' if len(spec.shape) == 1 else ''})"
    try:
        same = parse_type(short) == (spec.datatype, spec.shape, spec.text) and not spec.description
    except InvalidGraph:
        same = False
    return short if same else _full_form(spec)


def _full_form(spec: GraphInput) -> dict[str, object]:
    form = {
        "datatype": spec.datatype,
        "shape": [show_dimension(dimension) for dimension in spec.shape],
        "text": spec.text,
        "description": spec.description,
    }
    return {name: value for name, value in form.items() if value}
