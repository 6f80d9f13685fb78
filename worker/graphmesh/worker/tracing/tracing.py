"""Begins spans of calls; the only place that uses OpenTelemetry, which is an extra."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, TypeAlias

from graphmesh.core.version import software_version
from graphmesh.graph.running.ending import ending_of
from graphmesh.graph.running.timeline import RUNNING
from graphmesh.worker.drive import told
from graphmesh.worker.tracing.context import TRACEPARENT, TRACESTATE, not_sampled, read_parent
from graphmesh.worker.tracing.span import Span, answered, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.worker.handler import Servable
    from graphmesh.worker.tracing.context import Parent
    from graphmesh.worker.tracing.sampling import Sampling

    Run: TypeAlias = Callable[[Servable, InferenceRequest], Coroutine[Any, Any, InferenceResponse]]
    Stream: TypeAlias = Callable[[Servable, InferenceRequest], AsyncGenerator[InferenceResponse, None]]
    Send: TypeAlias = Callable[[InferenceRequest], Coroutine[Any, Any, InferenceResponse]]
    SendStream: TypeAlias = Callable[[InferenceRequest], AsyncGenerator[InferenceResponse, None]]

__all__ = ["Tracing"]

_PREFIX = "graphmesh."
_NOBODY = "0000000000000001"
"""The span that a trace which nobody records begins with; nobody will look for it."""
_GRAPH = "graphmesh_graph"
"""The platform of graphs."""


class Tracing:
    """Begins spans; needs the extra `tracing`.

    Args:
        sampling: Which calls are recorded.
        instance: This process among others of the service.
    """

    def __init__(self, sampling: Sampling, *, instance: str) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

        own = {SERVICE_NAME: "graphmesh", "service.instance.id": instance, "service.version": software_version()}
        resource = Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
        self._api = trace
        self._context = Context
        self._sampling = sampling
        self._ids = _ids()
        self.provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        """What spans go to; more processors can be added to it."""
        self._tracer = self.provider.get_tracer("graphmesh", software_version())

    def close(self) -> None:
        """Send what is still to be sent, for a few seconds at most."""
        self.provider.shutdown()

    def run(self, run: Run, servable: Servable, request: InferenceRequest) -> Coroutine[Any, Any, InferenceResponse]:
        """Return ``run`` of a call that is answered here, in a span if it is recorded.

        What the call leads to is put below the span: its headers go on with the request.
        """
        span = self._serve(servable, request)
        return run(servable, request) if span is None else answered(span, run(servable, request))

    def stream(
        self, stream: Stream, servable: Servable, request: InferenceRequest
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Return ``stream`` of a call that is answered here, in a span if it is recorded."""
        span = self._serve(servable, request)
        return stream(servable, request) if span is None else streamed(span, stream(servable, request))

    def send(self, send: Send, request: InferenceRequest) -> Coroutine[Any, Any, InferenceResponse]:
        """Return ``send`` of a call that goes on through the mesh, in a span if it is recorded."""
        span = self._send(request)
        return send(request) if span is None else answered(span, send(request))

    def send_stream(self, send: SendStream, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Return ``send`` of a call that goes on through the mesh and streams, in a span if it is recorded."""
        span = self._send(request)
        return send(request) if span is None else streamed(span, send(request))

    def _serve(self, servable: Servable, request: InferenceRequest) -> Span | None:
        came, headers = request.metadata, request.headers
        graph = servable.platform == _GRAPH
        written = headers.get(TRACEPARENT) or came.get(TRACEPARENT)
        if written and self._sampling.follows and not_sampled(written):
            return None
        parent = read_parent(written)
        trace_id = parent.trace_id if parent else random.getrandbits(128) or 1
        if not self._sampling.takes(parent, trace_id):
            if parent is None and graph:  # nobody further on shall begin a trace of a part
                request.headers = {**headers, TRACEPARENT: f"00-{trace_id:032x}-{_NOBODY}-00"}
            return None
        kind = self._api.SpanKind.SERVER if came else self._api.SpanKind.INTERNAL
        started = self._started(f"infer {request.model}", kind, request, parent, trace_id=trace_id)
        span = Span(started, request, self, steps=True)
        span.note("graph" if graph else "model", request.model)
        return span

    def _send(self, request: InferenceRequest) -> Span | None:
        parent = read_parent(request.headers.get(TRACEPARENT) or request.metadata.get(TRACEPARENT))
        if parent is None or not parent.sampled:
            return None
        kind, name = self._api.SpanKind.CLIENT, f"call {request.model}"
        span = Span(self._started(name, kind, request, parent), request, self, steps=False)
        span.note("target", request.model)
        return span

    def _started(
        self,
        name: str,
        kind: Any,  # noqa: ANN401 - OpenTelemetry's, as what is returned
        request: InferenceRequest,
        parent: Parent | None,
        *,
        trace_id: int = 0,
    ) -> Any:  # noqa: ANN401
        """Return a span of OpenTelemetry's that has begun, below ``parent``, or in a new trace of ``trace_id``."""
        if parent is None:
            self._ids.trace_id = trace_id
            return self._tracer.start_span(name, self._context(), kind)
        state = request.headers.get(TRACESTATE) or request.metadata.get(TRACESTATE)
        caller = self._api.SpanContext(
            parent.trace_id,
            parent.span_id,
            is_remote=True,
            trace_flags=self._api.TraceFlags(self._api.TraceFlags.SAMPLED),
            trace_state=self._api.TraceState.from_header([state]) if state else None,
        )
        context = self._api.set_span_in_context(self._api.NonRecordingSpan(caller), self._context())
        return self._tracer.start_span(name, context, kind)

    def inside(self, span: Any, name: str, *, start_ns: int, end_ns: int, facts: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Record a span below another that has been, and is over."""
        context = self._api.set_span_in_context(span, self._context())
        attributes = {f"{_PREFIX}{key}": value for key, value in facts.items()}
        inner = self._tracer.start_span(name, context, start_time=start_ns, attributes=attributes)
        if facts.get("outcome", "ok") not in {"ok", RUNNING}:
            inner.set_status(self._api.StatusCode.ERROR, str(facts.get("reason", facts["outcome"])))
        inner.end(end_ns)

    def fail(self, span: Any, error: BaseException) -> None:  # noqa: ANN401 - OpenTelemetry's span
        """Mark a span as failed, or as cut off or cancelled and why."""
        ending = ending_of(told(error))
        span.set_attribute("rpc.response.status_code", ending.outcome)
        span.set_status(self._api.StatusCode.ERROR, ending.reason or ending.outcome)


def _ids() -> Any:  # noqa: ANN401 - a class of the extra
    """Return what gives spans their ids: a new trace has the id by which it was decided to record it."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415 - an extra

    class Ids(RandomIdGenerator):
        trace_id = 0

        def generate_trace_id(self) -> int:
            return self.trace_id

    return Ids()
