"""What mlserver gives to clients (types, codecs, stubs, its batch command), in an environment of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.environments import MLSERVER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]


def test_mlserver(target: Target, tmp_path: Path) -> None:
    """Requests of mlserver's codecs are answered so that its codecs read them; its batch command runs a file."""
    found = MLSERVER.run("mlserver_calls.py", target.http, target.grpc, str(tmp_path))
    over_grpc, over_rest = found["grpc"], found["rest"]
    assert [over_grpc["live"], over_grpc["ready"], over_grpc["model"]] == [True, True, True]
    assert (over_grpc["server"], over_grpc["metadata"]) == ("graphmesh", ["x"])
    assert {"add", "chain"} <= set(over_grpc["index"])
    for raw in (True, False):
        assert over_grpc[f"add {raw}"] == ["m-1", [2.5, 3.5]]
        assert over_grpc[f"chain {raw}"] == ["m-1", [3.5, 4.5]]
    assert over_rest["add"] == ["m-1", [2.5, 3.5]]
    assert over_rest["chain"] == ["m-1", [3.5, 4.5]]
    assert over_grpc["text"] == over_rest["text"] == ["A", "Ü"]
    assert over_grpc["error"][0] == "NOT_FOUND"
    assert "nope" in over_rest["error"]
    assert found["batch"] == [[[2.5, 3.5]] * 3] * 2
