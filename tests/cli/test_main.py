"""The command as a whole: errors become one line and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from graphmesh.cli import gateway
from graphmesh.cli import main as module
from graphmesh.cli.main import cli, exit_code
from graphmesh.cli.ports import free_port
from graphmesh.cli.state import MeshState, mark, write_state
from graphmesh.core import errors
from graphmesh.core.version import software_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import FakeGateway

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Return what makes `graphmesh version` raise an error."""

    def install(error: BaseException) -> None:
        @click.command()
        def version() -> None:
            raise error

        monkeypatch.setitem(cli.commands, "version", version)

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest, 2),
        (errors.InvalidGraph, 2),
        (errors.SignatureMismatch, 2),
        (errors.Unavailable, 3),
        (errors.RegistryUnavailable, 3),
        (errors.ModelNotReady, 1),
        (errors.StartFailed, 4),
        (errors.NotFound, 1),
        (errors.Conflict, 1),
        (errors.LoadFailed, 1),
        (errors.ModelFailed, 1),
        (errors.GraphmeshError, 1),
    ],
)
def test_an_error_is_one_line_and_a_code(
    graphmesh: Run, failing: Callable[[BaseException], None], error: type[errors.GraphmeshError], code: int
) -> None:
    """Every error of ours ends with its code and its message on standard error, nothing on standard output."""
    failing(error("what is wrong; what to do"))
    assert graphmesh("version") == (code, "", "graphmesh: what is wrong; what to do\n")


def test_every_error_has_an_exit_code() -> None:
    """No error of the tree is left without one of the documented codes."""
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.GraphmeshError):
            assert exit_code(kind("")) in {1, 2, 3, 4}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupted(graphmesh: Run, failing: Callable[[BaseException], None], error: BaseException) -> None:
    """Ctrl-C ends with 130 and says nothing."""
    failing(error)
    code, out, err = graphmesh("version")
    assert (code, out, err.strip()) == (130, "", "")


def test_a_place_that_cannot_be_written(graphmesh: Run, tmp_path: Path) -> None:
    """A run folder that cannot be made is one line that names it, not a traceback."""
    (tmp_path / "file").write_text("")
    code, out, err = graphmesh("up", "--run-dir", str(tmp_path / "file/run"))
    assert (code, out) == (1, "")
    assert err.startswith(f"graphmesh: {tmp_path}/file/run: Not a directory")


