"""LightGBM models in its own text format: one matrix in, the booster's prediction out.

Input ``input: FP64 (N, features)``, where NaN is a missing value. Output ``output``: ``FP64 (N,)``, or ``FP64 (N, K)``
for K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.backends import Backend, needs
from graphmesh.worker.backends.files import read_model
from graphmesh.worker.backends.matrix import matrix_signature
from graphmesh.worker.backends.options import check_options, only_cpu, thread_count
from graphmesh.worker.backends.trial import try_load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context

__all__ = ["LightgbmModel", "load"]

_TREES_END, _PARAMETERS, _PARAMETERS_END = b"\nend of trees\n", b"\nparameters:", b"\nend of parameters\n"
_TRIAL = """
import lightgbm, numpy
booster = lightgbm.Booster(model_str=data.decode())
booster.predict(numpy.full((1, booster.num_feature()), numpy.nan), num_threads=1)
"""


class LightgbmModel(Backend):
    """A booster; it may run on several threads at once."""

    def __init__(self, booster: Any, version: str, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        self.platform = f"lightgbm {version}"
        row = np.full((1, booster.num_feature()), np.nan)
        self.signature = matrix_signature(row, self._predict(row), booster.feature_name())

    def run(self, inputs: Mapping[str, Tensor], _contexts: Sequence[Context] = ()) -> Mapping[str, Tensor]:
        """Return the prediction."""
        return {"output": self._predict(inputs["input"])}

    def _predict(self, rows: Tensor) -> Tensor:
        prediction: Tensor = self._booster.predict(rows, num_threads=self._threads)
        return prediction


def load(config: ModelConfig) -> LightgbmModel:
    """Load a file that `Booster.save_model` wrote.

    Raises:
        LoadFailed: lightgbm is missing, or the file is none of its models.
    """
    with needs("lightgbm"):
        import lightgbm
    only_cpu(config)
    check_options(config.parameters, ())
    data = read_model(config)
    if not data.startswith(b"tree\n"):
        raise LoadFailed("not a model of LightGBM in its text format; write one by Booster.save_model('model.txt')")
    if _TREES_END not in data or (_PARAMETERS in data and _PARAMETERS_END not in data):
        raise LoadFailed("the file is only a part of a model: it ends too early")
    try_load(_TRIAL, data)
    booster = lightgbm.Booster(model_str=data.decode())
    return LightgbmModel(booster, lightgbm.__version__, thread_count(config))
