"""Which routers of an InferenceGraph its root leads to: KServe never runs the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.graph.forms.imports.plain import listed, mapping, text

if TYPE_CHECKING:
    from graphmesh.graph.forms.imports.plain import Mapping

__all__ = ["unreached"]


def unreached(routers: Mapping) -> list[str]:
    """Return the names of the routers that the root does not lead to, as they are written."""
    reached: set[str] = set()
    pending = ["root"]
    while pending:
        name = pending.pop()
        if name in reached or name not in routers:
            continue
        reached.add(name)
        what = f"node {name}"
        steps = listed(mapping(routers[name], what).get("steps"), f"steps of {what}")
        pending += [text(mapping(step, f"a step of {what}").get("nodeName"), "nodeName") for step in steps]
    return [name for name in routers if name not in reached]
