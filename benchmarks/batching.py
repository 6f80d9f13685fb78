"""Batching against its goals: ``python -m benchmarks.batching [--quick] [-o json]``.

Two claims, for a CPU model of about 5 ms a row at its best batch (`batching_model.py`), behind the real worker:

- throughput at saturation is at least 0.90 of the model's best offline throughput;
- p99 at half of saturated throughput, Poisson arrivals, is at most 1.3 times that of an ideal batcher (`ideal.py`) with
  the cost curve that was measured offline and the very same arrivals.

Offline and served runs alternate, a machine whose speed drifts slows both; a round's ratio is formed within it. Both
use one thread of linear algebra, so that the client has a core to itself.

Exit codes: 0 both hold; 1 one does not; 2 nothing could be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import random
import statistics
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import machine
from benchmarks.batching_model import MAX_ROWS
from benchmarks.calls import Call, WrongAnswer, verify
from benchmarks.ideal import Curve, percentile, simulate
from benchmarks.open_loop import closed_loop, open_loop
from benchmarks.servers import ServerFailed, start
from graphmesh.cli.ports import free_port
from graphmesh.core.inference import InferenceRequest
from graphmesh.registry import LocalEtcd
from graphmesh.worker.forms.wire import encode_request, response_from_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ONE_THREAD = ("env", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1")
_CALLERS = 4 * MAX_ROWS
_LEAST_THROUGHPUT = 0.90
_MOST_LATENCY = 1.3
_RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How long and how often."""

    rounds: int
    """Offline and served runs each."""
    saturated_s: float
    """Of a served run at saturation."""
    half_s: float
    """Of a served run at half of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One offline run, one at saturation, one at half of it."""

    offline_rps: float
    """Rows a second of the bare model at its best batch."""
    served_rps: float
    """Rows a second of the worker at saturation."""
    p99_ms: float
    """Of the worker at half of that."""
    ideal_p99_ms: float
    """Of the ideal batcher with the same arrivals."""

    @property
    def throughput(self) -> float:
        """Served as a part of offline."""
        return self.served_rps / self.offline_rps

    @property
    def latency(self) -> float:
        """The worker's p99 as a multiple of the ideal one."""
        return self.p99_ms / self.ideal_p99_ms


async def _offline() -> dict[int, float]:
    process = await asyncio.create_subprocess_exec(
        *_ONE_THREAD, sys.executable, "-m", "benchmarks.batching_model", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise ServerFailed(f"the offline run ended with exit code {process.returncode}")
    return {int(rows): seconds for rows, seconds in json.loads(output).items()}


@asynccontextmanager
async def _worker(folder: Path) -> AsyncIterator[Call]:
    """Run a worker with the model and yield the call of one row."""
    http, grpc = free_port(), free_port()
    ports = ("--http-port", str(http), "--grpc-port", str(grpc))
    async with LocalEtcd(folder / "etcd") as etcd:
        model = "dense=benchmarks.batching_model:Dense"
        worker = (sys.executable, "-m", "graphmesh.cli", "worker", "--worker-id", "bench", "--model", model)
        command = (*_ONE_THREAD, *worker, *ports, "--etcd", etcd.endpoint)
        async with start("worker", command, folder=folder) as server:
            call = _call(f"127.0.0.1:{http}")
            await server.wait(lambda: _right(call))
            yield call


def _call(address: str) -> Call:
    x = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)
    return Call(
        address=address,
        path="/inference.GRPCInferenceService/ModelInfer",
        body=encode_request(InferenceRequest(model="dense", inputs={"x": x})),
        headers={"content-type": "application/x-protobuf"},
        outputs=lambda body: response_from_wire(body).outputs["y"].reshape(-1).tolist(),
        expected=[1.0, 2.0, 3.0, 4.0],
    )


async def _right(call: Call) -> bool:
    try:
        await verify(call)
    except WrongAnswer:
        return False
    return True


def _poisson(rate: float, seconds: float, seed: int) -> list[float]:
    random_ = random.Random(seed)  # noqa: S311 - arrivals, not secrets
    instants, now = [], 0.0
    while (now := now + random_.expovariate(rate)) < seconds:
        instants.append(now)
    return instants


async def _round(call: Call, method: Method, seed: int) -> Round:
    length = await verify(call)
    before = await _offline()
    served = await closed_loop(call, length, callers=_CALLERS, seconds=method.saturated_s)
    between = await _offline()
    arrivals = _poisson(served / 2, method.half_s, seed)
    latencies = await open_loop(call, length, arrivals)
    after = await _offline()
    curve = Curve({rows: (between[rows] + after[rows]) / 2 for rows in between})
    return Round(
        offline_rps=(Curve(before).best_rate + Curve(between).best_rate) / 2,
        served_rps=served,
        p99_ms=percentile(latencies, 0.99) * 1000,
        ideal_p99_ms=percentile(simulate(arrivals, curve, MAX_ROWS), 0.99) * 1000,
    )


async def _measure(method: Method) -> dict[str, Any]:
    facts, now = machine.describe(), dt.datetime.now(tz=dt.UTC)
    with tempfile.TemporaryDirectory(prefix="graphmesh-bench-") as folder:
        async with _worker(Path(folder)) as call:
            rounds = []
            for seed in range(method.rounds):
                rounds.append(await _round(call, method, seed))
                print(_line(rounds[-1]), file=sys.stderr, flush=True)
    throughput = statistics.median(one.throughput for one in rounds)
    latency = statistics.median(one.latency for one in rounds)
    return {
        "date": now.isoformat(timespec="seconds"),
        "machine": facts,
        "method": asdict(method),
        "rounds": [asdict(one) for one in rounds],
        "throughput": {"median": throughput, "least": _LEAST_THROUGHPUT, "passed": throughput >= _LEAST_THROUGHPUT},
        "latency": {"median": latency, "most": _MOST_LATENCY, "passed": latency <= _MOST_LATENCY},
    }


def _line(one: Round) -> str:
    return (
        f"offline {one.offline_rps:.0f}/s, served {one.served_rps:.0f}/s ({one.throughput:.2f}); "
        f"at half: p99 {one.p99_ms:.0f} ms, ideal {one.ideal_p99_ms:.0f} ms ({one.latency:.2f})"
    )


def _text(result: dict[str, Any]) -> str:
    lines = [f"{result['date']}  {machine.line(result['machine'])}"]
    for name, bound, word, title in (
        ("throughput", _LEAST_THROUGHPUT, "least", "throughput at saturation, of the best offline throughput"),
        ("latency", _MOST_LATENCY, "most", "p99 at half of saturated throughput, of an ideal batcher's"),
    ):
        claim = result[name]
        verdict = "PASS" if claim["passed"] else "FAIL"
        lines.append(f"{verdict}  {claim['median']:.2f}, must be at {word} {bound:.2f}: {title}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description="Measure batching.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: too short to judge, keeps no result")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="what to print")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder for results")
    flags = parser.parse_args(arguments)
    method = Method(rounds=1, saturated_s=1, half_s=1) if flags.quick else Method(rounds=5, saturated_s=6, half_s=12)
    try:
        result = asyncio.run(_measure(method))
    except (WrongAnswer, ServerFailed, OSError, ExceptionGroup) as error:
        reason = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        print(f"nothing was measured: {reason!r}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2) if flags.output == "json" else _text(result))
    if flags.quick:
        return 0
    flags.results.mkdir(parents=True, exist_ok=True)
    (flags.results / f"batching-{result['date'][:10]}.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["throughput"]["passed"] and result["latency"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
