"""One run of a model over the calls of a batch: inputs joined, outputs checked and taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import ModelFailed, SignatureMismatch
from graphmesh.worker.batching.assemble import Assembler, check_batchable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends import LoadedModel
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.batching.call import Call

__all__ = ["Compute"]


class Compute:
    """Runs a loaded model; `alone` and `together` on a thread, `direct` and `together_async` on the event loop.

    Raises:
        LoadFailed: the model cannot be batched as it or its operator says (FAILED_PRECONDITION).
    """

    def __init__(self, name: str, loaded: LoadedModel, batching: Batching | None) -> None:
        self._name = name
        self._loaded = loaded
        self._run = loaded.run
        self._wants_context = loaded.wants_context
        if batching is not None:
            check_batchable(loaded.signature, batching)
            self._assembler = Assembler(loaded.signature, batching)

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
        return self._split(self._start(calls, self._assembler.join(inputs)), inputs)

    async def together_async(self, calls: Sequence[Call]) -> Sequence[Mapping[str, Tensor]]:
        """Return the outputs of each call of a batch, views of the batch's; for a model whose `run` is async."""
        inputs = [call.inputs for call in calls]
        return self._split(await self._start(calls, self._assembler.join(inputs)), inputs)

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
