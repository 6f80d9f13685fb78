"""The steps of a graph from YAML: every node kind, with the steps inside it; `yaml_form` says what may be written.

Recursion is bounded by the depth that a document may have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from graphmesh.graph.forms.naming import branch_name
from graphmesh.graph.forms.wire_enums import default_aggregate
from graphmesh.graph.forms.yaml_tree import (
    choice,
    duration,
    fields,
    inside,
    items,
    named,
    number,
    real,
    size,
    text,
    wrong,
)
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Cascade,
    Case,
    Fallback,
    GraphCall,
    Join,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Share,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.yaml_form import operation_from_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from graphmesh.graph.forms.yaml_tree import Tree
    from graphmesh.graph.spec import Kind, Target

__all__ = ["read_binding", "read_node"]


def read_binding(tree: Tree, name: str | None) -> Binding:
    """Return the binding of an entry by name, or of an item with ``name`` and ``source``."""
    if name is not None:
        return Binding(name=name, source=text(tree, f"the source of {name[:140]!r}"))
    parts = fields(tree, "a binding", ("name", "source"))
    return Binding(name=text(parts.get("name"), "name"), source=text(parts.get("source"), "source"))


def read_node(tree: Tree, name: str | None) -> Node:
    """Return the step of an entry by name, or of an item with ``name``.

    Raises:
        InvalidGraph: it says nothing that a step can be; names the line (INVALID_ARGUMENT, retry: no).
    """
    if name is not None:
        with inside(name):
            return _node(tree, "a node", fields(tree, "a node", _FIELDS), name)
    parts = fields(tree, "a node", ("name", *_FIELDS))
    name = text(parts.get("name"), "name")
    with inside(name):
        return _node(tree, "a node", parts, name)


def _branch(tree: Tree, name: str | None = None) -> Node:
    """Return the step that is written as a branch: a bare model name, or a mapping whose ``name`` may be left out."""
    if isinstance(tree, yaml.ScalarNode):
        kind = ModelCall(name=text(tree, "a branch"))
        return Node(name=branch_name(kind) if name is None else name, kind=kind)
    if name is not None:
        return _node(tree, "a branch", fields(tree, "a branch", _FIELDS), name)
    return _inline(tree, "a branch", fields(tree, "a branch", ("name", *_FIELDS)))


def _branches(tree: Tree | None) -> tuple[Node, ...]:
    return named(tree, "branches", _branch)


def _apart(tree: Tree, what: str, own: tuple[str, ...]) -> tuple[Mapping[str, Tree], Mapping[str, Tree]]:
    """Return the fields called ``own``, and those of a branch that is written beside them."""
    parts = fields(tree, what, (*own, "name", *_FIELDS))
    given = {name: parts.pop(name) for name in own if name in parts}
    return given, parts


def _inline(tree: Tree, what: str, parts: Mapping[str, Tree]) -> Node:
    return _node(tree, what, parts, text(parts["name"], "name") if "name" in parts else None)


def _then(tree: Tree, what: str, given: Mapping[str, Tree], beside: Mapping[str, Tree]) -> Node:
    """Return the branch of a case or share: in ``then``, or beside its other field."""
    if "then" not in given:
        return _inline(tree, what, beside)
    if beside:
        raise wrong(tree, f"{what} must have its branch in `then` or beside it, got `then` and `{next(iter(beside))}`")
    return _branch(given["then"])


def _node(tree: Tree, what: str, parts: Mapping[str, Tree], name: str | None) -> Node:
    word = _only(tree, what, parts, tuple(_READERS))
    kind = _READERS[word](parts[word])
    return Node(
        name=branch_name(kind) if name is None else name,
        kind=kind,
        inputs=named(parts.get("inputs"), "inputs", read_binding),
        outputs=named(parts.get("outputs"), "outputs", read_binding),
        timeout_s=duration(parts.get("timeout"), "timeout"),
    )


def _only(tree: Tree, what: str, parts: Mapping[str, Tree], choices: tuple[str, ...]) -> str:
    found = [choice for choice in choices if choice in parts]
    if len(found) != 1:
        raise wrong(tree, f"{what} must say exactly one of {', '.join(choices)}, got {', '.join(found) or 'none'}")
    return found[0]


def _required(tree: Tree, what: str, parts: Mapping[str, Tree], name: str) -> Tree:
    if name not in parts:
        raise wrong(tree, f"{what} must have `{name}`, got none")
    return parts[name]


def _options(tree: Tree, what: str, allowed: tuple[str, ...]) -> Mapping[str, Tree]:
    """Return a kind's fields; a list stands for the first of them."""
    return {allowed[0]: tree} if isinstance(tree, yaml.SequenceNode) else fields(tree, what, allowed)


def _names(tree: Tree | None, what: str) -> tuple[str, ...]:
    return tuple(text(entry, f"an entry of `{what}`") for entry in items(tree, what, single=True))


def _call(tree: Tree, what: str, allowed: tuple[str, ...]) -> dict[str, str]:
    if isinstance(tree, yaml.ScalarNode):
        return {"name": text(tree, what)}
    parts = fields(tree, what, allowed)
    return {name: text(parts.get(name), name) for name in allowed}


def _model(tree: Tree) -> ModelCall:
    return ModelCall(**_call(tree, "`model`", ("name", "version")))


def _graph(tree: Tree) -> GraphCall:
    return GraphCall(**_call(tree, "`graph`", ("name",)))


