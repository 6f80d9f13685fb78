"""The option that says which mesh a command asks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from graphmesh.cli.ports import local_address
from graphmesh.cli.state import nearest_run_dir, read_state
from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gateway_option", "is_named"]

_USUAL = "127.0.0.1:8000"
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")


def _gateway() -> str:
    """Return the gateway of the mesh that runs from this folder or one around it, else where one would be."""
    state = read_state(nearest_run_dir())
    return _of_mesh_file() if state is None or state.phase == "failed" else state.gateway


def _of_mesh_file() -> str:
    """Return where the mesh of ./mesh.yaml listens; the usual address if that does not say, or cannot be read.

    Read for this alone: a mistake elsewhere in the file is not for every command to tell.
    """
    try:
        text = Path("mesh.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return _USUAL
    import yaml  # noqa: PLC0415 - takes longer to load than most commands to run

    host, _, port = _USUAL.rpartition(":")
    try:
        entry = yaml.safe_load(text)["gateway"]
        return local_address(str(entry.get("bind", host)), int(entry.get("port", port)))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return _USUAL


def is_named(context: click.Context) -> bool:
    """Return whether a flag or variable says which mesh is asked."""
    return context.get_parameter_source("gateway") is not ParameterSource.DEFAULT


def _checked(_context: click.Context, _option: click.Parameter, address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise InvalidRequest(f"--gateway must be HOST:PORT, such as {_USUAL}, got {address[:80]!r}")
    return address


gateway_option: Callable[[Any], Any] = click.option(
    "--gateway",
    default=_gateway,
    show_default=_USUAL,
    metavar="HOST:PORT",
    help="The mesh's gateway; default: that of the mesh in the .graphmesh of this folder or one around it, "
    "else that of ./mesh.yaml.",
    envvar="GRAPHMESH_GATEWAY_ADDRESS",
    callback=_checked,
)
