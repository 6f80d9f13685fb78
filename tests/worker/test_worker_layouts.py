"""Folders as sources: model.yaml, Triton's, MLServer's, one file; and what leads out of them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from skops import io as skops

from graphmesh.core.errors import InvalidRequest, LoadFailed
from graphmesh.core.textproto import parse
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model
from graphmesh.worker.batching import Batching
from graphmesh.worker.config import Isolation
from graphmesh.worker.hosting.sources import resolve
from graphmesh.worker.isolation.wire import config_from_wire, config_to_wire
from graphmesh.worker.layouts.model_yaml import ModelFile
from tests.worker.onnx_models import scale

if TYPE_CHECKING:
    from pathlib import Path

TRITON = """
name: "scale"
platform: "onnxruntime_onnx"
max_batch_size: 8   # rows
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output { name: "y", data_type: TYPE_FP32, dims: 4 }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 1500 }
instance_group [ { count: 2 kind: KIND_CPU } ]
version_policy: { all { } }
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _config(folder: Path, **options: Any) -> ModelConfig:  # noqa: ANN401 - any field
    return ModelConfig(name="m", source=str(folder), **options)


def _failure(folder: Path, **options: Any) -> str:  # noqa: ANN401 - any field
    """Return why what a folder holds does not load; `resolve` itself does not raise."""
    (config,) = resolve(_config(folder, **options))
    with pytest.raises(LoadFailed) as caught:
        load_model(config)
    return caught.value.message


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def triton(tmp_path: Path) -> Path:
    """A model of two versions in Triton's layout, without config.pbtxt."""
    for version in ("1", "3"):
        (tmp_path / "scale" / version).mkdir(parents=True)
        scale(tmp_path / "scale" / version / "model.onnx")
    return tmp_path / "scale"


def test_triton_without_configuration(triton: Path) -> None:
    """The latest version is served, alone."""
    (version,) = resolve(_config(triton))
    assert (version.version, version.backend, version.instances, version.batching) == ("3", "onnx", 1, None)
    assert version.source == str(triton / "3" / "model.onnx")
    assert load_model(version).signature.inputs[0].name == "x"
    (named,) = resolve(_config(triton, version="1"))
    assert named.source == str(triton / "1" / "model.onnx")
    assert "must have a folder of version 2 that its version_policy chooses, there are [1, 3]" in _failure(
        triton, version="2"
    )


def test_triton_configuration(triton: Path) -> None:
    """config.pbtxt gives batching, instances, device, versions and the signature that the file must have."""
    (triton / "config.pbtxt").write_text(TRITON)
    first, second = resolve(_config(triton))
    assert (first.version, second.version) == ("1", "3")
    assert first.batching == Batching(max_batch_size=8, max_delay_ms=1.5)
    assert (first.instances, first.device) == (2, "cpu")
    assert first.expects is not None
    assert [str(spec) for spec in first.expects.inputs] == ["x: FP32 (?, 4)"]
    outputs = load_model(first).run({"x": np.ones((2, 4), np.float32)})
    assert outputs["y"].shape == (2, 4)


def test_own_configuration_wins(triton: Path) -> None:
    """What the worker's configuration says wins over the folder's."""
    (triton / "config.pbtxt").write_text(TRITON)
    mine = _config(triton, instances=5, batching=Batching(max_batch_size=2), version="1")
    (version,) = resolve(mine)
    assert (version.instances, version.batching, version.version) == (5, Batching(max_batch_size=2), "1")


