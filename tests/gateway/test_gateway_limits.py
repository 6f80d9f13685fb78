"""Limits and balance: Envoy's memory stays bounded, calls go to the least loaded worker."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from graphmesh.oip import open_inference_pb2_grpc as pb_grpc
from tests.gateway.harness import eventually, request_for, worker_of

if TYPE_CHECKING:
    from tests.gateway.harness import GatewayProcess, Mesh

pytestmark = [pytest.mark.etcd, pytest.mark.e2e]

MIB = 1024 * 1024


def test_calls_go_to_the_least_loaded_worker(served: GatewayProcess) -> None:
    """While one worker is busy with one model, calls of another that both serve all go to the idle one."""
    with served.channel() as channel, ThreadPoolExecutor(8) as pool:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        busy = [pool.submit(stub.ModelInfer, request_for("only-one", id="sleep:1500"), timeout=5) for _ in range(4)]
        time.sleep(0.3)
        answers = Counter(worker_of(stub.ModelInfer(request_for(), timeout=5)) for _ in range(30))
        assert {worker_of(call.result()) for call in busy} == {"w1"}
    assert answers == {"w2": 30}


def resident_mib(pid: int) -> float:
    """Return a process's resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.slow
def test_memory_is_bounded(mesh: Mesh) -> None:
    """Large messages far past the heap's bound: Envoy lives, stays near the bound, refuses some, and recovers."""
    mesh.start_worker("w1", "add")
    gateway = mesh.start_gateway(mesh.gateway_config(envoy_heap_bytes=320 * MIB))
    gateway.wait_for_worker("w1")
    pid, peak, done = gateway.envoy_pid, 0.0, threading.Event()

    def call() -> str:
        try:
            return "ok" if gateway.infer(request_for(raw=bytes(40 * MIB)), timeout=30) else ""
        except grpc.RpcError as error:
            return str(error.code().name)

    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(call) for _ in range(10)]
        while not done.wait(0.02):
            peak = max(peak, resident_mib(pid))
            if all(one.done() for one in calls):
                done.set()
    outcomes = Counter(one.result() for one in calls)
    assert gateway.envoy_pid == pid
    assert set(outcomes) <= {"ok", "RESOURCE_EXHAUSTED", "INTERNAL"}
    assert peak < 1.5 * 320
    assert eventually(lambda: gateway.infer(request_for(raw=bytes(40 * MIB)), timeout=30), within_s=10)
