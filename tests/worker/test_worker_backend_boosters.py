"""XGBoost and LightGBM in their own formats, and what is no model of theirs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest
import xgboost

from graphmesh.core.errors import LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model
from tests.worker.evil import evil_pickle

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.random.default_rng(1).random((60, 4)).astype(np.float32)
CLASSES = np.arange(60) % 3
HOLES = np.where(np.arange(60)[:, None] % 5 == np.arange(4), np.nan, ROWS).astype(np.float32)


def _load(path: Path, **options: Any) -> Any:  # noqa: ANN401 - any field, any model
    return load_model(ModelConfig(name="m", source=str(path), **options))


def _xgboost(**parameters: Any) -> xgboost.Booster:  # noqa: ANN401
    labels = CLASSES if "num_class" in parameters else CLASSES % 2
    data = xgboost.DMatrix(ROWS, labels, feature_names=["a", "b", "c", "d"])
    return xgboost.train({"nthread": 1, **parameters}, data, 3)


def _lightgbm(**parameters: Any) -> lightgbm.Booster:  # noqa: ANN401
    labels = CLASSES if "num_class" in parameters else CLASSES % 2
    fixed = {"verbose": -1, "min_data_in_leaf": 2, "num_threads": 1}
    return lightgbm.train({**fixed, **parameters}, lightgbm.Dataset(ROWS.astype(np.float64), labels), 3)


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_xgboost(tmp_path: Path, ending: str) -> None:
    """Both formats load; missing values are NaN; columns are named for people."""
    booster = _xgboost(objective="binary:logistic")
    booster.save_model(tmp_path / f"m.{ending}")
    model = _load(tmp_path / f"m.{ending}", instances=2)
    assert [str(spec) for spec in model.signature.inputs] == ["input: FP32 (N, 4)"]
    assert [str(spec) for spec in model.signature.outputs] == ["output: FP32 (N,)"]
    assert model.signature.inputs[0].description == "columns: a, b, c, d"
    outputs = model.run({"input": HOLES})
    model.signature.check_outputs(outputs)
    np.testing.assert_allclose(outputs["output"], booster.predict(xgboost.DMatrix(HOLES), validate_features=False))
    assert model.platform.startswith("xgboost ")


@pytest.mark.parametrize(
    ("parameters", "shape"),
    [
        ({"objective": "multi:softprob", "num_class": 3}, "FP32 (N, 3)"),
        ({"objective": "multi:softmax", "num_class": 3}, "FP32 (N,)"),
        ({"booster": "gblinear"}, "FP32 (N,)"),
        ({"booster": "dart"}, "FP32 (N,)"),
    ],
)
def test_kinds_of_boosters(tmp_path: Path, parameters: dict[str, Any], shape: str) -> None:
    """Classes, and every kind of booster, give the shape that one row has; several threads may call."""
    booster = _xgboost(**parameters)
    booster.save_model(tmp_path / "m.ubj")
    model = _load(tmp_path / "m.ubj")
    assert model.signature.outputs[0].type == shape
    expected = booster.predict(xgboost.DMatrix(ROWS), validate_features=False)
    wrong: list[int] = []

    def call() -> None:
        for _ in range(10):
            outputs = model.run({"input": ROWS})
            if not np.allclose(outputs["output"], expected, atol=1e-6):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("parameters", "shape"),
    [
        ({"objective": "binary"}, "FP64 (N,)"),
        ({"objective": "multiclass", "num_class": 3}, "FP64 (N, 3)"),
        ({"objective": "regression"}, "FP64 (N,)"),
    ],
)
def test_lightgbm(tmp_path: Path, parameters: dict[str, Any], shape: str) -> None:
    """A text model gives what the booster gives, missing values included."""
    booster = _lightgbm(**parameters)
    booster.save_model(tmp_path / "m.txt")
    model = _load(tmp_path / "m.txt")
    assert (str(model.signature.inputs[0]), model.signature.outputs[0].type) == ("input: FP64 (N, 4)", shape)
    rows = HOLES.astype(np.float64)
    outputs = model.run({"input": rows})
    model.signature.check_outputs(outputs)
    np.testing.assert_allclose(outputs["output"], booster.predict(rows))
    assert model.platform.startswith("lightgbm ")


def _xgboost_damages() -> dict[str, bytes]:
    whole = bytes(_xgboost().save_raw("json"))
    return {
        "truncated": whole[: len(whole) // 2],
        "truncated ubj": bytes(_xgboost().save_raw("ubj"))[:500],
        "random": bytes(range(256)),
        "zero": b"",
        "empty json": b"{}",
        "no trees": b'{"version":[3,0,0],"learner":{"learner_model_param":{}}}',
        "ubj of nothing": b"{L\x00\x00",
    }


def _lightgbm_damages() -> dict[str, bytes]:
    whole = _lightgbm().model_to_string()
    return {
        "truncated": whole[: len(whole) // 2].encode(),
        "truncated after the trees": whole[: whole.index("end of parameters")].encode(),
        "random": bytes(range(256)),
        "zero": b"",
        "text": b"hello\n",
        "header": b"tree\nversion=v4\n",
        "many leaves": whole.replace("num_leaves=", "num_leaves=99999999").encode(),
        "not UTF-8": b"tree\n\xff\xfe\nend of trees\n",
    }


def test_damaged_xgboost(tmp_path: Path) -> None:
    """A damaged file, even one at which XGBoost ends its process, is a load failure that names the file."""
    for damage, data in _xgboost_damages().items():
        path = tmp_path / "m.json"
        path.write_bytes(data)
        with pytest.raises(LoadFailed, match=r"m\.json: ") as caught:
            _load(path)
        assert len(caught.value.message) > 20, damage


def test_damaged_lightgbm(tmp_path: Path) -> None:
    """A damaged file, at some of which LightGBM ends its process, is a load failure that names the file."""
    crashed = 0
    for data in _lightgbm_damages().values():
        path = tmp_path / "m.txt"
        path.write_bytes(data)
        with pytest.raises(LoadFailed, match=r"m\.txt: ") as caught:
            _load(path)
        crashed += "crashed" in caught.value.message
    assert crashed


@pytest.mark.parametrize("name", ["m.json", "m.ubj", "m.txt"])
def test_pickles_under_another_name(tmp_path: Path, name: str) -> None:
    """A pickle with the ending of a native format is no model, and does not run."""
    (tmp_path / name).write_bytes(evil_pickle(tmp_path / "marker"))
    with pytest.raises(LoadFailed, match=f"{name}: not a model of"):
        _load(tmp_path / name)
    assert not (tmp_path / "marker").exists()


def test_devices_and_parameters(tmp_path: Path) -> None:
    """Boosters run on the CPU, and take no parameters."""
    (tmp_path / "m.txt").write_text("")
    with pytest.raises(LoadFailed, match="backend lightgbm runs on the cpu only"):
        _load(tmp_path / "m.txt", device="cuda")
    with pytest.raises(LoadFailed, match="parameters must be of none, got 'depth'"):
        _load(tmp_path / "m.txt", parameters={"depth": 1})