@pytest.mark.parametrize(
    ("change", "versions"),
    [
        ("version_policy { latest { num_versions: 1 } }", ["3"]),
        ("version_policy { latest { num_versions: 2 } }", ["1", "3"]),
        ("version_policy: { specific: { versions: [1] } }", ["1"]),
        ("version_policy: { specific { versions: 1, versions: 3 } }", ["1", "3"]),
        ("", ["3"]),
    ],
)
def test_version_policies(triton: Path, change: str, versions: list[str]) -> None:
    """Versions are chosen as Triton chooses them."""
    (triton / "config.pbtxt").write_text(change)
    assert [version.version for version in resolve(_config(triton))] == versions


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('platform: "tensorrt_plan"', "backend or platform must be one of onnxruntime_onnx, .*, got 'tensorrt_plan'"),
        ('backend: "python"', "got 'python'"),
        ("model_transaction_policy { decoupled: true }", "decoupled is not supported"),
        ('input { name: "x" data_type: TYPE_FP16 dims: [-1, 4] }', "'x' is described as FP16 .* has FP32"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [-1, 5] }', "'x' is described as FP32 .*5.* has FP32"),
        ('input { name: "z" data_type: TYPE_FP32 dims: [-1, 4] }', "input 'x' of the file is missing"),
        ('output { name: "z" data_type: TYPE_FP32 dims: [-1, 4] }', "output 'z' is described, but the file has"),
        ('input { name: "x" data_type: TYPE_ODD }', "input 'x': name and data_type must be given"),
        ('max_batch_size: "many"', "max_batch_size must be of kind int, got 'many'"),
        ("instance_group { kind: KIND_GPU gpus: [0, 1] }", "must be on one device"),
        ("instance_group [{ kind: KIND_GPU }, { kind: KIND_CPU }]", "must be on one device, got cpu, cuda"),
        (
            "version_policy { specific { versions: [7] } }",
            "must have a folder of version 1 that its version_policy chooses, there are",
        ),
        ('default_model_filename: "../../secret.onnx"', "must be inside|there is no"),
        ("max_batch_size: {", "config.pbtxt: not protobuf's text format"),
    ],
)
def test_wrong_configuration(triton: Path, text: str, said: str) -> None:
    """What is not done here, or not true of the file, is a load failure that says so."""
    (triton / "config.pbtxt").write_text(text)
    message = _failure(triton)
    assert re.search(said, message), message


def test_named_versions(triton: Path) -> None:
    """A version that the mesh names is served alone, if the folder's policy allows it."""
    (triton / "config.pbtxt").write_text("version_policy { all {} }")
    assert [found.version for found in resolve(_config(triton, version="1"))] == ["1"]
    (triton / "config.pbtxt").write_text("version_policy { latest { num_versions: 1 } }")
    assert "must have a folder of version 1 that its version_policy chooses" in _failure(triton, version="1")


