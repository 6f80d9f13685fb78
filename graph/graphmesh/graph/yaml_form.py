"""Graphs as YAML: the proto3 JSON form of `graphmesh.v1.Graph`, and short forms of what is written most.

inputs: {image: UINT8 (H, W, 3)}    instead of a list of specs; nothing after the name infers the type
nodes: {detect: {...}}              instead of a list of nodes with `name`
inputs: {image: decode.image}       instead of a list of bindings with `name` and `source`; `outputs` likewise
model: ocr-detect                   instead of `model: {name: ocr-detect}`; `graph` likewise
over: crop                          instead of `over: [crop]`
"""

from __future__ import annotations

import yaml

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.signature import Dimension, parse_dimension, show_dimension
from graphmesh.graph.spec import Binding, Graph, GraphCall, GraphInput, Map, ModelCall, Node, Target, parse_type
from graphmesh.graph.wire import check_size
from graphmesh.graph.yaml_tree import Tree, compose, fields, flag, is_null, items, named, number, text, wrong

__all__ = ["dump_yaml", "parse_yaml"]


def parse_yaml(document: str) -> Graph:
    """Return the graph of a YAML (or JSON) document.

    Raises:
        InvalidGraph: too large, or not such a document; names the line (INVALID_ARGUMENT, retry: no).
    """
    check_size(len(document))
    parts = fields(compose(document), "a graph", ("name", "description", "inputs", "nodes", "outputs"))
    return Graph(
        name=text(parts.get("name"), "name"),
        description=text(parts.get("description"), "description"),
        inputs=named(parts.get("inputs"), "inputs", _input),
        nodes=named(parts.get("nodes"), "nodes", _node),
        outputs=named(parts.get("outputs"), "outputs", _binding),
    )


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


def _binding(node: Tree, name: str | None) -> Binding:
    if name is not None:
        return Binding(name=name, source=text(node, f"the source of {name[:140]!r}"))
    parts = fields(node, "a binding", ("name", "source"))
    return Binding(name=_name(parts, None), source=text(parts.get("source"), "source"))


def _node(node: Tree, name: str | None) -> Node:
    parts = _parts(node, "a node", name, ("inputs", "model", "graph", "map"))
    kind = _only(node, "a node", parts, ("model", "graph", "map"))
    return Node(
        name=_name(parts, name),
        kind=_map(parts["map"]) if kind == "map" else _target(parts),
        inputs=named(parts.get("inputs"), "inputs", _binding),
    )


def _map(node: Tree) -> Map:
    parts = fields(node, "`map`", ("model", "graph", "over", "batch_size", "max_concurrency"))
    _only(node, "`map`", parts, ("model", "graph"))
    return Map(
        target=_target(parts),
        over=tuple(text(entry, "an entry of `over`") for entry in items(parts.get("over"), "over", single=True)),
        batch_size=number(parts.get("batch_size"), "batch_size"),
        max_concurrency=number(parts.get("max_concurrency"), "max_concurrency"),
    )


def _target(parts: dict[str, Tree]) -> Target:
    if "model" in parts:
        call = _call(parts["model"], "`model`", ("name", "version"))
        return ModelCall(name=call["name"], version=call.get("version", ""))
    return GraphCall(name=_call(parts["graph"], "`graph`", ("name",))["name"])


def _call(node: Tree, what: str, allowed: tuple[str, ...]) -> dict[str, str]:
    if isinstance(node, yaml.ScalarNode):
        return {"name": text(node, what)}
    parts = fields(node, what, allowed)
    return {name: text(parts.get(name), name) for name in allowed}


def _parts(node: Tree, what: str, name: str | None, allowed: tuple[str, ...]) -> dict[str, Tree]:
    return fields(node, what, allowed if name is not None else ("name", *allowed))


def _name(parts: dict[str, Tree], name: str | None) -> str:
    return text(parts.get("name"), "name") if name is None else name


def _only(node: Tree, what: str, parts: dict[str, Tree], choices: tuple[str, ...]) -> str:
    found = [choice for choice in choices if choice in parts]
    if len(found) != 1:
        raise wrong(node, f"{what} must say exactly one of {', '.join(choices)}, got {', '.join(found) or 'none'}")
    return found[0]


def dump_yaml(graph: Graph) -> str:
    """Return the YAML document of a graph, in short forms; `parse_yaml` reads it back."""
    document: dict[str, object] = {"name": graph.name}
    if graph.description:
        document["description"] = graph.description
    if graph.inputs:
        document["inputs"] = _inputs_form(graph.inputs)
    document["nodes"] = [_node_form(node) for node in graph.nodes]
    document["outputs"] = _bindings_form(graph.outputs)
    written = _dump(document, allow_unicode=True)
    # PyYAML writes these line breaks as they are and reads them back as spaces.
    return _dump(document, allow_unicode=False) if set(written) & {"\x85", "\u2028", "\u2029"} else written


def _dump(document: dict[str, object], *, allow_unicode: bool) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=allow_unicode, width=120)


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


def _bindings_form(bindings: tuple[Binding, ...]) -> object:
    form = {binding.name: binding.source for binding in bindings}
    if len(form) == len(bindings):
        return form
    return [{"name": binding.name, "source": binding.source} for binding in bindings]


def _node_form(node: Node) -> dict[str, object]:
    form: dict[str, object] = {"name": node.name}
    if isinstance(node.kind, Map):
        numbers = {"batch_size": node.kind.batch_size, "max_concurrency": node.kind.max_concurrency}
        given = {name: value for name, value in numbers.items() if value}
        form["map"] = {**_target_form(node.kind.target), "over": list(node.kind.over), **given}
    else:
        form |= _target_form(node.kind)
    if node.inputs:
        form["inputs"] = _bindings_form(node.inputs)
    return form


def _target_form(target: Target) -> dict[str, object]:
    if isinstance(target, GraphCall):
        return {"graph": target.name}
    if not target.version:
        return {"model": target.name}
    return {"model": {"name": target.name, "version": target.version}}
