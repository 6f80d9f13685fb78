"""A group of commands of which only the one that is called is imported: the others' imports take most of its time."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

__all__ = ["LazyGroup", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """A command that is not imported yet."""

    module: str
    """Where it is."""
    attribute: str
    """What it is called there."""
    summary: str
    """What the list of commands says of it."""


class LazyGroup(click.Group):
    """A group whose commands are found by name in ``parts``.

    The variables of their options are named after their flags, as `GRAPHMESH_WORKER_TTL` for `worker --ttl`; not
    click's own way, which names them after Python's parameters and makes a variable of `graphmesh --version` too.
    """

    def __init__(self, *arguments: Any, parts: Mapping[str, Part], **options: Any) -> None:
        self._parts = parts
        self._imported: MutableMapping[str, click.Command] = {}
        super().__init__(*arguments, **options)

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        """All commands by name; imports them all."""
        for name in self._parts:
            self._command(name)
        return self._imported

    @commands.setter
    def commands(self, commands: MutableMapping[str, click.Command]) -> None:
        self._imported = commands

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the interface's name
        """Return the names of all commands, in alphabetical order."""
        return sorted(self._parts)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return a command, imported now; None if there is none of this name."""
        return self._command(cmd_name)

    def _command(self, name: str) -> click.Command | None:
        if name not in self._imported and name in self._parts:
            part = self._parts[name]
            command: click.Command = getattr(importlib.import_module(part.module), part.attribute)
            _name_variables(command, f"graphmesh_{name}")
            self._imported[name] = command
        return self._imported.get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the list of commands; imports none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, part.summary) for name, part in sorted(self._parts.items())])


def _name_variables(command: click.Command, prefix: str) -> None:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            _name_variables(child, f"{prefix}_{name}")
        return
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None:
            flag = max(option.opts, key=len).removeprefix("--")
            option.envvar = f"{prefix}_{flag}".replace("-", "_").upper()
