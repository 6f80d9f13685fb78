"""Which mesh a command asks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.gateway import _gateway
from graphmesh.cli.state import MeshState, mark, write_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("gateway: {port: 18300}", "127.0.0.1:18300"),
        ("gateway: {bind: 0.0.0.0, port: 18300}", "127.0.0.1:18300"),
        ("gateway: {bind: 127.0.0.2}", "127.0.0.2:8000"),
        ("graphs: []", "127.0.0.1:8000"),
        ("gateway: 3", "127.0.0.1:8000"),
        ("gateway: [", "127.0.0.1:8000"),
        ("", "127.0.0.1:8000"),
    ],
)
def test_the_mesh_of_a_mesh_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, address: str) -> None:
    """It is asked where ./mesh.yaml lets it listen, unless a mesh that runs says otherwise."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mesh.yaml").write_text(text)
    assert _gateway() == address
    (tmp_path / ".graphmesh").mkdir()
    state = MeshState(supervisor=mark(os.getpid()), phase="ready", gateway="127.0.0.1:7")
    write_state(tmp_path / ".graphmesh", state)
    assert _gateway() == "127.0.0.1:7"


@pytest.mark.parametrize("address", ["foo", "http://mesh:8000", "mesh:", ":8000", "::1:8000"])
def test_what_is_no_address(graphmesh: Run, address: str) -> None:
    """It is wrong usage, in one line that says what is expected."""
    code, _, errors = graphmesh("status", "--gateway", address)
    assert (code, errors) == (
        2,
        f"graphmesh: --gateway must be HOST:PORT, such as 127.0.0.1:8000, got {address!r}\n",
    )


def test_a_host_that_nobody_knows(graphmesh: Run) -> None:
    """It is a mesh that is not reached, said in our words and not in those of a resolver."""
    code, _, errors = graphmesh("status", "--gateway", "no-such-host.invalid:8000")
    assert (code, errors) == (
        3,
        "graphmesh: no address is known for the host of no-such-host.invalid:8000; name a gateway as HOST:PORT\n",
    )
