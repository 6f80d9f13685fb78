"""One call that is recorded."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Self

import orjson

from graphmesh.worker.tracing.context import TRACEPARENT, TRACESTATE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Mapping

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.worker.tracing.tracing import Tracing

__all__ = ["Span", "answered", "streamed"]

_FACTS = ("queue_ms", "batch_ms", "compute_ms", "serialise_ms", "network_ms", "batch_rows", "retries", "worker")
_STEP = ("node", "kind", "outcome", "reason")
_PREFIX = "graphmesh."


class Span:
    """One call that is recorded. A context manager: leaving it ends the span, with the error if there is one."""

    __slots__ = ("_answers", "_asked", "_last", "_span", "_started_ns", "_steps", "_tracing")

    def __init__(self, span: Any, request: InferenceRequest, tracing: Tracing, *, steps: bool) -> None:  # noqa: ANN401
        self._span = span
        self._tracing = tracing
        self._steps = steps
        self._last: tuple[str, object] | None = None
        self._answers = 0
        self._started_ns = time.time_ns()
        context = span.get_span_context()
        request.headers = {
            **request.headers,
            TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-01",
        }
        state = request.metadata.get(TRACESTATE)
        if state:
            request.headers[TRACESTATE] = state
        self._asked = request.parameters.get("explain") is True
        if not self._asked:
            request.parameters = {**request.parameters, "explain": True}
        if request.node:
            self.note("node", request.node)

    def __enter__(self) -> Self:
        """Return the span."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the span."""
        if self._answers:
            self.note("answers", self._answers)
        if self._last is not None:
            self._tell(*self._last)
        if error is not None and not isinstance(error, GeneratorExit):
            self._tracing.fail(self._span, error)
        self._span.end()

    def note(self, name: str, value: str | float | bool) -> None:  # noqa: FBT001 - an attribute's value
        """Set an attribute."""
        self._span.set_attribute(f"{_PREFIX}{name}", value)

    def count(self) -> None:
        """Count an answer of a stream."""
        self._answers += 1
        if self._answers == 1:
            self.note("first_answer_ms", round((time.time_ns() - self._started_ns) / 1e6, 3))

    def answered(self, response: InferenceResponse) -> InferenceResponse:
        """Take what the answer explains, of several answers the last; return it without, if nobody asked for it."""
        self._last = response.version, response.parameters.get("explain")
        if not self._asked:
            response.parameters = {name: value for name, value in response.parameters.items() if name != "explain"}
        return response

    def _tell(self, version: str, explanation: object) -> None:
        """Put into the span what the call's answer explained."""
        facts = _facts(explanation)
        self.note("version", version)
        for name in _FACTS:
            if name in facts:
                self.note(name, facts[name])
        if self._steps:
            self._record(facts.get("nodes", ()))

    def _record(self, nodes: Any) -> None:  # noqa: ANN401 - of a JSON document
        """Record the steps of a graph that called nothing themselves; those that did have spans of their own."""
        for node in nodes:
            if "calls" not in node:
                begin = self._started_ns + round(node["start_ms"] * 1e6)
                facts = {name: node[name] for name in _STEP if name in node} | _plain(node)
                end = begin + round(node["duration_ms"] * 1e6)
                self._tracing.inside(self._span, f"run {node['node']}", start_ns=begin, end_ns=end, facts=facts)
            self._record(node.get("branches", ()))


async def answered(span: Span, answer: Coroutine[Any, Any, InferenceResponse]) -> InferenceResponse:
    """Return an answer, awaited in a span."""
    with span:
        return span.answered(await answer)


async def streamed(
    span: Span, answers: AsyncGenerator[InferenceResponse, None]
) -> AsyncGenerator[InferenceResponse, None]:
    """Yield answers, awaited in a span; closing it closes what they come from."""
    with span:
        async with contextlib.aclosing(answers):
            async for answer in answers:
                span.count()
                yield span.answered(answer)


def _plain(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step noted, as attributes can have it."""
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in node.get("notes", {}).items()
    }


def _facts(explanation: object) -> dict[str, Any]:
    try:
        facts = orjson.loads(str(explanation or "{}"))
    except orjson.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}
