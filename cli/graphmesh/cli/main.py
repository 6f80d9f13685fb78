"""The `graphmesh` command: its groups, and how errors become one line and an exit code.

Exit codes: 0 done; 1 the mesh refused or failed the request; 2 wrong usage or bad input; 3 the mesh cannot be reached;
4 a process could not start; 130 interrupted. Options come from flags, then `GRAPHMESH_<COMMAND>_<OPTION>`, then
defaults.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from graphmesh.cli.lazy import LazyGroup, Part
from graphmesh.core.errors import GraphmeshError, InvalidRequest, ModelNotReady, StartFailed, Unavailable

__all__ = ["cli", "exit_code", "main"]

_PARTS = {
    "demo": Part("graphmesh.cli.demo", "demo", "Read the text in a picture with a graph of three real models."),
    "doctor": Part("graphmesh.cli.doctor", "doctor", "Check this machine and the mesh, and say what to mend."),
    "down": Part("graphmesh.cli.processes", "down", "Stop the mesh that `graphmesh up` started."),
    "gateway": Part(
        "graphmesh.cli.processes", "gateway", "Run a gateway: Envoy, and the control plane that steers it."
    ),
    "graph": Part("graphmesh.cli.graphs", "graph", "Compose models into graphs: check, apply and explain them."),
    "infer": Part("graphmesh.cli.infer", "infer", "Call a model or a graph and print its outputs."),
    "model": Part("graphmesh.cli.models", "model", "Load and unload models while their workers run."),
    "models": Part("graphmesh.cli.models", "models", "List models and graphs with their replicas."),
    "scale": Part("graphmesh.cli.mesh", "scale", "Set how many replicas of a model are kept."),
    "status": Part("graphmesh.cli.mesh", "status", "Show the health of the mesh and where its graphs run."),
    "up": Part("graphmesh.cli.processes", "up", "Start a whole mesh on this machine."),
    "version": Part("graphmesh.cli.version", "version", "Print graphmesh's version."),
    "worker": Part("graphmesh.cli.processes", "worker", "Run a worker: hosts models and registers them."),
    "workers": Part("graphmesh.cli.mesh", "workers", "List workers and what they host."),
}


def _print_version(context: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value:
        from graphmesh.core.version import software_version  # noqa: PLC0415 - reading what is installed takes a while

        click.echo(f"graphmesh, version {software_version()}")
        context.exit()


@click.group(
    cls=LazyGroup, parts=_PARTS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Serve machine-learning models as one mesh, and compose them into graphs.

    Start here: `graphmesh demo`, then `graphmesh up` beside a mesh.yaml.

    \b
    Exit codes: 0 done, 1 refused or failed, 2 wrong usage or bad input, 3 mesh not reachable,
    4 a process could not start, 130 interrupted.
    """  # noqa: D301 - click reads the backspace as: keep these lines


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
    except _interruptions():
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _interruptions() -> tuple[type[BaseException], ...]:
    """Return what being interrupted raises."""
    from asyncio import CancelledError  # noqa: PLC0415 - only looked at after an error

    return KeyboardInterrupt, click.Abort, CancelledError
