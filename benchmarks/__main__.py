"""The command: ``python -m benchmarks [--quick] [-o json] [--only GROUP]``.

Exit codes: 0 done and every claim held (or was not judged); 1 a claim failed; 2 nothing could be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, mesh, references, report, triton
from benchmarks.calls import WrongAnswer
from benchmarks.h2load import LoadFailed
from benchmarks.measure import Method, measure
from benchmarks.servers import ServerFailed

_GROUPS = {
    "references": references.references,
    "worker": mesh.workers,
    "gateway": mesh.gateways,
    "chain": mesh.chains,
    "triton": triton.peers,
}
_FULL = Method(rounds=4, judged_rounds=12, block_s=1.0)
_QUICK = Method(rounds=1, judged_rounds=1, block_s=0.1)
_RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    method: Method
    """How long to measure."""
    groups: tuple[str, ...]
    """Which systems."""
    output: str
    """`text` or `json`."""
    results: Path | None
    """Folder that keeps the result; None keeps none."""


def _options(arguments: list[str]) -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure CPU time per request.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: too short to judge, keeps no result")
    parser.add_argument("--only", action="append", choices=_GROUPS, help="a group of systems; repeat for several")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="what to print")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder for results")
    flags = parser.parse_args(arguments)
    return _Options(
        method=_QUICK if flags.quick else _FULL,
        groups=tuple(flags.only or _GROUPS),
        output=flags.output,
        results=None if flags.quick else flags.results,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _run(options: _Options) -> dict[str, Any]:
    """Start the systems, measure, stop them, and return the document."""
    facts, now = machine.describe(), dt.datetime.now(tz=dt.UTC)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graphmesh-bench-")))
        scenarios = []
        for group in options.groups:
            _say(f"starting: {group}")
            inside = folder / group
            inside.mkdir()
            scenarios += await stack.enter_async_context(_GROUPS[group](inside))
        blocks = await measure(scenarios, options.method, judged=report.judged(), say=_say)
        _say("stopping")
    date = now.isoformat(timespec="seconds")
    return report.document(scenarios, blocks, method=options.method, machine=facts, date=date)


async def _until_signalled(options: _Options) -> dict[str, Any]:
    """Run; SIGTERM and Ctrl-C end it by cancelling, so that every server is stopped."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await _run(options)


def main(arguments: list[str]) -> int:
    """Run the benchmarks and return the exit code."""
    options = _options(arguments)
    if shutil.which("h2load") is None:
        _say("h2load is missing; install Debian's nghttp2-client: apt-get install nghttp2-client")
        return 2
    try:
        result = asyncio.run(_until_signalled(options))
    except (WrongAnswer, LoadFailed, ServerFailed) as error:
        _say(f"nothing was measured: {error}")
        return 2
    except asyncio.CancelledError:
        return 130
    print(json.dumps(result, indent=2) if options.output == "json" else report.text(result))
    if options.results is None:
        return 0
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{result['date'][:10]}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    _say(f"kept in {path}")
    return 0 if all(claim["passed"] for claim in result["claims"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