def test_unknown_fields(triton: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fields that mean nothing here are ignored, in one line that names them."""
    (triton / "config.pbtxt").write_text(
        TRITON.replace("dims: [ 4 ]", "dims: [ 4 ] optional: false")
        + 'optimization { cuda { graphs: true } }\nparameters: { key: "a" value: { string_value: "b" } }\n'
    )
    assert len(resolve(_config(triton))) == 2
    (line,) = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert line.endswith("fields=input.optional,optimization,parameters")


def test_one_bad_version(triton: Path) -> None:
    """A version whose folder is empty fails alone, with the reason."""
    (triton / "config.pbtxt").write_text("version_policy { all {} }")
    (triton / "3" / "model.onnx").unlink()
    good, bad = resolve(_config(triton))
    assert load_model(good).signature.inputs
    with pytest.raises(LoadFailed, match=r"3: a model folder must have model\.yaml"):
        load_model(bad)


def test_model_yaml(tmp_path: Path) -> None:
    """model.yaml has the fields of a model in mesh.yaml; its source is inside the folder."""
    scale(tmp_path / "scale.onnx")
    (tmp_path / "model.yaml").write_text(
        "source: scale.onnx\nname: anything\nversion: '4'\ninstances: 2\nisolation: process\nmax_waiting: 7\n"
        "batching: {max_batch_size: 16, max_delay_ms: 2, pad: {T: [8, 16]}}\n"
        "warmup: [{x: [[1, 2, 3, 4]]}]\nparameters: {intra_op_num_threads: 1}\n"
    )
    (config,) = resolve(_config(tmp_path, parameters={"execution_mode": "sequential"}))
    assert (config.source, config.backend, config.version) == (str(tmp_path / "scale.onnx"), "onnx", "4")
    assert (config.instances, config.isolation, config.max_waiting) == (2, Isolation.PROCESS, 7)
    assert config.batching == Batching(max_batch_size=16, max_delay_ms=2, pad={"T": (8, 16)})
    assert config.warmup == ({"x": [[1, 2, 3, 4]]},)
    assert config.parameters == {"intra_op_num_threads": 1, "execution_mode": "sequential"}
    load_model(config)


def test_recorded_warmup(tmp_path: Path) -> None:
    """Warm-up requests may be lines of a file in the folder."""
    scale(tmp_path / "scale.onnx")
    (tmp_path / "warmup.jsonl").write_text('{"x": [[1, 2, 3, 4]]}\n\n{"x": []}\n')
    (tmp_path / "model.yaml").write_text("source: scale.onnx\nwarmup: warmup.jsonl\nhang_s: 3\n")
    (config,) = resolve(_config(tmp_path))
    assert (config.warmup, config.hang_s) == (({"x": [[1, 2, 3, 4]]}, {"x": []}), 3)
    (tmp_path / "warmup.jsonl").write_text("[1]")
    assert "model.yaml: warmup: line 1 of warmup.jsonl must be a JSON object of inputs by name" in _failure(tmp_path)


def test_every_field_of_a_model() -> None:
    """model.yaml has all fields that a model can be configured by, and no others but its name."""
    fields = {field.name for field in dataclasses.fields(ModelConfig)} - {"expects", "in_folder", "max_message_bytes"}
    assert set(ModelFile.__struct_fields__) == fields


def test_model_yaml_of_a_class(tmp_path: Path) -> None:
    """A class in the folder is a source too, once mesh.yaml names its digest, and what it declares counts."""
    (tmp_path / "net.py").write_text(
        "from graphmesh.worker import model\n"
        "@model(version=5, instances=3)\nclass Net:\n    def predict(self, x: int) -> int:\n        return x\n"
    )
    (tmp_path / "model.yaml").write_text("source: net.py:Net\n")
    (config,) = resolve(_config(tmp_path, sha256=_digest(tmp_path / "net.py")))
    assert (config.backend, config.version, config.instances) == ("python", "5", 3)
    assert load_model(config).run({"x": np.array(3)})["output"].item() == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source: ../outside.onnx", "must be inside the model's folder"),
        ("source: /etc/hostname", "must be inside the model's folder"),
        ("source: link.onnx", "must be inside the model's folder"),
        ("source: .", "not the folder itself"),
        ("source: ../outside.py:Net", "must be inside the model's folder"),
        ("source: /tmp/co:lon/model.onnx", "there is no 'co:lon/model.onnx' in the model's folder"),
        ("source: ../co:lon.onnx", "must be inside the model's folder"),
        ("source: folder.evil:Net", "only mesh.yaml can name a class outside the folder; write there: source: folder."),
        ("source: none.onnx", "there is no 'none.onnx' in the model's folder"),
        ("source: a.onnx\ninstance: 3", "unknown field `instance`"),
        ("version: '1'", "missing required field `source`"),
        ("- 1", "model.yaml: Expected `object`"),
        ("a: [", "model.yaml: "),
    ],
)
def test_wrong_model_yaml(tmp_path: Path, text: str, said: str) -> None:
    """Unknown fields and sources outside the folder are refused."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("outside.onnx", "outside.py", "co:lon.onnx"):
        (tmp_path / name).write_text("")
    (folder / "link.onnx").symlink_to(tmp_path / "outside.onnx")
    (folder / "model.yaml").write_text(text)
    assert said in _failure(folder)


CODE = "open({marker!r}, 'w').close()\nclass Net:\n    def predict(self) -> int: ...\n    forward = predict\n"


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("digest", [True, False])
def test_a_folder_cannot_allow_its_own_class(tmp_path: Path, *, digest: bool, isolation: str) -> None:
    """A Python file inside a folder runs only if the worker's own configuration names its digest."""
    marker, path = tmp_path / "ran", tmp_path / "evil.py"
    path.write_text(CODE.format(marker=str(marker)))
    text = f"sha256: {_digest(path)}\n" if digest else ""
    (tmp_path / "model.yaml").write_text(f"source: evil.py:Net\nisolation: {isolation}\n{text}")
    message = _failure(tmp_path)
    assert message.endswith(f"add this line to the model in mesh.yaml: sha256: {_digest(path)}"), message
    (unresolved,) = resolve(_config(tmp_path))
    with pytest.raises(LoadFailed, match=r"in mesh\.yaml"):
        load_model(config_from_wire(config_to_wire(unresolved)))  # as the model's own process does
    with pytest.raises(LoadFailed, match=r"in mesh\.yaml"):
        load_model(_config(tmp_path, version="1", instances=1))
    assert not marker.exists()
    (config,) = resolve(_config(tmp_path, sha256=_digest(path)))
    assert (config.backend, marker.exists()) == ("python", True)


def test_a_class_in_a_version_folder(tmp_path: Path) -> None:
    """The same holds of a folder in the folder, whatever describes that one."""
    marker = tmp_path / "ran"
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "evil.py").write_text(CODE.format(marker=str(marker)))
    (tmp_path / "1" / "model.yaml").write_text("source: evil.py:Net\nbackend: python\n")
    assert "loading a Python file can run any code" in _failure(tmp_path)
    assert not marker.exists()


