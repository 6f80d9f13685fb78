"""MLflow's folders, read without mlflow. They are written by hand here, as mlflow 3 writes them."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import orjson
import pytest
import torch
import xgboost
import yaml
from sklearn.linear_model import LinearRegression
from skops import io as skops

from graphmesh.core.errors import LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model
from graphmesh.worker.hosting.sources import resolve
from tests.worker.evil import evil_pickle
from tests.worker.onnx_models import scale

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.random.default_rng(1).random((30, 4))
COLUMNS = [{"type": "double", "name": name, "required": True} for name in "abcd"]
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]


def _folder(tmp_path: Path, flavour: str, options: dict[str, Any], inputs: Any = None) -> Path:  # noqa: ANN401
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    document: dict[str, Any] = {
        "flavors": {flavour: options, "python_function": {"loader_module": f"mlflow.{flavour}"}},
        "mlflow_version": "3.1.0",
    }
    if inputs is not None:
        document["signature"] = {"inputs": orjson.dumps(inputs).decode(), "outputs": "[]", "params": None}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


def _load(folder: Path, **options: Any) -> Any:  # noqa: ANN401 - any field, any model
    (config,) = resolve(ModelConfig(name="m", source=str(folder), **options))
    return load_model(config)


def test_sklearn_by_skops(tmp_path: Path) -> None:
    """Columns are tensors of one row each, and become the matrix; outputs are the backend's."""
    folder = _folder(tmp_path, "sklearn", {"pickled_model": "model.skops", "serialization_format": "skops"}, COLUMNS)
    estimator = LinearRegression().fit(ROWS, ROWS.sum(1))
    skops.dump(estimator, folder / "model.skops")
    model = _load(folder)
    assert [str(spec) for spec in model.signature.inputs] == [f"{name}: FP64 (N,)" for name in "abcd"]
    outputs = model.run({name: ROWS[:, index] for index, name in enumerate("abcd")})
    model.signature.check_outputs(outputs)
    np.testing.assert_allclose(outputs["output"], ROWS.sum(1))
    assert model.platform.startswith("scikit-learn")
    model.unload()


def test_sklearn_by_pickle(tmp_path: Path) -> None:
    """The usual pickle needs the digest of the model file, and is not opened without it."""
    folder = _folder(tmp_path, "sklearn", {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}, TENSOR)
    marker = tmp_path / "marker"
    (folder / "model.pkl").write_bytes(evil_pickle(marker))
    with pytest.raises(LoadFailed, match=r"model\.pkl: loading a \.pkl file .* sha256: "):
        _load(folder)
    assert not marker.exists()
    data = pickle.dumps(LinearRegression().fit(ROWS, ROWS.sum(1)))
    (folder / "model.pkl").write_bytes(data)
    model = _load(folder, sha256=hashlib.sha256(data).hexdigest())
    assert [str(spec) for spec in model.signature.inputs] == ["input: FP64 (N, 4)"]
    np.testing.assert_allclose(model.run({"input": ROWS})["output"], ROWS.sum(1))


def test_onnx(tmp_path: Path) -> None:
    """A tensor without a name takes the model's, and MLflow's datatype is what callers send."""
    folder = _folder(tmp_path, "onnx", {"data": "model.onnx", "onnx_version": "1.17"}, TENSOR)
    scale(folder / "model.onnx")
    model = _load(folder, parameters={"keep_optimized_graph": False})
    assert [str(spec) for spec in model.signature.inputs] == ["x: FP64 (N, 4)"]
    np.testing.assert_allclose(model.run({"x": np.ones((1, 4))})["y"], [[1, 2, 3, 4]])


def test_boosters(tmp_path: Path) -> None:
    """Boosters are read in their native formats; without a signature the model's own is taken."""
    folder = _folder(tmp_path, "xgboost", {"data": "model.ubj", "model_format": "ubj"}, COLUMNS)
    rows = ROWS.astype(np.float32)
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, rows.sum(1)), 3)
    booster.save_model(folder / "model.ubj")
    outputs = _load(folder).run({name: ROWS[:, index] for index, name in enumerate("abcd")})
    np.testing.assert_allclose(outputs["output"], booster.predict(xgboost.DMatrix(rows)))
    folder = _folder(tmp_path, "lightgbm", {"data": "model.lgb"})
    data = lightgbm.Dataset(ROWS, ROWS.sum(1))
    lightgbm.train({"verbose": -1, "min_data_in_leaf": 2, "num_threads": 1}, data, 3).save_model(folder / "model.lgb")
    assert [str(spec) for spec in _load(folder).signature.inputs] == ["input: FP64 (N, 4)"]


def test_pytorch(tmp_path: Path) -> None:
    """An exported program is loaded by its digest; mlflow's pickled module never is."""
    folder = _folder(tmp_path, "pytorch", {"model_data": "data", "pytorch_version": "2.10"})
    (folder / "data").mkdir()
    with pytest.raises(LoadFailed, match=r"'data' must hold one of model\.pt2, "):
        _load(folder)
    torch.save(torch.nn.Linear(4, 3), folder / "data" / "model.pth")
    with pytest.raises(LoadFailed, match=r"model\.pth: not a file of weights"):
        _load(folder)
    path = folder / "data" / "model.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 3), (torch.ones(2, 4),)), str(path))
    with pytest.raises(LoadFailed, match=r"model\.pt2: .*sha256"):
        _load(folder)
    model = _load(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert model.run({"input": np.ones((2, 4), np.float32)})["output"].shape == (2, 3)


def test_python_functions(tmp_path: Path) -> None:
    """A folder that holds somebody's code only is refused, with what would be needed."""
    folder = _folder(tmp_path, "python_function", {})
    with pytest.raises(LoadFailed, match=r"has the flavors python_function; loaded are onnx, .* serve it by a Python"):
        _load(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a YAML mapping"),
        ("[1", "MLmodel cannot be read"),
        ("a: 1", "MLmodel has no flavors"),
        ("flavors: {onnx: {data: ../../other.onnx}}", "must be inside the model's folder|there is no"),
        ("flavors: {onnx: {data: /etc/hostname}}", "must be inside the model's folder"),
        ("flavors: {onnx: {data: none.onnx}}", "there is no 'none.onnx' in the model's folder"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_wrong_documents(tmp_path: Path, text: str, said: str) -> None:
    """What cannot be understood, or leads out of the folder, is refused."""
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(LoadFailed, match=said):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (COLUMNS[:3], "describes 3 columns, but the model takes 4"),
        ([{"type": "string", "name": "a"}], "column 'a' of MLmodel must be of boolean, .*, got 'string'"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "object", "shape": [-1]}}], "tensor 'x' of MLmodel must be of"),
        ({}, "must be a list of tensors or columns"),
    ],
)
def test_wrong_signatures(tmp_path: Path, inputs: Any, said: str) -> None:  # noqa: ANN401
    """A signature that the model does not have is refused."""
    folder = _folder(tmp_path, "onnx", {"data": "model.onnx"}, inputs or [[]])
    scale(folder / "model.onnx")
    with pytest.raises(LoadFailed, match=said):
        _load(folder, parameters={"keep_optimized_graph": False})
