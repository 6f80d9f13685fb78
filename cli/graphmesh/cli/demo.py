"""`graphmesh demo`: a real picture through a real graph, over gRPC and over REST.

Starts a mesh of two workers (text detection on one, recognition on the other), calls the `ocr` graph with a generated
stub and with plain JSON, shows what came back and where the time went, and stops the mesh again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc
import numpy as np

from graphmesh.cli import local
from graphmesh.cli.http import post
from graphmesh.cli.infer import checked
from graphmesh.cli.ocr import MESH, PICTURE
from graphmesh.cli.output import emit
from graphmesh.cli.ports import free_port, is_free
from graphmesh.cli.waterfall import draw_waterfall
from graphmesh.core.errors import InvalidRequest, StartFailed, from_code
from graphmesh.core.tensor import Tensor, decode_raw, encode_raw
from graphmesh.oip import open_inference_pb2 as oip
from graphmesh.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["demo"]

_CALL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Read:
    """What the graph read in a picture."""

    outputs: dict[str, Tensor]
    """`text`, `confidence` and `boxes`, a row a line."""
    explanation: dict[str, Any]
    """What each step took, from the answer itself."""


@click.command()
@click.option(
    "--image", type=click.Path(path_type=Path, dir_okay=False), help="A PNG or JPEG of yours; default: a scanned page."
)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("ocr-boxes.png"),
    show_default=True,
    help="Where to write the picture with the lines marked.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The gateway's port; a free one if it is taken.",
)
@click.option("--keep", is_flag=True, help="Leave the mesh running; `graphmesh down` stops it.")
def demo(image: Path | None, boxes: Path, port: int, *, keep: bool) -> None:
    """Read the text in a picture with a graph of three real models, over gRPC and over REST."""
    try:
        from graphmesh.cli.ocr.draw import draw_lines  # noqa: PLC0415 - needs the demo's own extra
    except ImportError as error:
        raise StartFailed(f"{error.name} is not installed; run: pip install 'graphmesh[demo]'") from error
    picture = _picture(image)
    with _mesh(port, keep=keep) as address:
        by_grpc, grpc_ms = _timed(_read_by_grpc, address, picture)
        by_rest, rest_ms = _timed(_read_by_rest, address, picture)
        lines = [str(text) for text in by_grpc.outputs["text"]]
        confidences = [float(c) for c in by_grpc.outputs["confidence"]]
        click.echo(f"\n{len(lines)} lines read, over gRPC in {grpc_ms:.0f} ms and over REST in {rest_ms:.0f} ms:\n")
        emit(
            "table",
            None,
            columns=("Confidence", "Line"),
            rows=[(f"{c:.3f}", t) for t, c in zip(lines, confidences, strict=True)],
        )
        if list(by_rest["outputs"]["text"]) != lines:
            raise from_code(13, "gRPC and REST gave different lines; please report this")
        click.echo("\nWhat each step took (from the answer itself):\n")
        draw_waterfall(by_grpc.explanation)
        boxes.write_bytes(draw_lines(picture, lines, by_grpc.outputs["confidence"], by_grpc.outputs["boxes"]))
        click.echo(f"\nThe picture with its lines marked: {boxes}")
        _say_next(address, image, keep=keep)


def _picture(image: Path | None) -> bytes:
    if image is None:
        return PICTURE.read_bytes()
    try:
        return image.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"--image {image}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def _mesh(port: int, *, keep: bool) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        folder = Path.cwd() if keep else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graphmesh-")))
        run_dir = folder / ".graphmesh"
        free = [is_free("127.0.0.1", wanted) for wanted in (port, 8001, 8002)]
        ports = ["--port", str(port if free[0] else free_port())]
        ports += ["--grpc-port", "8001" if free[1] else "0", "--metrics-port", "8002" if free[2] else "0"]
        click.echo("starting a mesh: etcd, a gateway, a worker for detection and one for recognition")
        if not keep:
            stack.callback(local.stop, run_dir, say=lambda _: None)
        state = local.start_detached([str(MESH), "--run-dir", str(run_dir), *ports], run_dir, say=click.echo)
        yield state.gateway
        if not keep:
            click.echo("\nstopping the mesh")


def _timed(read: Any, address: str, picture: bytes) -> tuple[Any, float]:
    began = time.perf_counter()
    answer = read(address, picture)
    return answer, 1000 * (time.perf_counter() - began)


def _read_by_grpc(address: str, picture: bytes) -> _Read:
    """Call the graph as a user's program would: with a generated stub of the Open Inference Protocol."""
    request = oip.ModelInferRequest(model_name="ocr", parameters={"explain": oip.InferParameter(bool_param=True)})
    request.inputs.add(name="image", datatype="BYTES", shape=[])
    request.raw_input_contents.append(encode_raw(_scalar(picture)))
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=_CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise from_code(error.code().value[0], error.details()) from None
    outputs = {
        spec.name: decode_raw(spec.name, spec.datatype, spec.shape, raw)
        for spec, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
    outputs["text"] = np.array([text.decode() for text in outputs["text"]], object)
    return _Read(outputs, json.loads(answer.parameters["explain"].string_param))


def _scalar(data: bytes) -> Tensor:
    array = np.empty((), dtype=object)
    array[()] = data
    return array


def _read_by_rest(address: str, picture: bytes) -> dict[str, Any]:
    body = json.dumps({"image": {"b64": base64.b64encode(picture).decode()}}).encode()
    return checked(post(f"http://{address}/v1/models/ocr:predict", body, timeout_s=_CALL_TIMEOUT_S), address)


def _say_next(address: str, image: Path | None, *, keep: bool) -> None:
    click.echo(f"\nThe mesh {'listens' if keep else 'listened'} on {address} (gRPC and REST). Try next:")
    command = "graphmesh" if shutil.which("graphmesh") else os.path.relpath(Path(sys.executable).with_name("graphmesh"))
    if not keep:
        click.echo(f"  {command} demo --keep    leaves it running, for the next two")
    click.echo(f"  {command} infer ocr image=@{image or 'YOUR.png'} --explain --gateway {address}")
    click.echo(f"  {command} graph show ocr --gateway {address}")
    if keep:
        click.echo(f"  {command} down    stops it")
