"""The worker's HTTP paths, parsed. Paths arrive percent-decoded; names in them are checked where they are looked up."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

__all__ = ["FAST_PATH", "STREAM_INFER", "Action", "Route", "match"]

FAST_PATH = "/inference.GRPCInferenceService/ModelInfer"
"""Unary gRPC inference without gRPC's frame: a protobuf body there, a protobuf body back."""

STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
"""gRPC inference with any number of requests and answers."""


class Action(enum.Enum):
    """What a path asks for."""

    PREDICT = enum.auto()
    """Natural JSON inference."""
    INFER = enum.auto()
    """Inference by the Open Inference Protocol's JSON."""
    PREDICT_STREAM = enum.auto()
    """Natural JSON inference, each answer as it comes."""
    GENERATE = enum.auto()
    """Inference by Triton's flat JSON."""
    GENERATE_STREAM = enum.auto()
    """Inference by Triton's flat JSON, each answer as it comes."""
    MODEL_READY = enum.auto()
    """Whether a model can answer."""
    MODEL_METADATA = enum.auto()
    """A model's versions, inputs and outputs."""
    SERVER_METADATA = enum.auto()
    """The server's name, version and extensions."""
    LIVE = enum.auto()
    """Whether the process runs."""
    READY = enum.auto()
    """Whether calls should be sent here."""
    METRICS = enum.auto()
    """Counts in Prometheus' text form."""

    @property
    def method(self) -> str:
        """The HTTP method that it takes."""
        return "POST" if self in _INFERENCE else "GET"

    @property
    def streams(self) -> bool:
        """Whether it is answered by a stream."""
        return self in _STREAMS


_STREAMS = frozenset({Action.PREDICT_STREAM, Action.GENERATE_STREAM})
_INFERENCE = frozenset({Action.PREDICT, Action.INFER, Action.GENERATE, *_STREAMS})


@dataclass(frozen=True, slots=True)
class Route:
    """A path that means something."""

    action: Action
    """What it asks for."""
    model: str = ""
    """The model or graph in the path."""
    version: str = ""
    """The version in the path; empty if it has none."""


_FIXED = {
    "/v2": Action.SERVER_METADATA,
    "/v2/": Action.SERVER_METADATA,
    "/v2/health/live": Action.LIVE,
    "/v2/health/ready": Action.READY,
    "/healthz/live": Action.LIVE,
    "/healthz/ready": Action.READY,
    "/metrics": Action.METRICS,
}
_NATURAL = re.compile(r"/v1/models/([^/:]+)(?:/versions/([^/:]+))?:(predict|predictStream)")
_NATURAL_ACTIONS = {"predict": Action.PREDICT, "predictStream": Action.PREDICT_STREAM}
_OIP = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(infer|generate|generate_stream|ready))?")
_OIP_ACTIONS = {
    "infer": Action.INFER,
    "generate": Action.GENERATE,
    "generate_stream": Action.GENERATE_STREAM,
    "ready": Action.MODEL_READY,
    None: Action.MODEL_METADATA,
}


def match(path: str) -> Route | None:
    """Return what a path asks for, or None."""
    if fixed := _FIXED.get(path):
        return Route(fixed)
    if found := _NATURAL.fullmatch(path):
        return Route(_NATURAL_ACTIONS[found[3]], found[1], found[2] or "")
    if found := _OIP.fullmatch(path):
        return Route(_OIP_ACTIONS[found[3]], found[1], found[2] or "")
    return None
