"""One run of a model over the calls of a batch: inputs joined, outputs checked and taken apart.

A model on a device has a `DeviceCompute`: calls may bring tensors that are there already and take outputs where they
are. Calls of one batch are joined there and taken apart there, if all of them bring and take it so and the framework
can; else that tensor goes through the host. So does everything of a model whose calls are padded, or whose cost is
found by a function: it is a model on the host to everybody else.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.errors import ModelFailed, SignatureMismatch
from graphmesh.worker.batching.assemble import Assembler, check_batchable
from graphmesh.worker.hosting.device import DeviceTensor, concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends import LoadedModel
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.batching.call import Call
    from graphmesh.worker.hosting.device import AnyTensor

__all__ = ["Compute", "DeviceCompute", "device_of"]


class Compute:
    """Runs a loaded model; `alone` and `together` on a thread, `direct` and `together_async` on the event loop.

    Raises:
        LoadFailed: the model cannot be batched as it or its operator says (FAILED_PRECONDITION).
    """

    _concatenate: Callable[[Sequence[Any]], Any] = staticmethod(np.concatenate)

    def __init__(self, name: str, loaded: LoadedModel, batching: Batching | None) -> None:
        self._name = name
        self._loaded = loaded
        self._run = loaded.run
        self._wants_context = loaded.wants_context
        if batching is not None:
            check_batchable(loaded.signature, batching)
            self._assembler = Assembler(loaded.signature, batching, self._concatenate)

    def measure(self, call: Call) -> None:
        """Fill in a call's rows, cost and key; raises as `Assembler.measure`."""
        call.rows, call.cost, call.key = self._assembler.measure(call.inputs)
        if call.context is not None:
            call.context.rows = call.rows

    def alone(self, calls: Sequence[Call]) -> Sequence[Mapping[str, Tensor]]:
        """Return the outputs of the only call of a batch."""
        outputs = self._start(calls, calls[0].inputs)
        self.check(outputs)
        return (outputs,)

    async def direct(self, call: Call) -> Mapping[str, Tensor]:
        """Return the outputs of a call of a model whose `run` is async."""
        outputs: Mapping[str, Tensor] = await self._start((call,), call.inputs)
        self.check(outputs)
        return outputs

    def together(self, calls: Sequence[Call]) -> Sequence[Mapping[str, Tensor]]:
        """Return the outputs of each call of a batch, views of the batch's."""
        inputs = [call.inputs for call in calls]
        joined = self._assembler.join(inputs)
        begun = time.monotonic()
        outputs = self._start(calls, joined)
        _computed(calls, time.monotonic() - begun)
        return self._split(outputs, inputs)

    async def together_async(self, calls: Sequence[Call]) -> Sequence[Mapping[str, Tensor]]:
        """Return the outputs of each call of a batch, views of the batch's; for a model whose `run` is async."""
        inputs = [call.inputs for call in calls]
        joined = self._assembler.join(inputs)
        begun = time.monotonic()
        outputs = await self._start(calls, joined)
        _computed(calls, time.monotonic() - begun)
        return self._split(outputs, inputs)

    def check(self, outputs: Mapping[str, Tensor]) -> None:
        """Raise ModelFailed if what the model gave is not what it declared."""
        try:
            self._loaded.signature.check_outputs(outputs)
        except SignatureMismatch as error:
            raise ModelFailed(f"model {self._name!r} does not keep to its signature: {error.message}") from error

    def _start(self, calls: Sequence[Call], inputs: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - see `Run`
        if self._wants_context:
            return self._run(inputs, [call.context for call in calls])
        return self._run(inputs)

    def _split(
        self, outputs: Mapping[str, Tensor], inputs: Sequence[Mapping[str, Tensor]]
    ) -> Sequence[Mapping[str, Tensor]]:
        self.check(outputs)
        return self._assembler.split(outputs, inputs)


def _computed(calls: Sequence[Call], seconds: float) -> None:
    """Tell the calls of a batch what the model took; the rest of its time went into joining and taking apart."""
    for call in calls:
        call.computed_s = seconds


class DeviceCompute(Compute):
    """Runs a loaded model on a device; calls may bring and take tensors there."""

    _concatenate = staticmethod(concatenate)

    def __init__(self, name: str, loaded: LoadedModel, batching: Batching | None) -> None:
        super().__init__(name, loaded, batching)
        self._device = device_of(loaded, batching)

    def _start(self, calls: Sequence[Call], inputs: Mapping[str, AnyTensor]) -> Any:  # noqa: ANN401 - see `Run`
        contexts = [call.context for call in calls] if self._wants_context else ()
        keep = set(calls[0].keep).intersection(*[call.keep for call in calls[1:]])
        return self._run({name: self._near(tensor) for name, tensor in inputs.items()}, contexts, keep)

    def _near(self, tensor: AnyTensor) -> AnyTensor:
        """Return a tensor that the model can take: one of another device on the host."""
        if isinstance(tensor, DeviceTensor) and tensor.device != self._device:
            return tensor.host()
        return tensor


def device_of(loaded: LoadedModel, batching: Batching | None) -> str:
    """Return the device on which a model's calls may bring and take tensors; empty: on the host alone."""
    through_host = batching is not None and (batching.pad or callable(batching.cost))
    return "" if through_host or loaded.signature.streaming else str(getattr(loaded, "device", ""))
