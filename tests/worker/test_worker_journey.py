"""What a call spent on its way."""

from __future__ import annotations

import time

import orjson
import pytest

from graphmesh.core.inference import InferenceResponse, Parameter
from graphmesh.worker.forms.journey import Journey, server_timing


def _response(explain: str | None) -> InferenceResponse:
    parameters: dict[str, Parameter] = {} if explain is None else {"explain": explain, "other": 1}
    return InferenceResponse(model="m", version="1", outputs={}, parameters=parameters)


def test_a_worker_says_how_long_it_had_a_call() -> None:
    """The header is the standard's, in milliseconds."""
    assert server_timing(1.0, 1.0001, 1.0053, 1.0055) == (
        "server-timing",
        "decode;dur=0.100, handle;dur=5.200, encode;dur=0.200",
    )


def test_the_network_is_what_neither_end_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding counts at both ends; the network is the rest of the call, never less than nothing."""
    for handled_ms, network_ms in ((5.0, 4.7), (50.0, 0.0)):
        instants = iter([10.0, 10.001, 10.013])
        monkeypatch.setattr(time, "perf_counter", lambda instants=instants: next(instants))
        journey = Journey()
        journey.encoded()
        response = _response('{"worker":"w"}')
        server = f"decode;dur=0.100, handle;dur={handled_ms}, encode;dur=0.200"
        journey.ended(response, answered=10.011, server=server, retries=2)
        facts = orjson.loads(str(response.parameters["explain"]))
        assert facts == {"worker": "w", "serialise_ms": 3.3, "network_ms": network_ms, "retries": 2}
        assert response.parameters["other"] == 1


@pytest.mark.parametrize("server", ["", "cache;desc=hit", "handle;dur=x", "dur=1"])
def test_a_worker_that_says_nothing(server: str) -> None:
    """Without the other end's time the network's share is not known, and no retry is not told."""
    response = _response("{}")
    Journey().ended(response, answered=time.perf_counter(), server=server, retries=0)
    assert set(orjson.loads(str(response.parameters["explain"]))) == {"serialise_ms"}


@pytest.mark.parametrize("explain", [None, "", "[]"])
def test_an_answer_that_explains_nothing(explain: str | None) -> None:
    """It is left as it is."""
    response = _response(explain)
    before = dict(response.parameters)
    Journey().ended(response, answered=0.0, server="", retries=0)
    assert response.parameters == before
