"""scikit-learn: skops files by their types, pickles by their digest."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skops import io as skops

from graphmesh.core.errors import LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model
from tests.worker.evil import Evil, evil_pickle

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.random.default_rng(1).random((30, 4))
CLASSES = np.arange(30) % 3


def _save(path: Path, estimator: Any) -> Path:  # noqa: ANN401 - any estimator
    skops.dump(estimator, path)
    return path


def _load(path: Path, **options: Any) -> Any:  # noqa: ANN401 - any field, any model
    return load_model(ModelConfig(name="m", source=str(path), **options))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_classifier(tmp_path: Path) -> None:
    """A classifier gives labels and probabilities."""
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, CLASSES)
    model = _load(_save(tmp_path / "m.skops", estimator))
    assert [str(spec) for spec in model.signature.inputs] == ["input: FP64 (N, 4)"]
    assert [str(spec) for spec in model.signature.outputs] == ["label: INT64 (N,)", "probabilities: FP64 (N, 3)"]
    outputs = model.run({"input": ROWS})
    model.signature.check_outputs(outputs)
    np.testing.assert_array_equal(outputs["label"], estimator.predict(ROWS))
    np.testing.assert_allclose(outputs["probabilities"], estimator.predict_proba(ROWS))
    assert model.platform.startswith("scikit-learn ")


def test_labels_of_text(tmp_path: Path) -> None:
    """Labels that are text are TEXT."""
    labels = np.array(["né", "b", "c"])[CLASSES]
    for kind in (labels, labels.astype(object)):
        model = _load(_save(tmp_path / "m.skops", LogisticRegression().fit(ROWS, kind)))
        assert str(model.signature.outputs[0]) == "label: TEXT (N,)"
        outputs = model.run({"input": ROWS[:3]})
        model.signature.check_outputs(outputs)
        assert outputs["label"].dtype == object
        assert set(outputs["label"].tolist()) <= {"né".encode(), b"b", b"c"}


def test_regressor(tmp_path: Path) -> None:
    """A regressor gives one output; several targets are columns."""
    single = _load(_save(tmp_path / "m.skops", LinearRegression().fit(ROWS, ROWS.sum(1))))
    assert [str(spec) for spec in single.signature.outputs] == ["output: FP64 (N,)"]
    np.testing.assert_allclose(single.run({"input": ROWS})["output"], ROWS.sum(1))
    several = _load(_save(tmp_path / "n.skops", LinearRegression().fit(ROWS, ROWS[:, :2])))
    assert [str(spec) for spec in several.signature.outputs] == ["output: FP64 (N, 2)"]


def test_transformer(tmp_path: Path) -> None:
    """What only transforms gives that, sparse or not."""
    model = _load(_save(tmp_path / "m.skops", OneHotEncoder(handle_unknown="ignore").fit([[1.0], [2.0]])))
    np.testing.assert_array_equal(model.run({"input": np.array([[2.0]])})["output"], [[0, 1]])


def test_text_pipeline(tmp_path: Path) -> None:
    """A text pipeline is told what it takes, and gets text."""
    texts = ["good day", "bad day"] * 5
    estimator = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0] * 5)
    path = _save(tmp_path / "m.skops", estimator)
    with pytest.raises(LoadFailed, match="does not say how many features it takes; give the parameter input"):
        _load(path)
    model = _load(path, parameters={"input": "TEXT (N,)"})
    rows = np.array([b"good", b"bad"], dtype=object)
    assert model.run({"input": rows})["label"].tolist() == [1, 0]
    with pytest.raises(LoadFailed, match="must be of numbers or TEXT, got BYTES"):
        _load(path, parameters={"input": "BYTES (N,)"})


def test_several_labels(tmp_path: Path) -> None:
    """A classifier of several outputs gives labels alone: its probabilities are no tensor."""
    estimator = MultiOutputClassifier(LogisticRegression()).fit(ROWS, np.stack([CLASSES % 2, CLASSES], 1))
    model = _load(_save(tmp_path / "m.skops", estimator))
    assert [str(spec) for spec in model.signature.outputs] == ["label: INT64 (N, 2)"]


def test_columns_are_described(tmp_path: Path) -> None:
    """Names of columns are kept for people, and rows without names draw no warning."""
    estimator = LinearRegression().fit(ROWS, ROWS.sum(1))
    estimator.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)
    model = _load(_save(tmp_path / "m.skops", estimator))
    assert model.signature.inputs[0].description == "columns: a, b, c, d"


def test_jobs_are_limited(tmp_path: Path) -> None:
    """An estimator that would take all cores takes its instance's share."""
    estimator = RandomForestClassifier(n_estimators=2, n_jobs=-1).fit(ROWS, CLASSES)
    path = tmp_path / "m.joblib"
    joblib.dump(estimator, path)
    model = _load(path, sha256=_digest(path), instances=1000)
    assert model._gives["label"].__self__.n_jobs == 1


