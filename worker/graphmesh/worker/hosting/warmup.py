"""Runs a model's declared samples before it is announced, so that the first callers do not wait for what is lazy.

A sample is run alone, then as many times at once as there are instances. Where calls are batched, its rows are then
repeated to fill a batch, so that what small and large batches cost is known before the first call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import orjson

from graphmesh.core.errors import GraphmeshError, LoadFailed
from graphmesh.core.inference import InferenceRequest
from graphmesh.worker.forms.natural import decode_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.execution import Execution

__all__ = ["warm_up"]


async def warm_up(execution: Execution, signature: Signature, config: ModelConfig) -> None:
    """Run every sample of a configuration.

    Raises:
        LoadFailed: a sample does not fit the signature, or the model failed on it; names the sample
            (FAILED_PRECONDITION, retry: no).
    """
    batching = execution.batching
    for index, sample in enumerate(config.warmup):
        try:
            request = _request(config.name, sample, signature)
            await _run(execution, request)
            if config.instances > 1:
                await _together(execution, request, config.instances)
            if batching is not None:
                await _run(execution, _filled(request, batching.max_batch_size))
        except GraphmeshError as error:
            raise LoadFailed(f"warmup[{index}]: {error.message}") from error


def _request(name: str, sample: Mapping[str, object], signature: Signature) -> InferenceRequest:
    try:
        body = orjson.dumps(dict(sample))
    except TypeError as error:
        raise LoadFailed(f"a sample must be JSON: {error}") from error
    inputs = decode_inputs(body, signature)
    signature.check_inputs(inputs)
    return InferenceRequest(model=name, inputs=inputs)


def _filled(request: InferenceRequest, rows: int) -> InferenceRequest:
    """Return a request with the same rows again and again, as many as a batch may have."""
    times = max(1, rows // max(1, min(len(array) for array in request.inputs.values())))
    inputs = {name: np.concatenate([array] * times) for name, array in request.inputs.items()}
    return InferenceRequest(model=request.model, inputs=inputs)


async def _together(execution: Execution, request: InferenceRequest, count: int) -> None:
    runs = (_run(execution, request) for _ in range(count))
    for failure in await asyncio.gather(*runs, return_exceptions=True):
        if failure is not None:
            raise failure


async def _run(execution: Execution, request: InferenceRequest) -> None:
    async for _ in execution.stream(request):
        pass
