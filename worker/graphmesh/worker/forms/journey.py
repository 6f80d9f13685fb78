"""What a call spent on its way: encoding, decoding and the network, measured at both ends.

A worker that explains an answer says in the header `Server-Timing` (https://www.w3.org/TR/server-timing/) how long it
had the call: `decode;dur=0.1, handle;dur=5.2, encode;dur=0.2`, in milliseconds. Whoever made it knows what it took in
all. The difference is the network, Envoy's share included; no clocks are compared.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from graphmesh.core.inference import InferenceResponse

__all__ = ["ATTEMPTS", "SERVER_TIMING", "Journey", "server_timing"]

SERVER_TIMING = "server-timing"
"""The response header in which a worker says how long it had the call."""

ATTEMPTS = "x-envoy-attempt-count"
"""The response header in which a gateway says how often it sent the call."""

_PART = re.compile(r"(decode|handle|encode);dur=(\d{1,12}(?:\.\d{1,6})?)")


def server_timing(received: float, decoded: float, handled: float, encoded: float) -> tuple[str, str]:
    """Return the header of a call; instants of `time.perf_counter`."""
    parts = (("decode", decoded - received), ("handle", handled - decoded), ("encode", encoded - handled))
    return SERVER_TIMING, ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in parts)


class Journey:
    """One call that is sent on, from its encoding to its decoded answer."""

    __slots__ = ("_begun", "_encoded")

    def __init__(self) -> None:
        self._begun = self._encoded = time.perf_counter()

    def encoded(self) -> None:
        """Say that the request is encoded."""
        self._encoded = time.perf_counter()

    def ended(self, response: InferenceResponse, *, answered: float, server: str, retries: int) -> None:
        """Say that the answer is decoded, and write what the way took into what it explains.

        Args:
            response: The answer; without an explanation nothing is written.
            answered: When it had come, an instant of `time.perf_counter`.
            server: Its `Server-Timing`; without, the network's share is not known.
            retries: How often the call was sent again.
        """
        explain = str(response.parameters.get("explain", ""))
        if not explain.startswith("{"):
            return
        facts = orjson.loads(explain)
        own = self._encoded - self._begun + time.perf_counter() - answered
        parts = {name: float(ms) for name, ms in _PART.findall(server)}
        coded_ms = own * 1000 + parts.get("decode", 0.0) + parts.get("encode", 0.0)
        facts["serialise_ms"] = round(coded_ms, 3)
        if "handle" in parts:
            facts["network_ms"] = round(max(0.0, (answered - self._encoded) * 1000 - sum(parts.values())), 3)
        if retries:
            facts["retries"] = retries
        response.parameters = {**response.parameters, "explain": orjson.dumps(facts).decode()}
