"""Inference by JSON over HTTP: natural JSON, the Open Inference Protocol's, and Triton's generate.

Requests are read here for streams, too. Large JSON is read and written by another process (`json_pool`).
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from graphmesh.core.compression import inflate
from graphmesh.worker.forms import oip_json
from graphmesh.worker.forms.generate import one_answer
from graphmesh.worker.forms.headers import apply_headers, read_revision
from graphmesh.worker.forms.json_form import FLAT, NATURAL
from graphmesh.worker.forms.json_pool import tensors_size
from graphmesh.worker.http.body import check_answer, read_body
from graphmesh.worker.http.reply import JSON, Reply

if TYPE_CHECKING:
    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.core.signature import Signature
    from graphmesh.worker.forms.json_form import JsonForm
    from graphmesh.worker.forms.json_pool import JsonPool
    from graphmesh.worker.handler import Handler, Servable
    from graphmesh.worker.http.routes import Route
    from graphmesh.worker.http.watch import Watches

__all__ = ["HttpInference"]

_OCTETS = ("content-type", "application/octet-stream")


class HttpInference:
    """Answers calls of models and graphs, once each."""

    def __init__(self, handler: Handler, *, watches: Watches, json: JsonPool, max_message_bytes: int) -> None:
        self._handler = handler
        self._watches = watches
        self._json = json
        self._limit = max_message_bytes

    async def predict(self, route: Route, scope: Any, protocol: Any) -> Reply:  # noqa: ANN401 - granian's own types
        """Answer natural JSON."""
        servable, request = await self.request(NATURAL, route, scope, protocol)
        with self._watches.watch(protocol, request.deadline):
            response = await self._handler.run(servable, request)
        return self._reply(await self.answer(NATURAL, response, servable.signature), response)

    async def infer(self, route: Route, scope: Any, protocol: Any) -> Reply:  # noqa: ANN401
        """Answer the Open Inference Protocol's JSON."""
        body = await self.body(scope, protocol)
        length = scope.headers.get(oip_json.HEADER_LENGTH)
        size = int(length) if length is not None and length.isdecimal() else len(body)
        request, wanted = await self._json.run(size, oip_json.decode_infer, body, length)
        self._address(request, route, scope)
        with self._watches.watch(protocol, request.deadline):
            response = await self._handler.infer(request)
        started = time.perf_counter()
        written = {name: array for name, array in response.outputs.items() if not wanted.is_binary(name)}
        answer = await self._json.run(tensors_size(written), oip_json.encode_infer, response, wanted)
        self._handler.encoded(response, started)
        if answer.header_length is None:
            return self._reply(answer.body, response)
        return self._reply(answer.body, response, _OCTETS, (oip_json.HEADER_LENGTH, str(answer.header_length)))

    async def generate(self, route: Route, scope: Any, protocol: Any) -> Reply:  # noqa: ANN401
        """Answer Triton's generate: of a model that streams, the only answer."""
        servable, request = await self.request(FLAT, route, scope, protocol)
        answers: list[InferenceResponse] = []
        with self._watches.watch(protocol, request.deadline):
            async with contextlib.aclosing(self._handler.stream(servable, request)) as stream:
                async for response in stream:
                    answers.append(response)
                    if len(answers) > 1:
                        break
        response = one_answer(answers)
        return self._reply(await self.answer(FLAT, response, servable.signature), response)

    async def request(
        self,
        form: JsonForm,
        route: Route,
        scope: Any,  # noqa: ANN401
        protocol: Any,  # noqa: ANN401
    ) -> tuple[Servable, InferenceRequest]:
        """Return what a call goes to, and the request."""
        body = await self.body(scope, protocol)
        servable = await self._handler.find(route.model, route.version, read_revision(scope.headers.get))
        request = await self._json.run(len(body), form.decode, body, servable.signature)
        self._address(request, route, scope)
        if form is NATURAL and _asks_to_explain(scope.query_string):
            request.parameters = {"explain": True}
        return servable, request

    async def answer(self, form: JsonForm, response: InferenceResponse, signature: Signature) -> bytes:
        """Return an answer's body; raises Overloaded if it is too large."""
        started = time.perf_counter()
        answer = await self._json.run(tensors_size(response.outputs), form.encode, response, signature)
        self._handler.encoded(response, started)
        return self._checked(answer)

    async def body(self, scope: Any, protocol: Any) -> bytes:  # noqa: ANN401
        """Return the body of a request, inflated."""
        headers = scope.headers
        body = await read_body(protocol, headers.get("content-length"), self._limit)
        return await inflate(body, headers.get("content-encoding"), self._limit)

    def _address(self, request: InferenceRequest, route: Route, scope: Any) -> None:  # noqa: ANN401
        request.model, request.version = route.model, route.version
        request.metadata = scope.headers
        apply_headers(request, request.metadata.get)

    def _checked(self, body: bytes) -> bytes:
        check_answer(len(body), self._limit)
        return body

    def _reply(
        self,
        body: bytes,
        response: InferenceResponse,
        content_type: tuple[str, str] = JSON,
        *headers: tuple[str, str],
    ) -> Reply:
        return Reply(200, self._checked(body), (content_type, *headers, *response.headers.items()))


def _asks_to_explain(query: str) -> bool:
    return "explain=true" in query and parse_qs(query).get("explain") == ["true"]
