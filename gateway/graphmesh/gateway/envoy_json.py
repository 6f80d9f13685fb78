"""Envoy's configuration as plain JSON values, the few shapes that repeat in it."""

from __future__ import annotations

from importlib import resources
from typing import Any, TypeAlias

__all__ = ["Json", "extension", "http2_options", "lua", "seconds", "typed"]

Json: TypeAlias = dict[str, Any]
"""One JSON object in protobuf's JSON form."""


def typed(type_name: str, **fields: Any) -> Json:  # noqa: ANN401 - JSON values
    """Return a `google.protobuf.Any` of an Envoy message."""
    return {"@type": f"type.googleapis.com/{type_name}", **fields}


def extension(name: str, type_name: str, **fields: Any) -> Json:  # noqa: ANN401 - JSON values
    """Return a named extension and its typed configuration."""
    return {"name": name, "typed_config": typed(type_name, **fields)}


def seconds(value: float) -> str:
    """Return a `google.protobuf.Duration`."""
    return f"{value:g}s"


def http2_options(buffer_bytes: int) -> Json:
    """Return HTTP/2 options with windows as large as the buffers: on HTTP/2 the stream window is the buffer limit."""
    return {"initial_stream_window_size": buffer_bytes, "initial_connection_window_size": 2 * buffer_bytes}


def lua(name: str) -> str:
    """Return the source of one of this package's Lua filters."""
    return (resources.files(__package__) / "lua" / f"{name}.lua").read_text()
