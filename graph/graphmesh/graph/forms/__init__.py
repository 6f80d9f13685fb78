"""Graphs as people and wires carry them: YAML, textproto, Python, protobuf."""
