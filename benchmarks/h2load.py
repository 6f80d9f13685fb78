"""The load generator: Debian's `h2load`, native code that posts ready-made bytes over HTTP/2.

A generator in Python would cost several times what is measured. Closed loop: a fixed number of requests is always in
flight, so servers are busy throughout and a request's CPU is comparable between systems; the rate is not the point.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.calls import Call

__all__ = ["CONNECTIONS", "STREAMS", "LoadFailed", "LoadResult", "parse", "run_load"]

CONNECTIONS = 4
"""Connections of a run."""
STREAMS = 8
"""Requests in flight on each."""

_SECONDS = re.compile(r"finished in ([\d.]+)(us|ms|s)\b")
_REQUESTS = re.compile(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded")
_OK = re.compile(r"status codes: (\d+) 2xx")
_DATA = re.compile(r"\((\d+)\) data")
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LoadFailed(Exception):
    """A run of h2load had errors, or answers without a full result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What h2load reports of one run."""

    requests: int
    """Requests made."""
    ok: int
    """Answers with HTTP 2xx."""
    data_bytes: int
    """Bytes of all answers' bodies."""
    seconds: float
    """Wall time."""


def parse(output: str) -> LoadResult:
    """Read h2load's report.

    Raises:
        LoadFailed: it is not one.
    """
    found = [pattern.search(output) for pattern in (_SECONDS, _REQUESTS, _OK, _DATA)]
    seconds, requests, ok, data = found
    if seconds is None or requests is None or ok is None or data is None:
        raise LoadFailed(f"h2load's report must have times, requests, status codes and data, got: {output[-500:]!r}")
    return LoadResult(
        requests=int(requests[1]),
        ok=min(int(requests[2]), int(ok[1])),
        data_bytes=int(data[1]),
        seconds=float(seconds[1]) * _UNIT_S[seconds[2]],
    )


async def run_load(call: Call, *, requests: int, answer_bytes: int) -> LoadResult:
    """Post a call ``requests`` times and check that every answer was a full one.

    Args:
        call: What to post.
        requests: How often.
        answer_bytes: Length of the right answer's body.

    Raises:
        LoadFailed: an answer was missing, not 2xx, or of another length.
    """
    with tempfile.NamedTemporaryFile(prefix="graphmesh-bench-") as file:
        file.write(call.body)
        file.flush()
        result = parse(await _run(call, file.name, requests))
    if result.ok != requests or result.data_bytes != requests * answer_bytes:
        raise LoadFailed(
            f"{call.address}{call.path}: {requests} answers of {answer_bytes} bytes were expected, "
            f"got {result.ok} with HTTP 2xx and {result.data_bytes} bytes in all"
        )
    return result


async def _run(call: Call, body_file: str, requests: int) -> str:
    connections = min(CONNECTIONS, requests)
    headers = [part for name, value in call.headers.items() for part in ("-H", f"{name}: {value}")]
    arguments = ["-n", str(requests), "-c", str(connections), "-m", str(STREAMS), "-d", body_file, *headers]
    process = await asyncio.create_subprocess_exec(
        "h2load",
        *arguments,
        f"http://{call.address}{call.path}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace")
