"""The whole benchmark as a smoke test: it must measure everything; how fast this machine is does not matter."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import triton
from benchmarks.report import CLAIMS, judged

_ROOT = Path(__file__).resolve().parents[2]
_COMMAND = (sys.executable, "-m", "benchmarks", "--quick")
_SCENARIOS = {
    "grpc-aio": {"worker"},
    "bare-envoy": {"envoy", "worker"},
    "forwarder": {"forwarder", "worker"},
    **{
        f"worker-{kind}-{shell}": {"worker"}
        for kind in ("async", "sync")
        for shell in ("fast", "natural", "oip", "grpc")
    },
    **{
        f"mesh-{kind}-{protocol}": {"envoy", "worker", "control"}
        for kind in ("async", "sync")
        for protocol in ("grpc", "natural")
    },
    **{name: {"envoy", "worker", "control"} for name in ("chain-fused", "chain-remote", "chain-client")},
    **{name: {"worker"} for name in ("chain-worker", "chain-long")},
    **{name: {"triton"} for name in ("triton-python", "triton-ensemble") if triton.available()},
}
_CLAIMS = [claim for claim in CLAIMS if {claim.ours, claim.theirs} <= _SCENARIOS.keys()]
_JUDGED = judged() & _SCENARIOS.keys()

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]


def test_every_scenario_is_measured() -> None:
    """One run has every scenario with its parts, all above zero, and a verdict on every claim."""
    done = subprocess.run([*_COMMAND, "-o", "json"], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert {one["name"]: set(one["parts_us"]) for one in result["scenarios"]} == _SCENARIOS
    assert all(one["cpu_us"]["median"] > 0 for one in result["scenarios"])
    assert {one["name"] for one in result["scenarios"] if len(one["blocks"]) == 2} == _JUDGED
    assert [claim["title"] for claim in result["claims"]] == [claim.title for claim in _CLAIMS]
    assert result["machine"]["cores"] > 0


def test_a_diamond_is_measured() -> None:
    """It runs, and tells what it compares."""
    command = (sys.executable, "-m", "benchmarks.diamond", "--quick", "-o", "json")
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["median_ms"] > 15
    assert result["ratio"] == pytest.approx(result["median_ms"] / (result["model_alone_ms"] + 10))


def test_ctrl_c_leaves_no_process() -> None:
    """Interrupted while it measures, it stops every server it started and exits 130."""
    with subprocess.Popen(
        [*_COMMAND, "--only", "references"], cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stderr is not None
        for line in bench.stderr:
            if "warming up" in line:
                break
        servers = psutil.Process(bench.pid).children(recursive=True)
        assert len(servers) >= 5
        bench.send_signal(signal.SIGINT)
        began = time.monotonic()
        bench.communicate(timeout=30)
        assert bench.returncode == 130
        assert time.monotonic() - began < 20
    assert not [server for server in servers if server.is_running()]
