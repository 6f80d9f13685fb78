"""What is posted, and that wrong answers stop a benchmark before it measures them."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from benchmarks.calls import WrongAnswer, grpc_call, natural_call, verify
from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator


def _serve(answer: bytes) -> http.server.HTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
            """Stay silent."""

    return http.server.HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Answer every POST with the parameter; the value is its address."""
    with _serve(request.param) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_grpc_frame_is_what_grpc_sends() -> None:
    """One byte for no compression, the length, then the message."""
    call = grpc_call("127.0.0.1:1", "add")
    assert call.body[0] == 0
    assert int.from_bytes(call.body[1:5], "big") == len(call.body) - 5
    assert pb.ModelInferRequest.FromString(call.body[5:]).model_name == "add"


@pytest.mark.parametrize("server", [b'{"outputs": {"y": [2.5, -1.0, 1.25, 1025.0]}}'], indirect=True)
async def test_a_right_answer_gives_its_length(server: str) -> None:
    """The length of the verified answer is what every measured answer must have."""
    assert await verify(natural_call(server, "add")) == 45


@pytest.mark.parametrize(
    "server", [b'{"outputs": {"y": [2.5, -1.0, 1.25, 0.0]}}', b'{"outputs": {}}', b"oops"], indirect=True
)
async def test_a_wrong_answer_is_refused(server: str) -> None:
    """Other numbers, other names or no JSON at all raise WrongAnswer."""
    with pytest.raises(WrongAnswer, match="add:predict"):
        await verify(natural_call(server, "add"))


async def test_a_dead_server_is_a_wrong_answer() -> None:
    """A call that nobody answers raises WrongAnswer."""
    with pytest.raises(WrongAnswer, match="before anything was measured"):
        await verify(grpc_call("127.0.0.1:9", "add"))
