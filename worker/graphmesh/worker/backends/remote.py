"""External models: at another server of the Open Inference Protocol, whose address is the source.

Graphs, batches, metrics and tests see a model like any other; its signature comes from the server's own metadata, and
what the server answers is held against it. The deadline, the request id, the trace and the parameters of a call travel
on; the caller's other headers end here. A call is not repeated: that is for whoever called.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.clock import Deadline
from graphmesh.core.errors import FailedPrecondition, GraphmeshError, LoadFailed
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.tensor import BYTES
from graphmesh.graph.limits import MAX_DEPTH
from graphmesh.worker.backends import Backend, Run
from graphmesh.worker.backends.options import check_options, option, text_list
from graphmesh.worker.backends.remote_address import parse_address
from graphmesh.worker.backends.remote_grpc import GrpcFar
from graphmesh.worker.backends.remote_http import HttpFar
from graphmesh.worker.forms.headers import DEPTH, REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from graphmesh.core.inference import InferenceResponse, Parameter
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends.remote_address import Address
    from graphmesh.worker.backends.remote_far import Description, Far
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context

__all__ = ["RemoteModel", "load"]

_OPTIONS = ("ca", "binary", "text")
_VALUE = re.compile(r"[\x20-\x7e]{1,4096}")
_TRACE = ("traceparent", "tracestate")
_OURS = frozenset({"explain", "triton_enable_empty_final_response"})
"""Parameters that are about our own answer."""


class RemoteModel(Backend):
    """A model at another server."""

    is_async = True
    wants_context = True

    def __init__(self, far: Far, address: Address, description: Description) -> None:
        self._far = far
        self._address = address
        self.signature = description.signature
        self.platform = f"open_inference_protocol {description.platform}".rstrip()
        self.run: Run = self._stream if self.signature.streaming else self._run

    async def _run(self, inputs: Mapping[str, Tensor], contexts: Sequence[Context]) -> Mapping[str, Tensor]:
        """Return the outputs. Calls of a batch go together as far as neighbours have equal parameters."""
        groups = [list(group) for _, group in itertools.groupby(contexts, key=_parameters)]
        if len(groups) == 1:
            return self._outputs(await self._far.infer(self._request(inputs, contexts)))
        answers, begin = [], 0
        for group in groups:
            rows = slice(begin, begin + sum(context.rows for context in group))
            own = {name: array[rows] for name, array in inputs.items()}
            answers.append(self._outputs(await self._far.infer(self._request(own, group))))
            begin = rows.stop
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    async def _stream(
        self, inputs: Mapping[str, Tensor], contexts: Sequence[Context]
    ) -> AsyncGenerator[Mapping[str, Tensor], None]:
        answers = self._far.stream(self._request(inputs, contexts))
        try:
            async for answer in answers:
                yield self._outputs(answer)
        finally:
            await answers.aclose()

    def _request(self, inputs: Mapping[str, Tensor], contexts: Sequence[Context]) -> InferenceRequest:
        return InferenceRequest(
            model=self._address.model,
            version=self._address.version,
            inputs=inputs,
            parameters=_parameters(contexts[0]),
            deadline=Deadline(max(context.deadline.at for context in contexts)),
            headers={**_headers(contexts), DEPTH: str(self._depth(contexts))},
        )

    def _depth(self, contexts: Sequence[Context]) -> int:
        """Return how many servers called one another to get there; raises FailedPrecondition if that has no end.

        Two servers can name each other as the place of a model, or a mesh itself.
        """
        depth = 1 + max(int(context.headers.get(DEPTH, "0")) for context in contexts)
        if depth > MAX_DEPTH:
            raise FailedPrecondition(
                f"{self._address.authority} would be {depth} calls away from the caller, at most {MAX_DEPTH} are "
                f"allowed; does its model {self._address.what} lead back to this one?"
            )
        return depth

    def _outputs(self, response: InferenceResponse) -> Mapping[str, Tensor]:
        """Return the outputs in the signature's order; whether they are the right ones is checked later."""
        names = [spec.name for spec in self.signature.outputs]
        found = response.outputs
        return {name: found[name] for name in names} if set(names) == found.keys() else found

    def unload(self) -> None:
        """Close the connections."""
        self._far.close()


def _parameters(context: Context) -> Mapping[str, Parameter]:
    return {name: value for name, value in context.parameters.items() if name not in _OURS}


def _headers(contexts: Sequence[Context]) -> dict[str, str]:
    """Return the headers that travel on: of a batch, those that all of its calls have alike."""
    found = [{REQUEST_ID: one.request_id, **{name: one.headers.get(name, "") for name in _TRACE}} for one in contexts]
    return {
        name: value
        for name, value in found[0].items()
        if _VALUE.fullmatch(value) and all(one[name] == value for one in found)
    }


def load(config: ModelConfig) -> RemoteModel:
    """Ask the server for its model.

    Raises:
        LoadFailed: the source is no address, an option is not known, no server answers, it has no such model, its
            metadata cannot be used, or batches are to be larger than it takes; says what to do.
    """
    check_options(config.parameters, _OPTIONS)
    address = parse_address(config.source)
    far = _far(address, config)
    try:
        description = far.describe()
    except GraphmeshError as error:
        raise LoadFailed(f"{error.message}; then run: graphmesh model load {config.name}") from error
    if "text" in config.parameters:
        description = _with_text(description, text_list(config.parameters, "text"))
    most = description.max_batch_size
    if config.batching is not None and most and config.batching.max_batch_size > most:
        raise LoadFailed(
            f"batching: max_batch_size must be at most {most}, which is what {address.authority} takes, got "
            f"{config.batching.max_batch_size}"
        )
    return RemoteModel(far, address, description)


def _with_text(description: Description, names: Sequence[str]) -> Description:
    """Return a description in which these BYTES tensors are text and no others, whatever the server says."""
    signature = description.signature
    known = {spec.name for spec in (*signature.inputs, *signature.outputs) if spec.datatype == BYTES}
    if wrong := [name for name in names if name not in known]:
        raise LoadFailed(f"parameter 'text' must list BYTES tensors, which are {sorted(known)}, got {wrong[0]!r}")
    inputs, outputs = (
        tuple(dataclasses.replace(spec, text=spec.name in names) for spec in specs)
        for specs in (signature.inputs, signature.outputs)
    )
    return dataclasses.replace(description, signature=dataclasses.replace(signature, inputs=inputs, outputs=outputs))


def _far(address: Address, config: ModelConfig) -> Far:
    ca = option(config.parameters, "ca", str, "the path of a file of certificates (PEM)")
    binary = option(config.parameters, "binary", bool, "true or false")
    if ca is not None and not address.secure:
        raise LoadFailed("parameter 'ca' is for grpcs:// and https:// only")
    if binary is not None and not address.rest:
        raise LoadFailed("parameter 'binary' is for http:// and https:// only: gRPC is binary anyway")
    certificates = None if ca is None else Path(str(ca))
    if certificates is not None and not certificates.is_file():
        raise LoadFailed(f"parameter 'ca' must name a file of certificates (PEM), there is no {certificates.name}")
    if address.rest:
        return HttpFar(
            address,
            ca=certificates,
            binary=None if binary is None else bool(binary),
            max_message_bytes=config.max_message_bytes,
        )
    return GrpcFar(address, ca=certificates, max_message_bytes=config.max_message_bytes)
