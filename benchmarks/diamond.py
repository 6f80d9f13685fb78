"""A diamond against its critical path: ``python -m benchmarks.diamond [--quick] [-o json]``.

Four nodes that sleep 5 ms on a thread each: one, two side by side that read it, one that joins them. One client calls
the graph and, in turn, one of its models, through the gateway, one call after the other. A call of the model tells what
the way to a worker and back takes on this machine; the critical path is that call and two more nodes of 5 ms. The claim
is on the medians: at most 1.1 times the critical path. The time beyond 15 ms is printed, too, transport and all.

Exit codes: 0 it holds; 1 it does not; 2 nothing could be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc

from benchmarks import machine, mesh
from benchmarks.calls import WrongAnswer, grpc_call, verify
from benchmarks.ideal import percentile
from benchmarks.servers import ServerFailed

_MOST = 1.1
_NODE_S = 0.005
_CALLS = 400
_QUICK = 20
_RESULTS = Path(__file__).with_name("results")


async def _measure(calls: int) -> dict[str, Any]:
    facts, now = machine.describe(), dt.datetime.now(tz=dt.UTC)
    with tempfile.TemporaryDirectory(prefix="graphmesh-bench-") as folder:
        async with mesh.diamond(Path(folder)) as address:
            latencies, alone = await _latencies(address, calls)
    median, one = statistics.median(latencies), statistics.median(alone)
    path = one + 2 * _NODE_S
    return {
        "date": now.isoformat(timespec="seconds"),
        "machine": facts,
        "calls": calls,
        "median_ms": median * 1000,
        "p99_ms": percentile(latencies, 0.99) * 1000,
        "model_alone_ms": one * 1000,
        "critical_path_ms": path * 1000,
        "ratio": median / path,
        "most": _MOST,
        "passed": median / path <= _MOST,
    }


async def _latencies(address: str, calls: int) -> tuple[list[float], list[float]]:
    """Return the seconds that calls of the graph took, and those of one of its models between them."""
    graph, model = grpc_call(address, "diamond", steps=4), grpc_call(address, "first")
    seconds: tuple[list[float], list[float]] = ([], [])
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary(graph.path)
        for call in (graph, model):
            await verify(call)
        for _ in range(calls):
            for call, found in zip((graph, model), seconds, strict=True):
                begun = time.perf_counter()
                await method(call.body[5:], timeout=10)
                found.append(time.perf_counter() - begun)
    return seconds


def _text(result: dict[str, Any]) -> str:
    verdict = "PASS" if result["passed"] else "FAIL"
    return (
        f"{result['date']}  {machine.line(result['machine'])}\n"
        f"diamond of 5 ms nodes: median {result['median_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms; "
        f"one of its models: {result['model_alone_ms']:.2f} ms\n"
        f"{verdict}  {result['ratio']:.2f}, must be at most {_MOST:.2f}: a diamond's median, of its critical path"
    )


def main(arguments: list[str]) -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diamond", description="Measure a diamond's latency.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: too short to judge, keeps no result")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="what to print")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder for results")
    flags = parser.parse_args(arguments)
    try:
        result = asyncio.run(_measure(_QUICK if flags.quick else _CALLS))
    except (WrongAnswer, ServerFailed, OSError, grpc.RpcError) as error:
        print(f"nothing was measured: {error!r}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2) if flags.output == "json" else _text(result))
    if flags.quick:
        return 0
    flags.results.mkdir(parents=True, exist_ok=True)
    (flags.results / f"diamond-{result['date'][:10]}.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