def _double(rows: Any) -> Any:  # noqa: ANN401 - any array
    return rows * 2


def test_untrusted_types(tmp_path: Path) -> None:
    """Types that are not known to be safe are listed, with the line that trusts them."""
    estimator = make_pipeline(FunctionTransformer(_double), LinearRegression()).fit(ROWS, ROWS.sum(1))
    path = _save(tmp_path / "m.skops", estimator)
    name = f"{_double.__module__}._double"
    with pytest.raises(LoadFailed, match=rf"add to the model's parameters in mesh\.yaml: trusted: \[{name}\]"):
        _load(path)
    with pytest.raises(LoadFailed, match="trusted"):
        _load(path, parameters={"trusted": ["other.Type"]})
    with pytest.raises(LoadFailed, match="parameters must be of trusted, input, got 'trust'"):
        _load(path, parameters={"trust": [name]})
    assert _load(path, parameters={"trusted": [name], "input": "FP32 (N, 4)"}).signature.inputs[0].datatype == "FP32"


def test_hostile_skops(tmp_path: Path) -> None:
    """A skops file that names a function to call does not get it called."""
    marker = tmp_path / "marker"
    path = tmp_path / "m.skops"
    path.write_bytes(skops.dumps({"a": Evil(marker)}))
    with pytest.raises(LoadFailed, match=r"m\.skops: holds types that are not known to be safe"):
        _load(path)
    path.write_bytes(evil_pickle(marker))
    with pytest.raises(LoadFailed, match=r"m\.skops: "):
        _load(path)
    assert not marker.exists()


@pytest.mark.parametrize("ending", ["joblib", "pkl", "pickle"])
def test_pickles_need_their_digest(tmp_path: Path, ending: str) -> None:
    """A pickle is not opened without its digest; with it, it is an estimator like any other."""
    marker, path = tmp_path / "marker", tmp_path / f"m.{ending}"
    path.write_bytes(evil_pickle(marker))
    for digest in ("", "0" * 64):
        with pytest.raises(LoadFailed, match="sha256"):
            _load(path, sha256=digest)
    assert not marker.exists()
    estimator = LinearRegression().fit(ROWS, ROWS.sum(1))
    joblib.dump(estimator, path) if ending == "joblib" else path.write_bytes(pickle.dumps(estimator))
    model = _load(path, sha256=_digest(path))
    np.testing.assert_allclose(model.run({"input": ROWS})["output"], ROWS.sum(1))


def test_no_estimator(tmp_path: Path) -> None:
    """What can neither predict nor transform is refused."""
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(LoadFailed, match="a dict does not say how many features"):
        _load(path, sha256=_digest(path))
    with pytest.raises(LoadFailed, match="a dict has neither predict nor transform"):
        _load(path, sha256=_digest(path), parameters={"input": "FP64 (N, 2)"})


@pytest.mark.parametrize("damage", ["truncated", "random", "empty"])
@pytest.mark.parametrize("ending", ["skops", "joblib"])
def test_damaged_files(tmp_path: Path, ending: str, damage: str) -> None:
    """A damaged file is a load failure that names it."""
    path = tmp_path / f"m.{ending}"
    estimator = LinearRegression().fit(ROWS, ROWS.sum(1))
    skops.dump(estimator, path) if ending == "skops" else joblib.dump(estimator, path)
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "random": bytes(range(256)), "empty": b""}[damage])
    with pytest.raises(LoadFailed, match=rf"m\.{ending}: "):
        _load(path, sha256=_digest(path))
