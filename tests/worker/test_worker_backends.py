"""Loading models: Python classes from files and modules, ONNX files, and everything that is wrong with them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphmesh.core.errors import LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model, public_text

if TYPE_CHECKING:
    from pathlib import Path

GREETER = """
import neighbour_of_greeter
class Greeter:
    unloaded = False
    def __init__(self, greeting="hello"):
        self.greeting = greeting
    def load(self):
        self.loaded = True
    def predict(self, name: str) -> str:
        return f"{self.greeting} {name}{neighbour_of_greeter.MARK}" if self.loaded else "not loaded"
    def unload(self):
        type(self).unloaded = True
"""


def _config(source: object, **parameters: object) -> ModelConfig:
    return ModelConfig(name="m", source=str(source), parameters=parameters)


def _onnx(path: Path, *, kind: int = TensorProto.FLOAT) -> Path:
    """Write a model that gives its input back."""
    x = helper.make_tensor_value_info("x", kind, ["batch", 3, "not a name", None])
    y = helper.make_tensor_value_info("y", kind, ["batch", 3, "not a name", None])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def test_class_from_a_file(tmp_path: Path) -> None:
    """A class is constructed with its parameters and loaded; it can import its neighbours and be unloaded."""
    (tmp_path / "greeter.py").write_text(GREETER)
    (tmp_path / "neighbour_of_greeter.py").write_text("MARK = '!'")
    model = load_model(_config(f"{tmp_path}/greeter.py:Greeter", greeting="hi"))
    outputs = model.run({"name": np.array(b"you", dtype=object)})
    assert isinstance(outputs, dict)
    assert outputs["output"].item() == b"hi you!"
    assert (model.is_async, model.platform.split()[0]) == (False, "python")
    again = load_model(_config(f"{tmp_path}/greeter.py:Greeter"))
    again.unload()
    module = next(module for name, module in sys.modules.items() if name.startswith("_graphmesh_greeter_"))
    assert module.Greeter.unloaded


def test_class_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class is found in a module on the current path."""
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "models.py").write_text(
        "class Same:\n    async def predict(self, x: float) -> float:\n        return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_model(_config("a_package.models:Same")).is_async


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere.py:Model", "nowhere.py:Model: there is no file nowhere.py"),
        ("no.such.module:Model", "ModuleNotFoundError"),
        ("greeter.py", "source must be file.py:Class"),
        ("{tmp}/bad.py:Missing", "'Missing' must be a class with a predict method"),
        ("{tmp}/bad.py:Untypd", "'Untypd' must be a class with a predict method; did you mean 'Untyped'?"),
        ("{tmp}/bad.py:NoPredict", "'NoPredict' must be a class with a predict method"),
        ("{tmp}/bad.py:Untyped", "'x' of predict has no annotation"),
        ("{tmp}/bad.py:Raises", "OSError: cannot read weights.bin"),
        ("{tmp}/bad.py:Exits", "SystemExit: 3"),
        ("{tmp}/syntax.py:Model", "SyntaxError"),
        ("{tmp}/nothing.onnx", "there is no such file"),
    ],
)
def test_load_failures_say_which_and_why(tmp_path: Path, source: str, said: str) -> None:
    """Each way to fail names the file and the reason, and no folder."""
    (tmp_path / "bad.py").write_text(
        "class NoPredict: ...\n"
        "class Untyped:\n    def predict(self, x): ...\n"
        "class Raises:\n    def load(self): raise OSError('cannot read /home/me/weights.bin')\n"
        "    def predict(self) -> int: ...\n"
        "class Exits:\n    def load(self): raise SystemExit(3)\n    def predict(self) -> int: ...\n"
    )
    (tmp_path / "syntax.py").write_text("class")
    with pytest.raises(LoadFailed) as caught:
        load_model(_config(source.format(tmp=tmp_path)))
    assert said in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert "/home" not in caught.value.message


def test_wrong_constructor_arguments(tmp_path: Path) -> None:
    """Parameters that the constructor does not take are a load failure."""
    (tmp_path / "plain.py").write_text("class Plain:\n    def predict(self) -> int: ...\n")
    with pytest.raises(LoadFailed, match="TypeError"):
        load_model(_config(f"{tmp_path}/plain.py:Plain", size=3))


def test_unknown_backend() -> None:
    """A backend that does not exist is refused with those that do."""
    with pytest.raises(LoadFailed, match=r"backend must be one of lightgbm, mlflow, onnx, .*, got 'caffe'"):
        load_model(ModelConfig(name="m", source="x", backend="caffe"))


def test_onnx(tmp_path: Path) -> None:
    """An ONNX file needs no code: names, datatypes and shapes are its own."""
    model = load_model(_config(_onnx(tmp_path / "same.onnx")))
    assert [str(spec) for spec in model.signature.inputs] == ["x: FP32 (batch, 3, ?, ?)"]
    x = np.ones((2, 3, 1, 1), dtype=np.float32)
    outputs = model.run({"x": x})
    assert isinstance(outputs, dict)
    np.testing.assert_array_equal(outputs["y"], x)
    assert model.platform.startswith("onnxruntime ")
    model.unload()


def test_onnx_strings(tmp_path: Path) -> None:
    """String tensors are BYTES text outside and str inside."""
    model = load_model(_config(_onnx(tmp_path / "text.onnx", kind=TensorProto.STRING)))
    assert model.signature.inputs[0].text
    x = np.array([[[["né".encode()]], [[b"b"]], [[b"c"]]]], dtype=object)
    outputs = model.run({"x": x})
    assert isinstance(outputs, dict)
    assert outputs["y"].tolist() == x.tolist()


@pytest.mark.parametrize("damage", ["truncated", "random", "empty"])
def test_corrupt_onnx(tmp_path: Path, damage: str) -> None:
    """A damaged file is a load failure that names it."""
    path = _onnx(tmp_path / "broken.onnx")
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "random": bytes(range(256)), "empty": b""}[damage])
    with pytest.raises(LoadFailed, match=r"broken\.onnx: ") as caught:
        load_model(_config(path))
    assert str(tmp_path) not in caught.value.message


def test_onnx_that_takes_no_tensors(tmp_path: Path) -> None:
    """Sequences and maps are refused by name."""
    kind = helper.make_tensor_sequence_value_info("xs", TensorProto.FLOAT, None)
    out = helper.make_tensor_value_info("n", TensorProto.INT64, [])
    graph = helper.make_graph([helper.make_node("SequenceLength", ["xs"], ["n"])], "g", [kind], [out])
    path = tmp_path / "sequence.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    with pytest.raises(LoadFailed, match="'xs' is a seq"):
        load_model(_config(path))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Load model from /a/b/c.onnx failed", "Load model from c.onnx failed"),
        ("No such file: '/home/me/x.bin'", "No such file: 'x.bin'"),
        ("two\nlines", "two lines"),
        ("1/2 of and/or stays", "1/2 of and/or stays"),
        ("~/private/key", "key"),
    ],
)
def test_public_text(text: str, shown: str) -> None:
    """Folders are cut from what clients see."""
    assert public_text(text) == shown
