"""Calling a mesh from Python."""

from graphmesh.client.control import ControlClient

__all__ = ["ControlClient"]
