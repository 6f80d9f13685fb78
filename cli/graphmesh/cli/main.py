"""The `graphmesh` command: its groups, and how errors become one line and an exit code.

Exit codes: 0 done; 1 the mesh refused or failed the request; 2 wrong usage or bad input; 3 the mesh cannot be reached;
4 a process could not start; 130 interrupted. Options come from flags, then `GRAPHMESH_<COMMAND>_<OPTION>`, then
defaults.
"""

from __future__ import annotations

import asyncio
import sys
from typing import NoReturn

import click

from graphmesh.cli import demo, doctor, graphs, infer, mesh, models, processes
from graphmesh.core.errors import GraphmeshError, InvalidRequest, ModelNotReady, StartFailed, Unavailable
from graphmesh.core.version import software_version

__all__ = ["cli", "exit_code", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(software_version(), "--version", prog_name="graphmesh")
def cli() -> None:
    """Serve machine-learning models as one mesh, and compose them into graphs.

    Start here: `graphmesh demo`, then `graphmesh up` beside a mesh.yaml.

    \b
    Exit codes: 0 done, 1 refused or failed, 2 wrong usage or bad input, 3 mesh not reachable,
    4 a process could not start, 130 interrupted.
    """  # noqa: D301 - click reads the backspace as: keep these lines


@cli.command()
def version() -> None:
    """Print graphmesh's version."""
    click.echo(software_version())


for command in (
    *processes.commands,
    *mesh.commands,
    *models.commands,
    graphs.graph,
    infer.infer,
    demo.demo,
    doctor.doctor,
):
    cli.add_command(command)


def _name_variables(command: click.Command, prefix: str) -> None:
    """Let options also come from variables named after their flags: `GRAPHMESH_WORKER_TTL` for `worker --ttl`.

    Not click's own way, which names them after Python's parameters and makes a variable of `graphmesh --version` too.
    """
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            _name_variables(child, f"{prefix}_{name}")
        return
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None:
            flag = max(option.opts, key=len).removeprefix("--")
            option.envvar = f"{prefix}_{flag}".replace("-", "_").upper()


_name_variables(cli, "graphmesh")


def exit_code(error: GraphmeshError) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, StartFailed):
        return 4
    if isinstance(error, Unavailable) and not isinstance(error, ModelNotReady):
        return 3
    return 2 if isinstance(error, InvalidRequest) else 1


def main() -> NoReturn:
    """Run the command; every expected error is one line on standard error."""
    try:
        code = cli.main(prog_name="graphmesh", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except GraphmeshError as error:
        click.echo(f"graphmesh: {error.message}", err=True)
        code = exit_code(error)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        click.echo(f"graphmesh: {error.filename}: {error.strerror}; choose another place or mend it", err=True)
        code = 1
    except (KeyboardInterrupt, click.Abort, asyncio.CancelledError):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
