"""A model at another server, called by the Open Inference Protocol's REST form: binary where the server offers it.

Whether it does is among the extensions that it names, or told by the option `binary`. Redirects are not followed: what
is called is the address that was written down. REST has no streams.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from graphmesh.core.errors import (
    Code,
    DeadlinePassed,
    FailedPrecondition,
    GraphmeshError,
    InvalidRequest,
    LoadFailed,
    MessageTooLarge,
    Overloaded,
    from_code,
)
from graphmesh.core.tensor import RAW_ONLY
from graphmesh.worker.backends.remote_connection import HttpConnections, HttpReply
from graphmesh.worker.backends.remote_far import (
    ASK_S,
    beside_if_large,
    cannot_be_read,
    close_on,
    describe,
    led,
    no_model,
    nobody,
    size_of,
)
from graphmesh.worker.forms.headers import TIMEOUT_MS
from graphmesh.worker.forms.natural import load_object
from graphmesh.worker.forms.oip_call import decode_answer, encode_call
from graphmesh.worker.forms.oip_tensors import HEADER_LENGTH, objects, string_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.worker.backends.remote_address import Address
    from graphmesh.worker.backends.remote_far import Description

__all__ = ["HttpFar"]

_BINARY = "binary_tensor_data"
_OK = 200
_MAX_TEXT = 2048
_REDIRECTS = range(300, 400)
_TOO_LARGE = 413
_CLIENT_ERRORS = range(400, 500)
_CODES = {code.http_status: code for code in reversed(Code)} | {
    500: Code.INTERNAL,  # not UNKNOWN, which is the same in HTTP
    502: Code.UNAVAILABLE,  # of a proxy
}
"""The code that stands for a status: the first that has it."""


class HttpFar:
    """A `Far` over HTTP.

    Args:
        address: Where the model is.
        ca: A file of certificates (PEM) that vouch for the server; None takes the system's.
        binary: Whether tensors go as raw bytes; None asks the server.
        max_message_bytes: Of a request or an answer.
    """

    def __init__(self, address: Address, *, ca: Path | None, binary: bool | None, max_message_bytes: int) -> None:
        self._address = address
        self._tls = ssl.create_default_context(cafile=ca) if address.secure else None
        self._binary = binary
        self._limit = max_message_bytes
        self._path = f"/v2/models/{quote(address.model, safe='')}"
        if address.version:
            self._path += f"/versions/{quote(address.version, safe='')}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections = self._connected()

    def _connected(self) -> HttpConnections:
        address = self._address
        return HttpConnections(address.host, address.port, tls=self._tls, max_message_bytes=self._limit)

    def describe(self) -> Description:
        """Ask for readiness, metadata, the server's extensions and, if it has it, the configuration."""
        return asyncio.run(self._described())

    async def _described(self) -> Description:
        address, connections = self._address, self._connected()
        try:
            async with asyncio.timeout(ASK_S):
                ready = await self._get(connections, f"{self._path}/ready")
                if ready.status != _OK or (ready.body and _json(ready).get("ready") is False):
                    raise LoadFailed(no_model(address, _text(ready) if ready.status != _OK else ""))
                metadata = await self._get(connections, self._path)
                if metadata.status != _OK:
                    raise LoadFailed(no_model(address, _text(metadata)))
                config = await self._get(connections, f"{self._path}/config")
                server = await self._get(connections, "/v2")
        except TimeoutError as error:
            raise LoadFailed(nobody(address, f"within {ASK_S:g} s")) from error
        finally:
            await connections.close()
        if self._binary is None:
            self._binary = server.status == _OK and _BINARY in (_json(server).get("extensions") or ())
        return self._checked(_json(metadata), _json(config) if config.status == _OK else {})

    def _checked(self, metadata: Mapping[str, Any], config: Mapping[str, Any]) -> Description:
        authority, largest = self._address.authority, config.get("max_batch_size")
        policy = config.get("model_transaction_policy")
        if isinstance(policy, dict) and policy.get("decoupled") is True:
            raise LoadFailed(
                f"{authority}: {self._address.what} streams, and REST has no streams; use its grpc:// address"
            )
        try:
            found = describe(
                self._address,
                _tensors(metadata, "inputs"),
                _tensors(metadata, "outputs"),
                properties=_object(metadata.get("properties")),
                platform=str(metadata.get("platform") or "")[:140],
                max_batch_size=largest if isinstance(largest, int) else 0,
            )
        except InvalidRequest as error:
            raise LoadFailed(f"the metadata of {authority} cannot be read: {error.message}") from error
        for spec in (*found.signature.inputs, *found.signature.outputs):
            if spec.datatype in RAW_ONLY and not self._binary:
                raise LoadFailed(
                    f"{authority}: {spec.name!r} is {spec.datatype}, which JSON cannot hold, and it does not name the "
                    f"extension {_BINARY}; use its grpc:// address, or set the parameter binary: true if it has it"
                )
        return found

    async def _get(self, connections: HttpConnections, path: str) -> HttpReply:
        try:
            return await connections.call(self._head("GET", path, {}), b"")
        except GraphmeshError as error:
            raise LoadFailed(nobody(self._address, error.message)) from error

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._address.authority}", "accept-encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request there."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(request.deadline.timeout()) as timeout:
                return await self._infer(request)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            authority = self._address.authority
            raise DeadlinePassed(f"{authority}: the deadline passed before the answer was there") from error

    async def _infer(self, request: InferenceRequest) -> InferenceResponse:
        call = await beside_if_large(size_of(request), encode_call, request, bool(self._binary))
        if len(call.body) > self._limit:
            raise MessageTooLarge(f"{self._address.authority}: a request must be at most {self._limit} bytes")
        headers = {"content-type": "application/json", "content-length": str(len(call.body)), **request.headers}
        if call.header_length is not None:
            headers |= {"content-type": "application/octet-stream", HEADER_LENGTH: str(call.header_length)}
        if (left := request.deadline.timeout()) is not None:
            headers[TIMEOUT_MS] = str(max(1, round(left * 1000)))
        try:
            reply = await self._connections.call(self._head("POST", f"{self._path}/infer", headers), call.body)
            if reply.status != _OK:
                raise _error(reply)
        except GraphmeshError as error:
            raise led(self._address, error) from error.__cause__
        try:
            return await beside_if_large(len(reply.body), decode_answer, reply.body, reply.headers.get(HEADER_LENGTH))
        except InvalidRequest as error:
            raise cannot_be_read(self._address, error) from error

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Never called: a model that streams is not loaded."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections, on their own loop."""
        close_on(self._loop, self._connections.close)