def test_a_folder_cannot_allow_its_own_pickle(tmp_path: Path) -> None:
    """A pickle needs the digest in the worker's own configuration; the folder's does not count, not even a true one."""
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])))
    line = f"add this line to the model in mesh.yaml: sha256: {_digest(path)}"
    (tmp_path / "model.yaml").write_text("source: model.pkl\n")
    assert line in _failure(tmp_path)
    (tmp_path / "model.yaml").write_text(f"source: model.pkl\nsha256: {_digest(path)}\n")
    assert "a folder cannot allow its own code to run" in _failure(tmp_path)
    assert line in _failure(tmp_path)
    (config,) = resolve(_config(tmp_path, sha256=_digest(path)))
    assert load_model(config).signature.inputs[0].name == "input"
    assert "sha256 must be 0000" in _failure(tmp_path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("source", "name", "value"),
    [("model.skops", "trusted", ["a.Type"]), ("model.safetensors", "module", "evil.py:Net"), ("m.pt", "module", "a:B")],
)
def test_a_folder_cannot_trust_itself(tmp_path: Path, source: str, name: str, value: object) -> None:
    """Types of skops files and module classes are named by the worker's own configuration, which then counts."""
    marker, line = tmp_path / "ran", f"parameters: {json.dumps({name: value})}"
    (tmp_path / "evil.py").write_text(CODE.format(marker=str(marker)))
    (tmp_path / source).write_bytes(safetensors.numpy.save({"w": np.ones(1)}))
    (tmp_path / "model.yaml").write_text(f"source: {source}\n{line}\n")
    assert f"add this line to the model in mesh.yaml: {line}" in _failure(tmp_path)
    assert not marker.exists()
    (config,) = resolve(_config(tmp_path, parameters={name: "mine"}))
    assert config.parameters == {name: "mine"}


def test_version_folders_stay_inside(triton: Path, tmp_path: Path) -> None:
    """A version folder that is a link leading out is refused."""
    (triton / "3" / "model.onnx").rename(tmp_path / "model.onnx")
    (triton / "3").rmdir()
    (triton / "3").symlink_to(tmp_path)
    assert "'3' must be inside the model's folder" in _failure(triton)


def _mlserver(folder: Path, **settings: Any) -> Path:  # noqa: ANN401 - JSON
    (folder / "model-settings.json").write_bytes(orjson.dumps({"name": "m", **settings}))
    return folder


def test_mlserver(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """model-settings.json gives the backend, the file, the version and batching."""
    skops.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), tmp_path / "m.skops")
    folder = _mlserver(
        tmp_path,
        implementation="mlserver_sklearn.SKLearnModel",
        max_batch_size=5,
        max_batch_time=0.01,
        platform="sklearn",
        parameters={"uri": "./m.skops", "version": "2", "content_type": "np"},
    )
    (config,) = resolve(_config(folder))
    assert (config.backend, config.version) == ("sklearn", "2")
    assert config.batching == Batching(max_batch_size=5, max_delay_ms=10)
    np.testing.assert_allclose(load_model(config).run({"input": np.array([[2.0]])})["output"], [4])
    assert "fields=platform,parameters.content_type" in caplog.text