def _map(tree: Tree) -> Map:
    parts = fields(tree, "`map`", ("model", "graph", "over", "batch_size", "max_concurrency"))
    word = _only(tree, "`map`", parts, ("model", "graph"))
    target: Target = _model(parts[word]) if word == "model" else _graph(parts[word])
    return Map(
        target=target,
        over=_names(parts.get("over"), "over"),
        batch_size=number(parts.get("batch_size"), "batch_size"),
        max_concurrency=number(parts.get("max_concurrency"), "max_concurrency"),
    )


def _switch(tree: Tree) -> Switch:
    parts = _options(tree, "`switch`", ("cases", "default"))
    cases, default = items(parts.get("cases"), "cases"), parts.get("default")
    if default is None and cases:
        default = _default(cases[-1])
        cases = cases if default is None else cases[:-1]
    return Switch(cases=tuple(map(_case, cases)), default=None if default is None else _branch(default))


def _default(last: Tree) -> Tree | None:
    """Return what the last entry of a switch's list holds if it is ``{default: ...}``."""
    if isinstance(last, yaml.MappingNode) and [key.value for key, _ in last.value] == ["default"]:
        return fields(last, "the last case", ("default",)).get("default")
    return None


def _case(tree: Tree) -> Case:
    given, beside = _apart(tree, "a case", ("when", "then"))
    when = text(_required(tree, "a case", given, "when"), "when")
    return Case(when=when, then=_then(tree, "a case", given, beside))


def _split(tree: Tree) -> Split:
    parts = _options(tree, "`split`", ("shares", "key"))
    shares = tuple(map(_share, items(parts.get("shares"), "shares")))
    return Split(shares=shares, key=text(parts.get("key"), "key"))


def _share(tree: Tree) -> Share:
    given, beside = _apart(tree, "a share", ("weight", "then"))
    if "then" not in given:  # there, as proto3 JSON has it, a weight of 0 is not written
        _required(tree, "a share", given, "weight")
    return Share(weight=number(given.get("weight"), "weight"), then=_then(tree, "a share", given, beside))


def _parallel(tree: Tree) -> Parallel:
    parts = _options(tree, "`parallel`", ("branches", "join", "quorum", "aggregate"))
    join = choice(parts.get("join"), "join", Join, default=Join.ALL)
    return Parallel(
        branches=_branches(parts.get("branches")),
        join=join,
        quorum=number(parts.get("quorum"), "quorum"),
        aggregate=choice(parts.get("aggregate"), "aggregate", Aggregate, default=default_aggregate(join)),
    )


def _fallback(tree: Tree) -> Fallback:
    parts = _options(tree, "`fallback`", ("branches", "on"))
    return Fallback(branches=_branches(parts.get("branches")), on=_names(parts.get("on"), "on"))


def _cascade(tree: Tree) -> Cascade:
    parts = fields(tree, "`cascade`", ("branches", "confidence", "threshold"))
    return Cascade(
        branches=_branches(parts.get("branches")),
        confidence=text(parts.get("confidence"), "confidence"),
        threshold=real(_required(tree, "`cascade`", parts, "threshold"), "threshold"),
    )


def _race(tree: Tree) -> Race:
    if isinstance(tree, yaml.SequenceNode):
        return Race(branches=_branches(tree))
    given, hedged = _apart(tree, "`race`", ("branches", "delay"))
    if hedged and "branches" in given:
        raise wrong(
            tree, f"`race` must have `branches` or one branch beside `delay`, got both with `{next(iter(hedged))}`"
        )
    branches = (_inline(tree, "`race`", hedged),) if hedged else _branches(given.get("branches"))
    return Race(branches=branches, delay_s=duration(given.get("delay"), "delay"))


def _loop(tree: Tree) -> Loop:
    parts = fields(tree, "`loop`", ("body", "until", "max_iterations", "carry"))
    return Loop(
        body=_branch(_required(tree, "`loop`", parts, "body")),
        until=text(parts.get("until"), "until"),
        max_iterations=number(parts.get("max_iterations"), "max_iterations"),
        carry=named(parts.get("carry"), "carry", read_binding),
    )


def _cache(tree: Tree) -> Cache:
    parts = fields(tree, "`cache`", ("body", "ttl", "max_entries", "max_bytes"))
    return Cache(
        body=_branch(_required(tree, "`cache`", parts, "body")),
        ttl_s=duration(parts.get("ttl"), "ttl"),
        max_entries=number(parts.get("max_entries"), "max_entries"),
        max_bytes=size(parts.get("max_bytes"), "max_bytes"),
    )


def _transform(tree: Tree) -> Transform:
    parts = _options(tree, "`transform`", ("operations", "keep"))
    operations = tuple(operation_from_tree(item) for item in items(parts.get("operations"), "operations"))
    return Transform(operations=operations, keep=_names(parts.get("keep"), "keep"))


_READERS: Mapping[str, Callable[[Tree], Kind]] = {
    "model": _model,
    "graph": _graph,
    "map": _map,
    "switch": _switch,
    "split": _split,
    "parallel": _parallel,
    "fallback": _fallback,
    "cascade": _cascade,
    "race": _race,
    "loop": _loop,
    "cache": _cache,
    "transform": _transform,
}
_FIELDS = ("inputs", *_READERS, "timeout", "outputs")
