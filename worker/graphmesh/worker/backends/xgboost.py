"""XGBoost models in its own formats, JSON and UBJSON: one matrix in, the booster's prediction out.

Input ``input: FP32 (N, features)``, where NaN is a missing value. Output ``output``: ``FP32 (N,)``, or ``FP32 (N, K)``
for what gives K values a row, such as the probabilities of `multi:softprob`.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

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

__all__ = ["XgboostModel", "load"]

_TRIAL = """
import numpy, xgboost
booster = xgboost.Booster()
booster.load_model(bytearray(data))
row = numpy.full((1, booster.num_features()), numpy.nan, dtype=numpy.float32)
booster.predict(xgboost.DMatrix(row, nthread=1), validate_features=False)
"""


class XgboostModel(Backend):
    """A booster; prediction with trees may run on several threads at once, with other boosters one after the other."""

    def __init__(self, booster: Any, version: str, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        self._alone: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if orjson.loads(booster.save_config())["learner"]["gradient_booster"]["name"] != "gbtree":
            self._alone = threading.Lock()
        self.platform = f"xgboost {version}"
        row = np.full((1, booster.num_features()), np.nan, dtype=np.float32)
        self.signature = matrix_signature(row, self._predict(row), booster.feature_names)

    def run(self, inputs: Mapping[str, Tensor], _contexts: Sequence[Context] = ()) -> Mapping[str, Tensor]:
        """Return the prediction."""
        return {"output": self._predict(inputs["input"])}

    def _predict(self, rows: Tensor) -> Tensor:
        import xgboost

        # Quicker than `inplace_predict` (131 against 162 us for a row), and there for every kind of booster.
        with self._alone:
            matrix = xgboost.DMatrix(rows, nthread=self._threads)
            prediction: Tensor = self._booster.predict(matrix, validate_features=False)
            return prediction


def load(config: ModelConfig) -> XgboostModel:
    """Load a file that `Booster.save_model` wrote.

    Raises:
        LoadFailed: xgboost is missing, or the file is none of its models.
    """
    with needs("xgboost"):
        import xgboost
    only_cpu(config)
    check_options(config.parameters, ())
    data = read_model(config)
    if not data.startswith(b"{"):
        raise LoadFailed("not a model of XGBoost in JSON or UBJSON; write one by save_model('model.ubj')")
    try_load(_TRIAL, data)
    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    threads = thread_count(config)
    booster.set_param({"nthread": threads})
    return XgboostModel(booster, xgboost.__version__, threads)
