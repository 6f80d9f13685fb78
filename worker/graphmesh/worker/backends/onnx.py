"""ONNX files as models, by ONNX Runtime; names, datatypes and shapes come from the file.

The runtime's threads do not spin between calls, since other models share the cores. All instances of a model share one
session: its weights are in memory once, and the threads of its pool help whichever call has work (`pool_size`).

Files with external data are contained (`onnx_external`) and optimised graphs are kept (`onnx_cache`).

On a GPU outputs are bound to the device, so that the runtime allocates them there and copies them once, or not at all
if they are to be kept; inputs that another model kept there are bound where they are. On the CPU binding costs more
than it saves (measured: 6.7 instead of 4.2 us for a trivial model, no difference for networks). Models with text or
BF16, for which numpy and the runtime have no common form, take and give all on the host.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.signature import Signature
from graphmesh.core.tensor import DTYPES, Tensor
from graphmesh.worker.backends import Backend, needs
from graphmesh.worker.backends.files import read_model
from graphmesh.worker.backends.onnx_cache import beside, cache_folder, entry_path, keep, kept
from graphmesh.worker.backends.onnx_external import check_external
from graphmesh.worker.backends.onnx_options import KEEP_GRAPH, apply_options, choose_providers, used_device
from graphmesh.worker.backends.onnx_types import OrtTensor, dtype_of, on_device, read_spec
from graphmesh.worker.backends.options import option
from graphmesh.worker.hosting.contract import decode_text, encode_text
from graphmesh.worker.hosting.device import DeviceTensor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from graphmesh.worker.backends.onnx_options import Providers
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context
    from graphmesh.worker.hosting.device import AnyTensor

__all__ = ["OnnxModel", "load"]

_KEPT_BYTES = 32 << 20
"""Up to this size optimised graphs are kept unless that is forbidden. Larger files are mostly weights; hashing them
takes longer than optimising (measured: 17 instead of 27 ms for 5 MB in 800 nodes, 716 instead of 439 for 96 MB)."""
_BFLOAT16 = 16
"""In `TensorProto.DataType`."""
_FOLDER = "session.model_external_initializers_file_folder_path"


class OnnxModel(Backend):
    """A session of ONNX Runtime; it may run on several threads at once."""

    def __init__(self, session: Any, platform: str, *, device: str = "cpu") -> None:
        self._session = session
        self.platform = platform
        self.signature = Signature(
            tuple(read_spec(node) for node in session.get_inputs()),
            tuple(read_spec(node) for node in session.get_outputs()),
        )
        self._text_inputs = frozenset(spec.name for spec in self.signature.inputs if spec.text)
        self._outputs = [spec.name for spec in self.signature.outputs]
        specs = (*self.signature.inputs, *self.signature.outputs)
        bf16 = any(spec.datatype == "BF16" for spec in specs)
        self._call = self._run_values if bf16 else self._run_plain
        self.device = "" if device == "cpu" or bf16 or any(spec.text for spec in specs) else device

    def run(
        self, inputs: Mapping[str, Any], _contexts: Sequence[Context] = (), keep: Collection[str] = ()
    ) -> Mapping[str, AnyTensor]:
        """Return the outputs by name; strings are `bytes` on this side, `str` on the runtime's."""
        if self.device:
            return self._run_bound(inputs, keep)
        feed = inputs
        if self._text_inputs:
            feed = {name: decode_text(name, a) if name in self._text_inputs else a for name, a in inputs.items()}
        return {
            name: encode_text(array) if array.dtype.kind in "OSU" else array
            for name, array in zip(self._outputs, self._call(feed), strict=True)
        }

    def _run_plain(self, feed: Mapping[str, Tensor]) -> list[Tensor]:
        arrays: list[Tensor] = self._session.run(self._outputs, feed)
        return arrays

    def _run_values(self, feed: Mapping[str, Tensor]) -> list[Tensor]:
        """Run with the runtime's own values: it knows no numpy dtype for BF16."""
        from onnxruntime import OrtValue

        values = {
            name: OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
            if array.dtype is DTYPES["BF16"]
            else OrtValue.ortvalue_from_numpy(array)
            for name, array in feed.items()
        }
        return [_value_array(value) for value in self._session.run_with_ort_values(self._outputs, values)]

    def _run_bound(self, feed: Mapping[str, AnyTensor], keep: Collection[str]) -> Mapping[str, AnyTensor]:
        kind, _, index = self.device.partition(":")
        binding = self._session.io_binding()
        for name, tensor in feed.items():
            if (value := _lent(tensor)) is not None:
                binding.bind_ortvalue_input(name, value)
            else:
                binding.bind_cpu_input(name, tensor.host() if isinstance(tensor, DeviceTensor) else tensor)
        for name in self._outputs:
            binding.bind_output(name, kind, int(index or 0))
        self._session.run_with_iobinding(binding)  # returns when its stream is done
        if not keep:
            return dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))
        values = zip(self._outputs, binding.get_outputs(), strict=True)
        return {
            name: on_device(value, self._session, self.device) if name in keep else value.numpy()
            for name, value in values
        }

    def unload(self) -> None:
        """Drop the session."""
        self._session = None


