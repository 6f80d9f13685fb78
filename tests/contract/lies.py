"""Requests that lie about their tensors, in every form that a request can have."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from graphmesh.oip import open_inference_pb2 as pb

MODEL = "add"
HUGE = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input, with what each form would carry; None where the form has no such lie."""

    name: str = "x"
    datatype: str = "FP32"
    shape: tuple[int, ...] = (2,)
    raw: bytes | None = None
    typed: tuple[str, list[Any]] | None = None
    data: list[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """What a request says, and what the answer must say of it."""

    name: str
    """For people."""
    tensors: list[Tensor]
    """Its inputs."""
    words: str
    """A part of the message, a regular expression."""
    messages: list[Any] = field(default_factory=list)
    """Requests that no tensor alone could write."""

    def protobufs(self) -> list[Any]:
        """Return the request with raw tensors and with typed ones, as far as they exist."""
        found = list(self.messages)
        for form in ("raw", "typed"):
            if self.tensors and all(getattr(tensor, form) is not None for tensor in self.tensors):
                message = pb.ModelInferRequest(model_name=MODEL)
                for tensor in self.tensors:
                    one = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
                    if tensor.typed is not None and form == "typed":
                        getattr(one.contents, tensor.typed[0]).extend(tensor.typed[1])
                    elif tensor.raw is not None:
                        message.raw_input_contents.append(tensor.raw)
                found.append(message)
        return found

    def bodies(self) -> list[tuple[bytes, int | None]]:
        """Return the request as JSON, and as JSON with binary tensors and the length of the JSON."""
        found: list[tuple[bytes, int | None]] = []
        if self.tensors and all(tensor.data is not None for tensor in self.tensors):
            found.append((_json(self.tensors, binary=False), None))
        if self.tensors and all(tensor.raw is not None for tensor in self.tensors):
            head = _json(self.tensors, binary=True)
            found.append((head + b"".join(tensor.raw or b"" for tensor in self.tensors), len(head)))
        return found


def _json(tensors: list[Tensor], *, binary: bool) -> bytes:
    inputs = []
    for tensor in tensors:
        one: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if binary:
            one["parameters"] = {"binary_data_size": len(tensor.raw or b"")}
        else:
            one["data"] = tensor.data
        inputs.append(one)
    return json.dumps({"inputs": inputs}).encode()


def _floats(shape: tuple[int, ...], count: int) -> Tensor:
    """Return a tensor of a shape with elements of another count."""
    ones = [1.0] * count
    return Tensor(shape=shape, raw=bytes(4 * count), typed=("fp32_contents", ones), data=ones)


def _bytes(shape: tuple[int, ...], raw: bytes) -> Tensor:
    return Tensor(datatype="BYTES", shape=shape, raw=raw)


def _mixed() -> Any:  # noqa: ANN401 - generated
    message = pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[bytes(8)])
    message.inputs.add(name="x", datatype="FP32", shape=[2]).contents.fp32_contents.extend([1, 2])
    return message


def _raw_of_nothing() -> Any:  # noqa: ANN401 - generated
    return pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[bytes(8)])


LIES = [
    Lie(name="negative", tensors=[_floats((-2,), 2)], words=r"inputs\[0\].*must not be negative"),
    Lie(name="negative-twice", tensors=[_floats((-1, -2), 2)], words=r"inputs\[0\].*must not be negative"),
    Lie(name="overflow", tensors=[_floats((HUGE, HUGE), 2)], words=r"inputs\[0\].*takes \d{30,}"),
    # Of 2^64 + 8 bytes, which 64-bit arithmetic takes for the 8 that come.
    Lie(name="wrap", tensors=[_floats((2**61 + 1, 2), 2)], words=r"inputs\[0\].*takes \d{10,}"),
    Lie(name="empty-but-huge", tensors=[_floats((0, HUGE), 0)], words=r"inputs\[0\].*too large"),
    Lie(name="too-many-dimensions", tensors=[_floats((1,) * 33, 1)], words=r"inputs\[0\].*at most 32 dimensions"),
    Lie(name="too-short", tensors=[_floats((3,), 2)], words=r"inputs\[0\].*takes (3|12)"),
    Lie(name="too-long", tensors=[_floats((1,), 2)], words=r"inputs\[0\].*takes (1|4)"),
    Lie(name="scalar-of-two", tensors=[_floats((), 2)], words=r"inputs\[0\].*takes (1|4)"),
    Lie(name="half-an-element", tensors=[Tensor(raw=bytes(7))], words=r"inputs\[0\].*takes 8 bytes, got 7"),
    Lie(
        name="unknown-datatype",
        tensors=[Tensor(datatype="FP99", raw=bytes(8), typed=("fp32_contents", [1, 2]), data=[1, 2])],
        words=r"inputs\[0\].*datatype must be one of",
    ),
    *(
        Lie(
            name=f"typed-{datatype}",
            tensors=[Tensor(datatype=datatype, typed=("fp32_contents", [1, 2]), data=[1, 2])],
            words=rf"inputs\[0\].datatype {datatype} has no",
        )
        for datatype in ("FP16", "BF16")
    ),
    Lie(
        name="wrong-field",
        tensors=[Tensor(typed=("fp64_contents", [1, 2]))],
        words=r"inputs\[0\].contents: FP32 elements belong into fp32_contents, got fp64_contents",
    ),
    Lie(
        name="out-of-range",
        tensors=[Tensor(datatype="INT8", typed=("int_contents", [1, 300]), data=[1, 300])],
        words=r"inputs\[0\].*from -128 to 127",
    ),
    Lie(name="another-type", tensors=[Tensor(data=["1", "2"])], words=r"inputs\[0\].*must be numbers"),
    Lie(name="bytes-past-the-end", tensors=[_bytes((1,), b"\xff\xff\xff\x7fabc")], words=r"inputs\[0\].*past the end"),
    Lie(name="bytes-missing", tensors=[_bytes((2,), b"\x04\0\0\0abcd")], words=r"inputs\[0\].*past the end"),
    Lie(name="bytes-left-over", tensors=[_bytes((1,), b"\x01\0\0\0abcd")], words=r"inputs\[0\].*3 bytes left over"),
    Lie(name="bytes-cut-length", tensors=[_bytes((1,), b"\x01\0\0")], words=r"inputs\[0\].*takes? at least 4 bytes"),
    Lie(name="bytes-too-many", tensors=[_bytes((2**40,), b"\0\0\0\0")], words=r"inputs\[0\].*at least 4398046511104"),
    Lie(name="same-name-twice", tensors=[_floats((2,), 2)] * 2, words=r"inputs.*must be unique, got 'x'"),
    Lie(name="mixed", tensors=[], messages=[_mixed()], words=r"inputs\[0\].contents must be empty"),
    Lie(
        name="raw-of-nothing", tensors=[], messages=[_raw_of_nothing()], words="raw_input_contents must have one entry"
    ),
]
"""Every lie a tensor can tell."""
