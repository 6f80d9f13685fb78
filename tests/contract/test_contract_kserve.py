"""kserve's clients, gRPC and REST, in an environment of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.environments import KSERVE

if TYPE_CHECKING:
    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]


def test_kserve(target: Target) -> None:
    """Both clients see server and models, and call model and graph with raw, typed, JSON, empty and text tensors."""
    found = KSERVE.run("kserve_calls.py", target.http, target.grpc)
    errors = {"grpc": "NOT_FOUND", "rest": 404}
    for name, client in found.items():
        assert [client["live"], client["ready"], client["model"]] == [True, True, True]
        for form in (True, False):
            assert client[f"add {form}"] == ["k-1", [2.5, 3.5]]
            assert client[f"chain {form}"] == ["k-1", [3.5, 4.5]]
        assert client["shapes"] == {"rows": [0, 4], "scalar": []}
        assert client["text"] == ["A", "Ü"]
        code, message = client["error"]
        assert code == errors[name]
        assert "nope" in message
    assert found["rest"]["unknown"] is False