def _lent(tensor: AnyTensor) -> Any | None:
    """Return what another model kept as a value in the same memory; None if its framework cannot lend it."""
    if not isinstance(tensor, DeviceTensor):
        return None
    if isinstance(tensor, OrtTensor):
        return tensor.array
    from onnxruntime import OrtValue

    try:
        value = OrtValue.from_dlpack(tensor.array)
    except Exception:  # noqa: BLE001 - frameworks and their versions say no in many ways; the host always works
        return None
    return value if dtype_of(value) is tensor.dtype else None


def _value_array(value: Any) -> Tensor:
    if value.data_type() != "tensor(bfloat16)":
        array: Tensor = value.numpy()
        return array
    raw = ctypes.string_at(value.data_ptr(), 2 * math.prod(value.shape()))
    return np.frombuffer(raw, dtype=DTYPES["BF16"]).reshape(value.shape())


def load(config: ModelConfig) -> OnnxModel:
    """Load a file.

    Raises:
        LoadFailed: onnxruntime is missing, there is no such file, its external data is not contained, it takes or
            gives something other than tensors, or the device or an option is not known; what the runtime raises for a
            file it cannot read.
    """
    with needs("onnx"):
        import onnxruntime
    onnxruntime.disable_telemetry_events()  # a model server reports to nobody but its owner
    providers = choose_providers(config, onnxruntime.get_available_providers())
    session = _open(config, read_model(config), providers)
    device = used_device(config, providers, session.get_providers())
    return OnnxModel(session, f"onnxruntime {onnxruntime.__version__}", device=str(device))


def _open(config: ModelConfig, data: bytes, providers: Providers) -> Any:
    """Return a session of the optimised graph if it is kept, else of the file, whose optimised graph is kept then."""
    entry = _entry(config, data, providers)
    optimised = None if entry is None else kept(entry)
    if entry is not None and optimised is not None:
        with contextlib.suppress(Exception):  # whatever the runtime raises: the file itself is loaded next
            return _session(optimised, _options(config, optimised=True), providers)
    folder = Path(config.source).parent
    options = _options(config)
    if check_external(data, folder):
        options.add_session_config_entry(_FOLDER, str(folder.absolute()))
        return _session(data, options, providers)
    if entry is None:
        return _session(data, options, providers)
    with beside(entry) as path:
        options.optimized_model_filepath = str(path)
        try:
            session = _session(data, options, providers)
        except Exception:  # noqa: BLE001 - perhaps only the writing failed; if not, this says so again
            return _session(data, _options(config), providers)
        keep(entry, path)
    return session


def _entry(config: ModelConfig, data: bytes, providers: Providers) -> Path | None:
    """Return where the optimised graph is kept; None if it is not to be. Only of files without external data it is."""
    import onnxruntime

    wanted = option(config.parameters, KEEP_GRAPH, bool, "true or false")
    folder = cache_folder() if wanted or (wanted is None and len(data) <= _KEPT_BYTES) else None
    if folder is None:
        return None
    level = config.parameters.get("graph_optimization_level")
    return entry_path(folder, data, f"{onnxruntime.__version__} {providers.arguments} {level}")


def _options(config: ModelConfig, *, optimised: bool = False) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    apply_options(options, config)
    # Nothing but ONNX: the runtime would recognise its own format too, which `check_external` does not.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _session(data: bytes, options: Any, providers: Providers) -> Any:
    import onnxruntime

    # Without a second try on the CPU, which the wrapper would announce by printing.
    session = onnxruntime.InferenceSession(data, sess_options=options, providers=providers.arguments, enable_fallback=0)
    session._model_bytes = None  # noqa: SLF001 - the runtime has its own copy, and the wrapper would keep this one
    return session
