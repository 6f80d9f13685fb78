"""Graphs of other servers read as ours, with notes on what could not be carried over."""

from graphmesh.graph.forms.imports.imported import Imported
from graphmesh.graph.forms.imports.reader import KINDS, read

__all__ = ["KINDS", "Imported", "read"]
