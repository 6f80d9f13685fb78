"""Traces in OpenTelemetry's form: one span for each call in this worker, and for each call that it sends on.

Spans form the tree that the calls do. A call that came over the network is a *server* span below whatever `traceparent`
it brought; the calls of a graph are below the graph's span: *internal* for those in this process, *client* for those
through the mesh, which are the parents of the server spans elsewhere. Steps of a graph that call nothing themselves are
spans, too. Times that an answer's explanation has (`docs/explain.md`) are attributes: a call that is recorded is
explained, to its span if not to its caller.

What is recorded is decided where a trace begins, and for its whole way. Calls that are not recorded cost well below a
microsecond; without the extra `tracing`, or without an exporter in the environment, nothing is even asked. The
environment is OpenTelemetry's own, see `docs/tracing.md`.
"""

from graphmesh.worker.tracing.start import start_tracing
from graphmesh.worker.tracing.tracing import Tracing

__all__ = ["Tracing", "start_tracing"]
