"""Conditions and keys: CEL over tensors, parameters and headers, with bounded cost."""

from graphmesh.graph.conditions.condition import Condition, Key
from graphmesh.graph.conditions.cost import MAX_COST
from graphmesh.graph.conditions.expressions import ANSWERED, INPUTS
from graphmesh.graph.conditions.scope import Scope

__all__ = ["ANSWERED", "INPUTS", "MAX_COST", "Condition", "Key", "Scope"]
