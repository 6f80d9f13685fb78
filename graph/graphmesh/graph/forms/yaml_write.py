"""The steps of a graph in the short forms of YAML: what `yaml_read` reads back, as mappings, lists and scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from graphmesh.graph.forms.amounts import show_duration, show_size
from graphmesh.graph.forms.naming import branch_name, kind_word
from graphmesh.graph.forms.wire_enums import default_aggregate
from graphmesh.graph.spec import (
    Binding,
    Cache,
    Cascade,
    Fallback,
    GraphCall,
    Join,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
    Race,
    Split,
    Switch,
    Transform,
)
from graphmesh.graph.transforms.yaml_form import operation_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from graphmesh.graph.spec import Kind

__all__ = ["bindings_form", "nodes_form"]

_Form: TypeAlias = dict[str, object]


def bindings_form(bindings: tuple[Binding, ...]) -> object:
    """Return sources by name; a list where a name is there twice, so that a faulty graph can be shown."""
    form = {binding.name: binding.source for binding in bindings}
    if len(form) == len(bindings):
        return form
    return [{"name": binding.name, "source": binding.source} for binding in bindings]


def nodes_form(nodes: tuple[Node, ...]) -> object:
    """Return steps by name; a list where a name is there twice."""
    form = {node.name: _node(node) for node in nodes}
    return form if len(form) == len(nodes) else [{"name": node.name, **_node(node)} for node in nodes]


def _node(node: Node) -> _Form:
    """Return a step without its name."""
    options = {
        "inputs": bindings_form(node.inputs),
        "outputs": bindings_form(node.outputs),
        "timeout": _duration(node.timeout_s),
    }
    return {kind_word(node.kind): _kind(node.kind), **_given(options)}


def _inline(node: Node) -> _Form:
    """Return a branch as a mapping, with a name only if it is not the one it has without."""
    return _node(node) if node.name == branch_name(node.kind) else {"name": node.name, **_node(node)}


def _branch(node: Node) -> object:
    form = _inline(node)
    model = form.get("model")
    return model if len(form) == 1 and isinstance(model, str) else form


def _branches(nodes: Iterable[Node]) -> list[object]:
    return [_branch(node) for node in nodes]


def _given(options: _Form) -> _Form:
    """Leave out what is not given."""
    return {name: value for name, value in options.items() if value}


def _listed(first: str, entries: list[object], options: _Form) -> object:
    """Return a kind whose list stands alone if it has no other options."""
    given = _given(options)
    return {first: entries, **given} if given else entries


def _duration(seconds: float) -> str:
    return show_duration(seconds) if seconds else ""


def _model(kind: ModelCall) -> object:
    return {"name": kind.name, "version": kind.version} if kind.version else kind.name


def _map(kind: Map) -> object:
    numbers: _Form = {"batch_size": kind.batch_size, "max_concurrency": kind.max_concurrency}
    over = kind.over[0] if len(kind.over) == 1 else list(kind.over)
    return {kind_word(kind.target): _kind(kind.target), "over": over, **_given(numbers)}


def _switch(kind: Switch) -> object:
    cases: list[object] = [{"when": case.when, **_inline(case.then)} for case in kind.cases]
    return [*cases, {"default": _branch(kind.default)}] if kind.default is not None else cases


def _split(kind: Split) -> object:
    shares: list[object] = [{"weight": share.weight, **_inline(share.then)} for share in kind.shares]
    return _listed("shares", shares, {"key": kind.key})


def _parallel(kind: Parallel) -> object:
    options: _Form = {
        "join": "" if kind.join is Join.ALL else kind.join.value,
        "quorum": kind.quorum,
        "aggregate": "" if kind.aggregate is default_aggregate(kind.join) else kind.aggregate.value,
    }
    return _listed("branches", _branches(kind.branches), options)


def _fallback(kind: Fallback) -> object:
    return _listed("branches", _branches(kind.branches), {"on": list(kind.on)})


def _cascade(kind: Cascade) -> object:
    return {
        "branches": _branches(kind.branches),
        "confidence": kind.confidence,
        "threshold": float(kind.threshold),
    }


def _race(kind: Race) -> object:
    options: _Form = {"delay": _duration(kind.delay_s)}
    if len(kind.branches) == 1:
        return {**_inline(kind.branches[0]), **_given(options)}
    return _listed("branches", _branches(kind.branches), options)


def _loop(kind: Loop) -> object:
    options = {"until": kind.until, "carry": bindings_form(kind.carry)}
    return {"body": _branch(kind.body), "max_iterations": kind.max_iterations, **_given(options)}


def _cache(kind: Cache) -> object:
    options: _Form = {
        "ttl": _duration(kind.ttl_s),
        "max_entries": kind.max_entries,
        "max_bytes": show_size(kind.max_bytes),
    }
    return {"body": _branch(kind.body), **_given(options)}


def _transform(kind: Transform) -> object:
    operations: list[object] = [operation_form(operation) for operation in kind.operations]
    return _listed("operations", operations, {"keep": list(kind.keep)})


def _kind(kind: Kind) -> object:
    return _WRITERS[type(kind)](kind)


_WRITERS: Mapping[type, Callable[[Any], object]] = {
    ModelCall: _model,
    GraphCall: lambda kind: kind.name,
    Map: _map,
    Switch: _switch,
    Split: _split,
    Parallel: _parallel,
    Fallback: _fallback,
    Cascade: _cascade,
    Race: _race,
    Loop: _loop,
    Cache: _cache,
    Transform: _transform,
}
