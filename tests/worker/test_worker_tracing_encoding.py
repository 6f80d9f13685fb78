"""Spans as OTLP's JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from graphmesh.worker.tracing.encoding import encode_spans
from tests.worker.otlp import values

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
CONTEXT = SpanContext(
    TRACE, 0x00F067AA0BA902B7, is_remote=False, trace_flags=TraceFlags(1), trace_state=TraceState([("vendor", "1")])
)
CALLER = SpanContext(TRACE, 0xB7, is_remote=True, trace_flags=TraceFlags(1))
EVERY: dict[str, Any] = {
    "text": "grüße",
    "whole": 7,
    "large": (1 << 63) - 1,
    "small": -(1 << 63),
    "larger": 1 << 63,
    "part": 0.5,
    "nan": math.nan,
    "infinite": math.inf,
    "minus": -math.inf,
    "yes": True,
    "no": False,
    "none": None,
    "bytes": b"\x00\xff",
    "empty": "",
    "list": ("a", 1, True),
    "map": {"inner": (1.5,), "b": b""},
    "torn": "\ud800",
}
ENCODED = {
    "text": {"stringValue": "grüße"},
    "whole": {"intValue": "7"},
    "large": {"intValue": "9223372036854775807"},
    "small": {"intValue": "-9223372036854775808"},
    "larger": {"stringValue": "0x8000000000000000"},
    "part": {"doubleValue": 0.5},
    "nan": {"doubleValue": "NaN"},
    "infinite": {"doubleValue": "Infinity"},
    "minus": {"doubleValue": "-Infinity"},
    "yes": {"boolValue": True},
    "no": {"boolValue": False},
    "none": {},
    "bytes": {"bytesValue": "AP8="},
    "empty": {"stringValue": ""},
    "list": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}, {"boolValue": True}]}},
    "map": {
        "kvlistValue": {
            "values": [
                {"key": "inner", "value": {"arrayValue": {"values": [{"doubleValue": 1.5}]}}},
                {"key": "b", "value": {"bytesValue": ""}},
            ]
        }
    },
    "torn": {"stringValue": "?"},
}


def encoded(*spans: ReadableSpan) -> list[dict[str, Any]]:
    """Return the `resourceSpans` of a request."""
    document = json.loads(encode_spans(spans))
    assert list(document) == ["resourceSpans"]
    parts: list[dict[str, Any]] = document["resourceSpans"]
    return parts


def test_a_span_with_everything() -> None:
    """All that a span can hold is where OTLP has it: ids in hexadecimal, 64-bit integers as text, enums as numbers."""
    span = ReadableSpan(
        "infer add",
        context=CONTEXT,
        parent=CALLER,
        resource=Resource({"service.name": "graphmesh"}, "https://opentelemetry.io/schemas/1.30.0"),
        attributes=EVERY,
        events=(Event("began", {"row": 3}, 1_700_000_000_000_000_001),),
        links=(Link(CALLER, {"why": "batch"}),),
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, "no such model"),
        start_time=1_700_000_000_000_000_000,
        end_time=1_700_000_000_000_000_009,
        instrumentation_scope=InstrumentationScope("graphmesh", "0.1.0", "https://example.org/1", {"in": "worker"}),
    )
    link = {"traceId": f"{TRACE:032x}", "spanId": "00000000000000b7", "flags": 0x301}
    assert encoded(span) == [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "graphmesh"}}]},
            "schemaUrl": "https://opentelemetry.io/schemas/1.30.0",
            "scopeSpans": [
                {
                    "scope": {
                        "name": "graphmesh",
                        "version": "0.1.0",
                        "attributes": [{"key": "in", "value": {"stringValue": "worker"}}],
                    },
                    "schemaUrl": "https://example.org/1",
                    "spans": [
                        {
                            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                            "spanId": "00f067aa0ba902b7",
                            "traceState": "vendor=1",
                            "flags": 0x301,
                            "parentSpanId": "00000000000000b7",
                            "name": "infer add",
                            "kind": 3,
                            "startTimeUnixNano": "1700000000000000000",
                            "endTimeUnixNano": "1700000000000000009",
                            "attributes": [{"key": key, "value": value} for key, value in ENCODED.items()],
                            "events": [
                                {
                                    "timeUnixNano": "1700000000000000001",
                                    "name": "began",
                                    "attributes": [{"key": "row", "value": {"intValue": "3"}}],
                                }
                            ],
                            "links": [{**link, "attributes": [{"key": "why", "value": {"stringValue": "batch"}}]}],
                            "status": {"code": 2, "message": "no such model"},
                        }
                    ],
                }
            ],
        }
    ]


def test_what_is_not_there_is_left_out() -> None:
    """A span that begins a trace and holds nothing has its ids, its kind and its times alone."""
    span = ReadableSpan("x", context=CALLER, resource=Resource({"a": "b"}), start_time=1, end_time=2)
    ((part,), (scope,)) = encoded(span), encoded(span)[0]["scopeSpans"]
    assert sorted(part) == ["resource", "scopeSpans"]
    assert scope == {
        "spans": [
            {
                "traceId": f"{TRACE:032x}",
                "spanId": "00000000000000b7",
                "flags": 0x101,
                "name": "x",
                "kind": 1,
                "startTimeUnixNano": "1",
                "endTimeUnixNano": "2",
            }
        ]
    }


def test_spans_are_in_groups() -> None:
    """What spans share, their process and who recorded them, is there once."""
    near, far = Resource({"at": "near"}), Resource({"at": "far"})
    ours, theirs = InstrumentationScope("ours"), InstrumentationScope("theirs")
    spans = [
        ReadableSpan(name, context=CALLER, resource=resource, instrumentation_scope=scope)
        for name, resource, scope in (("a", near, ours), ("b", far, ours), ("c", near, theirs), ("d", near, ours))
    ]
    assert [
        (
            values(part["resource"]["attributes"])["at"],
            group["scope"]["name"],
            [span["name"] for span in group["spans"]],
        )
        for part in encoded(*spans)
        for group in part["scopeSpans"]
    ] == [("near", "ours", ["a", "d"]), ("near", "theirs", ["c"]), ("far", "ours", ["b"])]


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=9)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcdef.", min_size=1), ANY, min_size=1))
def test_any_attributes_come_back(attributes: dict[str, Any]) -> None:
    """What a collector reads is what was noted."""
    span = ReadableSpan("x", context=CALLER, resource=Resource({"a": "b"}), attributes=attributes)
    (part,) = encoded(span)
    assert values(part["scopeSpans"][0]["spans"][0]["attributes"]) == attributes