def test_a_bug_is_not_hidden(failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expected keeps its traceback."""
    failing(RuntimeError("a bug"))
    monkeypatch.setattr("sys.argv", ["graphmesh", "version"])
    with pytest.raises(RuntimeError, match="a bug"):
        module.main()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("no-such-command",), "No such command 'no-such-command'"),
        (("models", "--no-such-option"), "No such option"),
        (("scale", "mood"), "Missing argument 'REPLICAS'"),
        (("scale", "mood", "0"), "0 is not in the range"),
        (("worker", "--model", "mood"), "--model must be NAME=SOURCE, got 'mood'"),
        (("worker", "--model", "Mood=m.py:M"), "must match"),
        (("gateway", "--gateway-id", "a/b"), "must match"),
        (("up", "no-such-file.yaml"), "no-such-file.yaml: cannot be read"),
        (("graph", "apply", "no-such-file.yaml"), "no-such-file.yaml: cannot be read"),
        (("infer", "m", "--output", "xml"), "'xml' is not one of"),
    ],
)
def test_wrong_usage(graphmesh: Run, arguments: tuple[str, ...], complaint: str) -> None:
    """Wrong arguments end with 2 and say what is wrong with them."""
    code, out, err = graphmesh(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("models",), ("models", "m"), ("workers",), ("scale", "m", "2"), ("graph", "list"), ("infer", "m")],
)
def test_no_mesh(graphmesh: Run, arguments: tuple[str, ...]) -> None:
    """Without a mesh every command that asks one ends with 3 and says how to start it."""
    address = f"127.0.0.1:{free_port()}"
    code, out, err = graphmesh(*arguments, "--gateway", address)
    assert (code, out) == (3, "")
    assert err.startswith(f"graphmesh: no mesh answers at {address}")
    assert err.endswith("start one with: graphmesh up\n")
    assert err.count("\n") == 1


def test_a_refusal(graphmesh: Run, fake_gateway: FakeGateway) -> None:
    """What the mesh refuses ends with 1 and the mesh's own message."""
    fake_gateway.answers({"error": "no model 'm'", "code": 5}, status=404)
    assert graphmesh("infer", "m", "--gateway", fake_gateway.address) == (1, "", "graphmesh: no model 'm'\n")


def test_options_come_from_the_environment(
    graphmesh: Run, fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway's address and any option can be set by variables; a flag wins."""
    fake_gateway.answers({"outputs": {}})
    monkeypatch.setenv("GRAPHMESH_GATEWAY_ADDRESS", fake_gateway.address)
    monkeypatch.setenv("GRAPHMESH_INFER_VERSION", "7")
    assert graphmesh("infer", "m")[0] == 0
    assert graphmesh("infer", "m", "--version", "8")[0] == 0
    assert [path for path, _, _ in fake_gateway.requests] == [f"/v1/models/m/versions/{v}:predict" for v in (7, 8)]


def test_the_mesh_of_this_folder(
    graphmesh: Run, fake_gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands ask the mesh whose run folder is here; variable and flag win; a mesh that failed is none."""
    fake_gateway.answers({"outputs": {}})
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / ".graphmesh"
    run_dir.mkdir()
    me = mark(os.getpid())
    write_state(run_dir, MeshState(supervisor=me, phase="ready", gateway=fake_gateway.address))
    assert graphmesh("infer", "m")[0] == 0
    nowhere = f"127.0.0.1:{free_port()}"
    assert graphmesh("infer", "m", "--gateway", nowhere)[0] == 3
    monkeypatch.setenv("GRAPHMESH_GATEWAY_ADDRESS", nowhere)
    assert graphmesh("infer", "m")[0] == 3
    monkeypatch.delenv("GRAPHMESH_GATEWAY_ADDRESS")
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")  # as git does: a folder around counts
    assert graphmesh("infer", "m")[0] == 0
    write_state(run_dir, MeshState(supervisor=me, phase="failed", gateway=fake_gateway.address))
    assert gateway._gateway() == "127.0.0.1:8000"


def test_every_option_has_a_variable_named_after_its_flag() -> None:
    """`--ttl` of `worker` is GRAPHMESH_WORKER_TTL; the gateway that commands ask is one variable for all."""
    worker, apply = cli.commands["worker"], cli.commands["graph"].commands["apply"]  # type: ignore[attr-defined]
    variables = {option.opts[0]: option.envvar for command in (worker, apply) for option in command.params}
    assert variables["--ttl"] == "GRAPHMESH_WORKER_TTL"
    assert variables["--http-port"] == "GRAPHMESH_WORKER_HTTP_PORT"
    assert variables["--etag"] == "GRAPHMESH_GRAPH_APPLY_ETAG"
    assert variables["--gateway"] == "GRAPHMESH_GATEWAY_ADDRESS"


def test_version_is_not_a_variable(graphmesh: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GRAPHMESH_VERSION that a deployment sets for itself changes nothing."""
    monkeypatch.setenv("GRAPHMESH_VERSION", "1")
    assert graphmesh("scale", "mood")[0] == 2


def test_version(graphmesh: Run) -> None:
    """`version` and `--version` say the same."""
    assert graphmesh("version") == (0, f"{software_version()}\n", "")
    assert software_version() in graphmesh("--version")[1]


@pytest.mark.parametrize("group", [(), ("graph",), ("model",)])
def test_lists_of_commands_fit(graphmesh: Run, monkeypatch: pytest.MonkeyPatch, group: tuple[str, ...]) -> None:
    """In 80 columns each command has one line, which is not cut."""
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = graphmesh(*group, "--help")
    lines = out.partition("Commands:\n")[2].splitlines()
    assert code == 0
    assert lines
    assert all(line.endswith(".") and not line.endswith("...") and line[2] != " " for line in lines)


@pytest.mark.parametrize("arguments", [("--help",), ("graph", "-h"), ("worker", "--help")])
def test_help(graphmesh: Run, arguments: tuple[str, ...]) -> None:
    """Help goes to standard output and ends with 0."""
    code, out, err = graphmesh(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: graphmesh")


def test_every_command_and_option_says_what_it_is_for() -> None:
    """No command and no option is without help."""

    def look(name: str, command: click.Command) -> None:
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts}"
        if isinstance(command, click.Group):
            for inner, child in command.commands.items():
                look(f"{name} {inner}", child)

    look("graphmesh", cli)


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`graphmesh ... | head` ends quietly."""
    command = f"{sys.executable} -m graphmesh.cli --help | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    assert "Traceback" not in done.stderr
