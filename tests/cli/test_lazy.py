"""Commands are imported when they are called, and only then."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from graphmesh.cli.lazy import LazyGroup
from graphmesh.cli.main import cli

HEAVY = {"numpy", "grpc", "google.protobuf", "yaml", "rich", "graphmesh.graph", "graphmesh.worker", "graphmesh.gateway"}


@pytest.mark.parametrize("arguments", [["--help"], ["infer", "--help"], ["infer", "m", "--gateway", "127.0.0.1:1"]])
def test_little_is_imported(arguments: list[str]) -> None:
    """The list of commands, and a call of a model, load no library that takes long to load."""
    script = f"""
import sys
from graphmesh.cli.main import main
sys.argv = ["graphmesh", *{arguments!r}]
try:
    main()
finally:
    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]"


def test_every_part_is_a_command() -> None:
    """Each is found under the name that it has itself, by list, by name and among all."""
    assert isinstance(cli, LazyGroup)
    context = click.Context(cli)
    assert cli.list_commands(context) == sorted(cli.commands)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is cli.commands[name]
        assert command is not None
        assert command.name == name
    assert cli.get_command(context, "no-such-command") is None


def test_summaries_fit_a_line() -> None:
    """Each says in a line of 80 columns what the command does, as a sentence."""
    formatter = click.HelpFormatter(width=80)
    cli.format_commands(click.Context(cli), formatter)
    lines = formatter.getvalue().splitlines()[1:]
    assert [line.split()[0] for line in lines] == sorted(cli.commands)
    assert all(line.endswith(".") for line in lines)
