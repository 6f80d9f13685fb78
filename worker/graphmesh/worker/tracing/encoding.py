"""Spans as OTLP's JSON: an `ExportTraceServiceRequest` in the JSON encoding that OTLP/HTTP defines.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: protobuf's own JSON mapping, but ids are hexadecimal
and enums are numbers. So 64-bit integers are decimal strings, bytes are base64, and what has its default value is left
out. The fields are those of `opentelemetry/proto/trace/v1/trace.proto`. The messages of `opentelemetry-proto` are not
used: `xds-protos`, which graphmesh needs, installs other versions of the same Python modules.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Link, SpanContext

__all__ = ["encode_spans"]

_INT64 = range(-(1 << 63), 1 << 63)
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
"""Bits of a span's or link's flags: whether its parent is known to be, and is, of another process."""


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Return the body of a request that exports spans, which have ended.

    What OTLP has no place for becomes text: an integer of more than 64 bits in hexadecimal, a lone surrogate as `?`.
    """
    groups = _alike(spans, lambda span: span.resource)
    return orjson.dumps({"resourceSpans": [_resource_spans(group) for group in groups]})


def _alike(spans: Sequence[ReadableSpan], part: Callable[[ReadableSpan], object]) -> Iterable[list[ReadableSpan]]:
    """Return spans in groups of those that share the very same part; comparing what parts hold would cost more."""
    groups: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        groups.setdefault(id(part(span)), []).append(span)
    return groups.values()


def _resource_spans(spans: list[ReadableSpan]) -> dict[str, Any]:
    resource = spans[0].resource
    groups = _alike(spans, lambda span: span.instrumentation_scope)
    return _given(
        resource=_given(attributes=_key_values(resource.attributes)),
        scopeSpans=[_scope_spans(group) for group in groups],
        schemaUrl=resource.schema_url,
    )


def _scope_spans(spans: list[ReadableSpan]) -> dict[str, Any]:
    scope = spans[0].instrumentation_scope
    encoded = [_span(span) for span in spans]
    if scope is None:
        return _given(spans=encoded)
    named = _given(name=_text(scope.name), version=scope.version, attributes=_key_values(scope.attributes))
    return _given(scope=named, spans=encoded, schemaUrl=scope.schema_url)


def _span(span: ReadableSpan) -> dict[str, Any]:
    parent = span.parent
    return _given(
        **_context(span.get_span_context(), is_remote=parent is not None and parent.is_remote),
        parentSpanId=f"{parent.span_id:016x}" if parent else "",
        name=_text(span.name),
        kind=span.kind.value + 1,  # OTLP's 0 is "unspecified"
        startTimeUnixNano=_time(span.start_time),
        endTimeUnixNano=_time(span.end_time),
        attributes=_key_values(span.attributes),
        droppedAttributesCount=span.dropped_attributes,
        events=[_event(event) for event in span.events],
        droppedEventsCount=span.dropped_events,
        links=[_link(link) for link in span.links],
        droppedLinksCount=span.dropped_links,
        status=_given(code=span.status.status_code.value, message=_text(span.status.description or "")),
    )


def _event(event: Event) -> dict[str, Any]:
    return _given(
        timeUnixNano=_time(event.timestamp),
        name=_text(event.name),
        attributes=_key_values(event.attributes),
        droppedAttributesCount=event.dropped_attributes,
    )


def _link(link: Link) -> dict[str, Any]:
    return _given(
        **_context(link.context, is_remote=link.context.is_remote),
        attributes=_key_values(link.attributes),
        droppedAttributesCount=link.dropped_attributes,
    )


def _context(context: SpanContext | None, *, is_remote: bool) -> dict[str, Any]:
    if context is None:
        return {}
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "traceState": context.trace_state.to_header(),
        "flags": context.trace_flags | _HAS_IS_REMOTE | (_IS_REMOTE if is_remote else 0),
    }


def _key_values(attributes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [{"key": _text(key), "value": _any_value(value)} for key, value in (attributes or {}).items()]


def _any_value(value: object) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind of value
    match value:
        case None:
            return {}
        case bool():  # before int, which it is, too
            return {"boolValue": value}
        case str():
            return {"stringValue": _text(value)}
        case int():
            return {"intValue": str(value)} if value in _INT64 else {"stringValue": hex(value)}
        case float():
            return {"doubleValue": float(value) if math.isfinite(value) else _not_finite(value)}
        case bytes():
            return {"bytesValue": base64.b64encode(value).decode()}
        case Mapping():
            return {"kvlistValue": {"values": _key_values(value)}}
        case Sequence():
            return {"arrayValue": {"values": [_any_value(one) for one in value]}}
        case _:
            return {"stringValue": _text(str(value))}


def _not_finite(value: float) -> str:
    """Return the name that protobuf's JSON mapping has for a number that JSON has not."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _text(text: str) -> str:
    """Return text that UTF-8 can hold."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _time(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else str(nanoseconds)


def _given(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - of JSON
    """Return a message without the fields that have their default values."""
    return {name: value for name, value in fields.items() if value}
