"""`graphmesh version`."""

from __future__ import annotations

import click

from graphmesh.core.version import software_version

__all__ = ["version"]


@click.command()
def version() -> None:
    """Print graphmesh's version."""
    click.echo(software_version())
