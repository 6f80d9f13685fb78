"""scikit-learn estimators: skops files, and pickles whose digest the configuration names.

A skops file is loaded if all its types are known to be safe or listed in the parameter `trusted`. Input
``input: FP64 (N, features)``; the parameter `input` says otherwise, such as ``TEXT (N,)`` for a text pipeline. What an
estimator gives is found by one row of zeros (or an empty text):

- a classifier: ``label``, and ``probabilities`` FP64 ``(N, K)`` if it has `predict_proba`;
- anything else with `predict`, or with `transform`: ``output``.

More threads than the instance's share are cut back where an estimator says how many it uses (`n_jobs`).
"""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graphmesh.core.errors import LoadFailed
from graphmesh.core.signature import Signature, TensorSpec, parse_type
from graphmesh.core.tensor import BYTES, DTYPES, Tensor
from graphmesh.worker.backends import Backend, needs
from graphmesh.worker.backends.files import read_model
from graphmesh.worker.backends.matrix import feature_text, output_spec
from graphmesh.worker.backends.options import check_options, only_cpu, option, text_list, thread_count
from graphmesh.worker.hosting.contract import decode_text, encode_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context

    _Give: TypeAlias = Callable[[Tensor], object]

__all__ = ["SklearnModel", "load"]

_KNOWN = ("trusted", "input")
_SKOPS, _JOBLIB = ".skops", ".joblib"


class SklearnModel(Backend):
    """An estimator; its methods may run on several threads at once."""

    def __init__(self, estimator: Any, version: str, spec: TensorSpec) -> None:
        self.platform = f"scikit-learn {version}"
        self._text = spec.text
        self._gives = _outputs(estimator)
        sample = np.array([""], dtype=object) if spec.text else np.zeros((1, *_fixed(spec)), DTYPES[spec.datatype])
        outputs = {name: _array(give(sample)) for name, give in self._gives.items()}
        self.signature = Signature((spec,), tuple(output_spec(name, array) for name, array in outputs.items()))

    def run(self, inputs: Mapping[str, Tensor], _contexts: Sequence[Context] = ()) -> Mapping[str, Tensor]:
        """Return the outputs by name."""
        rows = inputs["input"]
        if self._text:
            rows = decode_text("input", rows)
        outputs = {name: _array(give(rows)) for name, give in self._gives.items()}
        return {name: encode_text(array) if array.dtype.kind in "US" else array for name, array in outputs.items()}


def _outputs(estimator: Any) -> dict[str, _Give]:
    if hasattr(estimator, "classes_") and hasattr(estimator, "predict"):
        gives = {"label": estimator.predict}
        # Classifiers of several outputs give a list of matrices, which is no tensor.
        if hasattr(estimator, "predict_proba") and not isinstance(estimator.classes_, list):
            gives["probabilities"] = estimator.predict_proba
        return gives
    for method in ("predict", "transform"):
        if hasattr(estimator, method):
            return {"output": getattr(estimator, method)}
    raise LoadFailed(f"a {type(estimator).__name__} has neither predict nor transform")


def _array(result: Any) -> Tensor:
    if hasattr(result, "toarray"):
        result = result.toarray()
    array = np.asarray(result)
    if array.dtype.kind == "O":
        array = array.astype(str)
    return array if array.dtype.kind in "US" else array.astype(array.dtype.newbyteorder("<"), copy=False)


def _fixed(spec: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else 1 for size in spec.shape[1:]]


def load(config: ModelConfig) -> SklearnModel:
    """Load an estimator.

    Raises:
        LoadFailed: scikit-learn or skops is missing, types are not trusted, a pickle's digest is not named, or the
            estimator cannot be served; what unpickling raises.
    """
    with needs("sklearn"):
        import sklearn
    only_cpu(config)
    check_options(config.parameters, _KNOWN)
    estimator = _read_skops(config) if config.source.endswith(_SKOPS) else _unpickle(config)
    _limit_jobs(estimator, thread_count(config))
    # Rows come without the names that the estimator was fitted with; it would say so at every call.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    return SklearnModel(estimator, sklearn.__version__, _input(config, estimator))


def _input(config: ModelConfig, estimator: Any) -> TensorSpec:
    text = option(config.parameters, "input", str, "a type such as 'FP32 (N, 4)'")
    if isinstance(text, str):
        datatype, shape, is_text = parse_type(text)
        if datatype == BYTES and not is_text:
            raise LoadFailed("parameter 'input' must be of numbers or TEXT, got BYTES")
        return TensorSpec(name="input", datatype=datatype, shape=shape, text=is_text)
    features = getattr(estimator, "n_features_in_", None)
    if features is None:
        raise LoadFailed(
            f"a {type(estimator).__name__} does not say how many features it takes; give the parameter input, "
            "such as 'FP32 (N, 4)' or 'TEXT (N,)'"
        )
    names = getattr(estimator, "feature_names_in_", None)
    return TensorSpec(name="input", datatype="FP64", shape=("N", int(features)), description=feature_text(names))


def _read_skops(config: ModelConfig) -> Any:
    with needs("sklearn"):
        from skops import io as skops
    data = read_model(config)
    trusted = text_list(config.parameters, "trusted")
    untrusted = sorted(set(skops.get_untrusted_types(data=data)) - set(trusted))
    if untrusted:
        raise LoadFailed(
            "holds types that are not known to be safe; if you trust them, add to the model's parameters in mesh.yaml: "
            f"trusted: [{', '.join(untrusted)}]"
        )
    return skops.loads(data, trusted=trusted)


def _unpickle(config: ModelConfig) -> Any:
    data = read_model(config, code=f"a {Path(config.source).suffix} file (a pickle)")
    if config.source.endswith(_JOBLIB):
        import joblib

        return joblib.load(io.BytesIO(data))
    return pickle.loads(data)  # noqa: S301 - the configuration names this file's digest


def _limit_jobs(estimator: Any, threads: int) -> None:
    get_params = getattr(estimator, "get_params", None)
    parameters = get_params() if callable(get_params) else {}
    jobs = {name: value for name, value in parameters.items() if name.split("__")[-1] == "n_jobs"}
    beyond = {name: threads for name, value in jobs.items() if isinstance(value, int) and not 1 <= value <= threads}
    if beyond:
        estimator.set_params(**beyond)
