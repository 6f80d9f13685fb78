"""Ratios, verdicts and the table, from made-up blocks."""

from __future__ import annotations

import psutil

from benchmarks.calls import grpc_call
from benchmarks.measure import Block, Method, ratio
from benchmarks.report import document, judge, text
from benchmarks.scenarios import Scenario
from benchmarks.servers import System


def _blocks(*microseconds: float) -> list[Block]:
    return [Block(requests=100, seconds=0.5, cpu_us={"envoy": 10.0, "worker": us - 10}) for us in microseconds]


def _scenario(name: str) -> Scenario:
    system = System(parts={"worker": (psutil.Process(),)})
    return Scenario(name=name, title=f"title of {name}", system=system, calls=(grpc_call("127.0.0.1:1", "add"),))


def test_ratios_are_formed_within_rounds() -> None:
    """A machine that becomes half as fast between rounds leaves the ratio as it is."""
    measured = ratio(_blocks(50, 100, 52), _blocks(100, 200, 100))
    assert measured.median == 0.5
    assert (measured.low, measured.high) == (0.5, 0.52)


def test_claims_are_judged_by_their_median() -> None:
    """A claim holds up to its bound and fails past it; one whose scenarios are missing is not judged."""
    blocks = {"bare-envoy": _blocks(400, 400, 400), "mesh-async-grpc": _blocks(190, 200, 300)}
    (verdict,) = judge(blocks)
    assert verdict.passed
    (verdict,) = judge({**blocks, "mesh-async-grpc": _blocks(190, 210, 300)})
    assert not verdict.passed


def test_the_table_has_every_scenario_and_verdict() -> None:
    """Median, interval, parts and PASS or FAIL with the ratio are in the text."""
    blocks = {
        "bare-envoy": _blocks(400, 390, 410),
        "mesh-async-grpc": _blocks(100, 100, 100),
        "chain-fused": _blocks(300, 250, 310),
    }
    machine: dict[str, object] = {
        "cores": 2,
        "cpu": "a CPU",
        "memory_gib": 4,
        "system": "Linux",
        "python": "3.11.1",
        "versions": {"grpcio": "1.81"},
        "h2load": "h2load 1.52",
        "load_before": 0.1,
    }
    result = document(
        [_scenario(name) for name in blocks],
        blocks,
        method=Method(rounds=3, judged_rounds=0, block_s=1.0),
        machine=machine,
        date="2026-01-02T03:04:05+00:00",
    )
    table = text(result)
    assert "title of bare-envoy" in table
    assert "400" in table
    assert "390-410" in table
    assert "envoy 10, worker 390" in table
    assert "PASS  0.25" in table
    assert "FAIL  3.00" in table
    assert "2 cores a CPU" in table
