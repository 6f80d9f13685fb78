"""What the calls of a run tell its timeline: nothing unless somebody asked for times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from graphmesh.graph.running.ending import OK, ending_of
from graphmesh.graph.running.timing import timing_of

if TYPE_CHECKING:
    from graphmesh.core.inference import InferenceResponse
    from graphmesh.graph.running.call import Call
    from graphmesh.graph.running.ending import Ending

__all__ = ["CallAccount"]


class CallAccount:
    """The times of one call, which begins now.

    Args:
        call: The call; its run has a timeline.
        fused: It runs in this process.
    """

    __slots__ = ("_answers", "_call", "_first_s", "_fused", "_last", "_start")

    def __init__(self, call: Call, *, fused: bool) -> None:
        self._call = call
        self._fused = fused
        self._start = time.monotonic()
        self._answers = 0
        self._first_s = 0.0
        self._last: InferenceResponse | None = None

    def answered(self, response: InferenceResponse) -> None:
        """Take an answer of a stream, after which it goes on."""
        now = time.monotonic()
        if not self._answers:
            self._first_s = now - self._start
        self._answers += 1
        self._last = response
        self._record(now, None)

    def ended(self, response: InferenceResponse | None = None, error: BaseException | None = None) -> None:
        """Take the end of the call: its only answer, the error or cancellation, or nothing at the end of a stream."""
        if response is not None:
            self._last = response
        self._record(time.monotonic(), OK if error is None else ending_of(error))

    def _record(self, end: float, ending: Ending | None) -> None:
        timeline, last = self._call.run.timeline, self._last
        if timeline is not None:
            timing = timing_of(
                {} if last is None else _explanation(last),
                start=self._start,
                end=end,
                fused=self._fused,
                version="" if last is None else last.version,
                ending=ending,
                answers=self._answers,
                first_answer_s=self._first_s,
            )
            timeline.record(self._call, timing)


def _explanation(response: InferenceResponse) -> dict[str, Any]:
    try:
        facts = orjson.loads(str(response.parameters.get("explain", "{}")))
    except orjson.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}