def test_mlserver_without_a_file(tmp_path: Path) -> None:
    """Without a uri the runtime's usual names are looked for; pickles need their digest as everywhere."""
    folder = _mlserver(tmp_path, implementation="mlserver_sklearn.SKLearnModel")
    assert "there is none of model.skops, model.joblib" in _failure(folder)
    (folder / "model.joblib").write_bytes(b"x")
    assert "sha256: " in _failure(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"implementation": "models.MyModel"},
            "got 'models.MyModel'; a class of your own is served by source: file.py",
        ),
        ({}, "missing required field `implementation`"),
        (
            {"implementation": "mlserver_xgboost.XGBoostModel", "parameters": {"uri": "../m.ubj"}},
            "there is no '../m.ubj'",
        ),
        ({"implementation": "mlserver_xgboost.XGBoostModel", "max_batch_size": "5"}, "Expected `int`"),
        ({"implementation": "mlserver_mlflow.MLflowRuntime"}, "MLmodel cannot be read"),
    ],
)
def test_wrong_mlserver(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    """What MLServer would run as code, and what leads out of the folder, is refused."""
    assert said in _failure(_mlserver(tmp_path, **settings))


def test_single_file(tmp_path: Path) -> None:
    """A folder with one file called model is that file; its external data may lie beside it."""
    scale(tmp_path / "model.onnx")
    (tmp_path / "model.data").write_bytes(b"")
    (tmp_path / "README.md").write_text("")
    (config,) = resolve(_config(tmp_path))
    assert (config.source, config.backend) == (str(tmp_path / "model.onnx"), "onnx")
    (tmp_path / "model.txt").write_text("")
    assert "the folder holds model.onnx, model.txt; name one of them" in _failure(tmp_path)


def test_empty_folder(tmp_path: Path) -> None:
    """A folder of nothing says what would be understood."""
    assert "must have model.yaml, MLmodel, model-settings.json, config.pbtxt, version folders" in _failure(tmp_path)


def test_reason_may_pass(tmp_path: Path) -> None:
    """What could not be read at first is read again when it is loaded."""
    (config,) = resolve(_config(tmp_path))
    scale(tmp_path / "model.onnx")
    assert load_model(config).signature.inputs[0].name == "x"


@pytest.mark.parametrize(
    ("ending", "backend"),
    [
        ("m.onnx", "onnx"),
        ("m.pt2", "torch"),
        ("m.safetensors", "torch"),
        ("m.pt", "torch"),
        ("m.skops", "sklearn"),
        ("m.joblib", "sklearn"),
        ("m.json", "xgboost"),
        ("m.ubj", "xgboost"),
        ("m.txt", "lightgbm"),
    ],
)
def test_backend_is_inferred(tmp_path: Path, ending: str, backend: str) -> None:
    """A file's ending chooses the backend unless one is named."""
    assert resolve(_config(tmp_path / ending))[0].backend == backend
    assert resolve(_config(tmp_path / ending, backend="python"))[0].backend == "python"


def test_unknown_endings(tmp_path: Path) -> None:
    """A file of another kind is refused with the kinds there are."""
    (tmp_path / "m.h5").write_text("")
    assert "a model file must end in .onnx, .pt2" in _failure(tmp_path / "m.h5")
    assert "there is no such file" in _failure(tmp_path / "m.keras")


def test_pipes_in_folders(tmp_path: Path) -> None:
    """Nothing waits for a pipe that stands where a file should."""
    os.mkfifo(tmp_path / "model.yaml")
    os.mkfifo(tmp_path / "model.onnx")
    assert "a model folder must have" in _failure(tmp_path)


def test_textproto() -> None:
    """Nested messages, lists, strings, numbers and comments are read; fields may repeat."""
    text = 'a: 1 # one\na: -2\nb { c: "x" \'y\' d: TRUE }\nb: < e: [1.5, 2] >\nf: [{ g: 1 }, { g: 2 }]; h: "\\n"'
    assert parse(text) == {
        "a": [1, -2],
        "b": [{"c": ["xy"], "d": ["TRUE"]}, {"e": [1.5, 2]}],
        "f": [{"g": [1]}, {"g": [2]}],
        "h": ["\n"],
    }


@pytest.mark.parametrize("text", ["a: {", "a: [1", ": 1", "a: 'x", "}", "a" + "{a" * 100])
def test_wrong_textproto(text: str) -> None:
    """What is not in the format is refused."""
    with pytest.raises(InvalidRequest, match="not protobuf's text format"):
        parse(text)


@given(st.text(alphabet="ab:{}[]<>,;\"'#-1. \n", max_size=60))
def test_any_text(text: str) -> None:
    """Whatever text comes, the answer is a message or a refusal."""
    with contextlib.suppress(InvalidRequest):
        parse(text)
