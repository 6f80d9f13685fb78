"""PyTorch models: exported programs (`.pt2`), or weights for a module class of the user's.

- ``.safetensors``, and ``.pt``/``.pth`` with a state dict: data only. Files of `torch.save` are always read with
  ``weights_only=True``. The module's code comes from the class that the configuration names.
- ``.pt2``: loading one resolves any attribute of torch by name, evaluates expressions and may unpickle, so it can run
  code: like TorchScript, only with the file's digest.

A call runs in inference mode, on one thread of the worker with its share of the cores: OpenMP keeps the number of
threads by calling thread, so each sets its own (measured: two threads of one process use one and two cores as told).
Inputs are lent to torch without a copy, unless the program may write to them and they are read-only.

On a GPU, inputs that another model kept there (`DeviceTensor`) are used where they are, or copied there if the program
may write to them. Outputs that are to be kept stay; the call waits until they are computed.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import InvalidTensor, LoadFailed
from graphmesh.core.tensor import DTYPES, Tensor
from graphmesh.worker.backends import Backend, needs
from graphmesh.worker.backends.files import read_model
from graphmesh.worker.backends.options import Device, check_options, read_device, thread_count
from graphmesh.worker.hosting.device import DeviceTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from graphmesh.core.signature import Signature
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context
    from graphmesh.worker.hosting.device import AnyTensor

__all__ = ["Program", "TorchModel", "load", "to_array"]

_SAFE_SINCE = (2, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Something that torch can run."""

    call: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Takes tensors by name, gives tensors by name."""
    signature: Signature
    """Their names, datatypes and shapes."""
    writes_inputs: bool
    """Whether it may write to its inputs."""
    bounds: Sequence[tuple[str, int, int, int]] = field(default=())
    """Smallest and largest size of an input's axis: ``(name, axis, least, most)``."""


class TorchModel(Backend):
    """A program on a device; it may run on several threads at once."""

    def __init__(self, program: Program, *, platform: str, device: Device, threads: int) -> None:
        self.signature = program.signature
        self.platform = platform
        self._program = program
        self.device = "" if device.kind == "cpu" else str(device)
        self._device = device
        self._threads = threads

    def run(
        self, inputs: Mapping[str, AnyTensor], _contexts: Sequence[Context] = (), keep: Collection[str] = ()
    ) -> Mapping[str, AnyTensor]:
        """Return the outputs by name.

        Raises:
            InvalidTensor: a size is outside what the program was exported for (INVALID_ARGUMENT, retry: no).
        """
        import torch

        for name, axis, least, most in self._program.bounds:
            size = inputs[name].shape[axis]
            if not least <= size <= most:
                raise InvalidTensor(f"input {name!r}: axis {axis} must be {least} to {most}, got {size}")
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        lend: Any = self._take if self.device else self._lend
        with torch.inference_mode():
            results = self._program.call({name: lend(tensor) for name, tensor in inputs.items()})
            if keep:
                return self._keep(results, keep)
            return {name: to_array(result) for name, result in results.items()}

    def _keep(self, results: Mapping[str, Any], keep: Collection[str]) -> Mapping[str, AnyTensor]:
        """Return outputs, those to be kept where they are; all are complete then."""
        import torch

        from graphmesh.worker.backends.torch_types import kept

        outputs: dict[str, AnyTensor] = {}
        for name, result in results.items():
            tensor = kept(result, self.device) if name in keep and isinstance(result, torch.Tensor) else None
            outputs[name] = to_array(result) if tensor is None else tensor
        if self._device.kind == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return outputs

    def _take(self, tensor: AnyTensor) -> Any:
        """Return an input that may be on the device already."""
        from graphmesh.worker.backends.torch_types import lent

        if not isinstance(tensor, DeviceTensor):
            return self._lend(tensor)
        found = lent(tensor)
        if found is None:
            return self._lend(tensor.host())
        return found.clone() if self._program.writes_inputs else found

    def _lend(self, array: Tensor) -> Any:
        import torch

        bits = array.view("<i2") if array.dtype is DTYPES["BF16"] else array
        on_cpu = self._device.kind == "cpu"
        if bits.flags.writeable and bits.flags.aligned:
            tensor = torch.from_numpy(bits)
        elif not bits.flags.aligned or (on_cpu and self._program.writes_inputs):
            tensor = torch.from_numpy(bits.copy())
        else:
            try:
                tensor = torch.from_dlpack(bits)
            except BufferError:  # numpy before 2.1 lends nothing that is read-only
                tensor = torch.from_numpy(bits.copy())
        if bits is not array:
            tensor = tensor.view(torch.bfloat16)
        return tensor if on_cpu else tensor.to(str(self._device))

    def unload(self) -> None:
        """Drop the program, and give memory of a GPU back to it."""
        import torch

        del self._program
        if self._device.kind == "cuda":
            torch.cuda.empty_cache()


def to_array(tensor: Any) -> Tensor:
    """Return a tensor as an array: in the same memory if it is on the CPU, else a copy.

    Raises:
        TypeError: it is no tensor.
    """
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"an output must be a tensor, got {type(tensor).__name__}")
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        bits: Tensor = tensor.contiguous().view(torch.int16).numpy()
        return bits.view(DTYPES["BF16"])
    array: Tensor = tensor.numpy()
    return array


def load(config: ModelConfig) -> TorchModel:
    """Load a program, or weights into the class that `parameters` name.

    Raises:
        LoadFailed: torch is missing, the file is none of its formats or can carry code and no digest is named, the
            device is not there; what torch raises for a damaged file.
    """
    with needs("torch"):
        import torch

        from graphmesh.worker.backends import torch_exported, torch_module
    if torch.__version__ < _SAFE_SINCE:
        raise LoadFailed(f"torch must be 2.10 or later: weights could run code before; got {torch.__version__}")
    device = _choose_device(config)
    kind = Path(config.source).suffix
    parameters = config.parameters
    if kind == ".pt2":
        check_options(parameters, torch_exported.KNOWN)
        program = torch_exported.read_program(read_model(config, code="a .pt2 file"), parameters, str(device))
    elif kind == ".safetensors":
        check_options(parameters, torch_module.KNOWN)
        program = torch_module.from_safetensors(read_model(config), config, str(device))
    else:
        check_options(parameters, torch_module.KNOWN)
        data = read_model(config)
        if _is_script(data):
            data = read_model(config, code="TorchScript")
            program = torch_module.from_script(data, config, str(device))
        else:
            program = torch_module.from_checkpoint(data, config, str(device))
    return TorchModel(program, platform=f"torch {torch.__version__}", device=device, threads=thread_count(config))


def _is_script(data: bytes) -> bool:
    """Return whether a file is TorchScript: an archive with code."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any("/code/" in name or name.startswith("code/") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _choose_device(config: ModelConfig) -> Device:
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = read_device(config) or Device("cuda" if there else "cpu")
    if device.kind == "cuda" and device.index >= there:
        raise LoadFailed(
            f"device {config.device!r} is not there: torch finds {there} GPUs; install a torch with CUDA, or say "
            "device: cpu"
        )
    return device