def _json(reply: HttpReply) -> dict[str, Any]:
    try:
        return load_object(reply.body)
    except InvalidRequest:
        return {}


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _tensors(metadata: Mapping[str, Any], key: str) -> list[tuple[str, str, Sequence[int]]]:
    """Return names, datatypes and shapes; raises InvalidRequest."""
    found: list[tuple[str, str, Sequence[int]]] = []
    for index, tensor in enumerate(objects(dict(metadata), key)):
        path, shape = f"{key}[{index}]", tensor.get("shape")
        if not isinstance(shape, list) or any(type(size) is not int for size in shape):
            raise InvalidRequest(f"{path}.shape must be a list of whole numbers")
        found.append((string_of(tensor, "name", path), string_of(tensor, "datatype", path), shape))
    return found


def _text(reply: HttpReply) -> str:
    """Return what an answer says is wrong."""
    if reply.status in _REDIRECTS:
        return "redirects are not followed; write down the address that it leads to"
    body = _json(reply)
    said = next((str(body[key]) for key in ("error", "detail", "message") if body.get(key)), "")
    return said[:_MAX_TEXT] or f"HTTP {reply.status} without a reason"


def _error(reply: HttpReply) -> GraphmeshError:
    """Return the error that an answer stands for: of the code that it names, else of the code of its status."""
    status, body = reply.status, _json(reply)
    text = _text(reply)
    if status in _REDIRECTS:
        return FailedPrecondition(text)
    if status == _TOO_LARGE:
        return MessageTooLarge(text)
    code = _CODES.get(status, Code.INVALID_ARGUMENT if status in _CLIENT_ERRORS else Code.UNKNOWN)
    named = body.get("code")
    if named in list(Code) and Code(named).http_status == status:
        code = Code(named)
    error = from_code(code, text)
    if isinstance(error, Overloaded):
        error.retry_after_s = _pause_s(reply.headers.get("retry-after", ""))
    return error


def _pause_s(text: str) -> float:
    """Return seconds; 0 for a date, which needs a clock that goes like the server's."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < len("1000000") else 0.0
