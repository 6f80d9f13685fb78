"""ONNX files as models, by ONNX Runtime; names, datatypes and shapes come from the file.

The runtime's threads do not spin between calls, since other models share the cores. A model with several instances
divides the cores among them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphmesh.core.errors import InvalidRequest, LoadFailed
from graphmesh.core.signature import Dimension, Signature, TensorSpec, parse_dimension
from graphmesh.core.tensor import BYTES, Tensor
from graphmesh.worker.contract import decode_text, encode_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphmesh.worker.config import ModelConfig

__all__ = ["OnnxModel", "load"]

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": BYTES,
}
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxModel:
    """A session of ONNX Runtime; it may run on several threads at once."""

    is_async = False

    def __init__(self, session: Any, platform: str) -> None:  # noqa: ANN401 - onnxruntime ships no types
        self._session = session
        self.platform = platform
        self.signature = Signature(
            tuple(_spec(node) for node in session.get_inputs()), tuple(_spec(node) for node in session.get_outputs())
        )
        self._text_inputs = frozenset(spec.name for spec in self.signature.inputs if spec.text)
        self._outputs = [spec.name for spec in self.signature.outputs]

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the outputs by name; strings are `bytes` on this side, `str` on the runtime's."""
        feed = inputs
        if self._text_inputs:
            feed = {name: decode_text(name, a) if name in self._text_inputs else a for name, a in inputs.items()}
        arrays = self._session.run(self._outputs, feed)
        return {
            name: encode_text(array) if array.dtype.kind in "OSU" else array
            for name, array in zip(self._outputs, arrays, strict=True)
        }

    def unload(self) -> None:
        """Drop the session."""
        self._session = None


def load(config: ModelConfig) -> OnnxModel:
    """Load a file.

    Raises:
        LoadFailed: onnxruntime is missing, there is no such file, or it takes or gives something other than tensors;
            what the runtime raises for a file it cannot read.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - imported when the first ONNX model is loaded: it is an extra
    except ImportError as error:
        raise LoadFailed("onnxruntime is not installed; pip install 'graphmesh[onnx]'") from error
    onnxruntime.disable_telemetry_events()  # a model server reports to nobody but its owner
    path = Path(config.source)
    if not path.is_file():
        raise LoadFailed("there is no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, len(os.sched_getaffinity(0)) // config.instances) if _can_ask() else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    providers = [provider for provider in _PROVIDERS if provider in available]
    session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
    return OnnxModel(session, f"onnxruntime {onnxruntime.__version__}")


def _can_ask() -> bool:
    return hasattr(os, "sched_getaffinity")


def _spec(node: Any) -> TensorSpec:  # noqa: ANN401 - onnxruntime ships no types
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise LoadFailed(f"{node.name!r} is a {node.type}; only tensors of {', '.join(_DATATYPES)} can be served")
    shape = tuple(_dimension(size) for size in node.shape)
    return TensorSpec(name=node.name, datatype=datatype, shape=shape, text=datatype == BYTES)


def _dimension(size: object) -> Dimension:
    """Return a number, a name, or None for what the file leaves open or names beyond our rules."""
    if isinstance(size, int):
        return size if size >= 0 else None
    try:
        return parse_dimension(size) if isinstance(size, str) else None
    except InvalidRequest:
        return None
