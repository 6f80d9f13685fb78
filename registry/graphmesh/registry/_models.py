"""Guarded changes of model specs.

One namespace holds models and graphs, and this half keeps it so: a spec is created only in a transaction that finds no
graph of that name (`_graphs` does the converse). Several specs share a transaction, as many as etcd takes in one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from graphmesh.core.errors import AlreadyExists, InvalidRequest, NotFound
from graphmesh.core.names import check_model_name
from graphmesh.registry import wire
from graphmesh.registry._guarded import Done, Write, change
from graphmesh.registry.kv import MAX_TXN_OPS, Compare, Delete, Put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from graphmesh.core.signature import Signature
    from graphmesh.registry.keys import Keys
    from graphmesh.registry.kv import KV, KeyValue, Op
    from graphmesh.registry.records import ModelSpec

__all__ = ["ModelTable"]

_CHUNK = MAX_TXN_OPS // 2  # two compares for each model


class ModelTable:
    """The durable records of models: specs and signatures."""

    def __init__(self, kv: KV, keys: Keys) -> None:
        self._kv = kv
        self._keys = keys

    async def ensure(self, specs: Iterable[ModelSpec]) -> None:
        """Create the specs that are absent; add versions that the present ones lack and leave the rest of them.

        Raises:
            AlreadyExists: a graph has the name (ALREADY_EXISTS, retry: no).
        """
        wanted = {spec.name: spec for spec in specs}
        for names in _chunks(list(wanted)):
            await self._change(names, lambda name, known: _with_versions(known, wanted[name]))

    async def put(self, spec: ModelSpec) -> ModelSpec:
        """Create or replace a spec."""
        await self._change([spec.name], lambda _name, _known: spec)
        return spec

    async def scale(self, name: str, replicas: int) -> ModelSpec:
        """Set a model's number of replicas."""
        scaled: list[ModelSpec] = []

        def wanted(_name: str, known: ModelSpec | None) -> ModelSpec:
            scaled[:] = [replace(_existing(name, known), replicas=replicas)]
            return scaled[0]

        await self._change([check_model_name(name)], wanted)
        return scaled[0]

    async def delete(self, name: str) -> None:
        """Forget a model."""
        tried = False

        def wanted(_name: str, known: ModelSpec | None) -> None:
            nonlocal tried
            if not tried:
                _existing(name, known)
            tried = True

        await self._change([check_model_name(name)], wanted)

    async def ensure_signatures(self, signatures: Iterable[Signature]) -> None:
        """Write those signatures that are absent; equal digests are equal signatures."""
        values = {self._keys.signature(signature.digest): wire.encode_signature(signature) for signature in signatures}
        for keys in _chunks(list(values)):
            present = {item.key for item in (await self._kv.get(keys)).items}
            absent = [Put(key, values[key]) for key in keys if key not in present]
            if absent:
                await self._kv.txn([], absent)

    async def _change(self, names: Sequence[str], wanted: Callable[[str, ModelSpec | None], ModelSpec | None]) -> None:
        async def decide(timeout_s: float) -> Done[None] | Write[None]:
            keys = [key for name in names for key in (self._keys.model(name), self._keys.live(name))]
            items = {item.key: item for item in (await self._kv.get(keys, timeout_s=timeout_s)).items}
            compares: list[Compare] = []
            ops: list[Op] = []
            for name in names:
                self._decide(name, items, wanted, compares, ops)
            return Write(compares, ops, lambda _revision: None) if ops else Done(None)

        await change(self._kv, f"the specs of {', '.join(names[:3])}", decide)

    def _decide(
        self,
        name: str,
        items: dict[str, KeyValue],
        wanted: Callable[[str, ModelSpec | None], ModelSpec | None],
        compares: list[Compare],
        ops: list[Op],
    ) -> None:
        key, live = self._keys.model(name), self._keys.live(name)
        item = items.get(key)
        known = _read(name, item)
        spec = wanted(name, known)
        if spec == known:
            return
        if spec is not None and live in items:
            raise AlreadyExists(f"a model must not have the name of a graph, {name!r}; choose another name")
        compares += [Compare(key, item.mod_revision if item else 0), Compare(live, 0)]
        ops.append(Put(key, wire.encode_model(spec)) if spec else Delete(key))


def _read(name: str, item: KeyValue | None) -> ModelSpec | None:
    """Return a spec as it is kept; one that cannot be read is as good as none, and is replaced."""
    try:
        return wire.decode_model(name, item.value) if item else None
    except InvalidRequest:
        return None


def _existing(name: str, known: ModelSpec | None) -> ModelSpec:
    if known is None:
        raise NotFound(f"no model is named {name!r}; `graphmesh models` lists them")
    return known


def _with_versions(known: ModelSpec | None, spec: ModelSpec) -> ModelSpec:
    if known is None:
        return spec
    new = tuple(version for version in spec.versions if version not in known.versions)
    return replace(known, versions=known.versions + new)


def _chunks(names: list[str]) -> Iterable[list[str]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))
