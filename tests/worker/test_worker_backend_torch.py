"""PyTorch: exported programs, weights for a class, TorchScript; nothing that could carry code without its digest."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.export import Dim

from graphmesh.core.errors import InvalidTensor, LoadFailed
from graphmesh.core.tensor import DTYPES
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model
from tests.worker.evil import Evil, evil_pickle

if TYPE_CHECKING:
    from pathlib import Path

NET = """
from typing import Annotated, TypedDict
import torch

class Scores(TypedDict):
    scores: Annotated[torch.Tensor, "FP32 (N, 3)"]
    best: Annotated[torch.Tensor, "INT64 (N,)"]

class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.linear = torch.nn.Linear(width, 3)
    def forward(self, x: Annotated[torch.Tensor, "FP32 (N, 4)"]) -> Scores:
        x += 0
        scores = self.linear(x)
        return {"scores": scores, "best": scores.argmax(1)}

class Bare(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
    def forward(self, x):
        scores = self.linear(x)
        return scores, scores.argmax(1)

class Text(torch.nn.Module):
    def forward(self, x: str) -> str: ...

class Predictor:
    def forward(self): ...
"""
X = np.arange(8, dtype=np.float32).reshape(2, 4)


class Scale(torch.nn.Module):  # type: ignore[misc]  # torch is Any to mypy here
    """Multiplies, and adds up."""

    def forward(self, x: torch.Tensor, factor: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return both."""
        return {"scaled": x * factor, "sum": x.sum(1)}


class Linear(torch.nn.Module):  # type: ignore[misc]
    """What `Net` is, with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        result: torch.Tensor = self.linear(x)
        return result


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _load(path: Path, **options: Any) -> Any:  # noqa: ANN401 - any field, any model
    return load_model(ModelConfig(name="m", source=str(path), **options))


def _export(path: Path, module: torch.nn.Module, *args: Any, **options: Any) -> Path:  # noqa: ANN401
    torch.export.save(torch.export.export(module.eval(), args, **options), str(path))
    return path


@pytest.fixture
def scale(tmp_path: Path) -> Path:
    """An exported program whose batch is 1 to 64 rows."""
    shapes = {"x": {0: Dim("batch", min=1, max=64)}, "factor": None}
    return _export(tmp_path / "scale.pt2", Scale(), torch.ones(3, 4), torch.ones(4), dynamic_shapes=shapes)


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, torch.Tensor]:
    """Weights for the classes of net.py, which is there too."""
    (tmp_path / "net.py").write_text(NET)
    torch.manual_seed(1)
    return dict(Linear().state_dict())


def test_exported_program(scale: Path) -> None:
    """A .pt2 file's names, datatypes, dynamic sizes and their bounds are its own."""
    model = _load(scale, sha256=_digest(scale))
    assert [str(spec) for spec in model.signature.inputs] == ["x: FP32 (N, 4)", "factor: FP32 (4,)"]
    assert [str(spec) for spec in model.signature.outputs] == ["scaled: FP32 (N, 4)", "sum: FP32 (N,)"]
    factor = np.array([1, 2, 3, 4], np.float32)
    outputs = model.run({"x": X, "factor": factor})
    np.testing.assert_array_equal(outputs["scaled"], X * factor)
    model.signature.check_outputs(outputs)
    assert model.platform.startswith("torch 2.")
    with pytest.raises(InvalidTensor, match="input 'x': axis 0 must be 1 to 64, got 65"):
        model.run({"x": np.ones((65, 4), np.float32), "factor": factor})
    model.unload()


def test_output_names(tmp_path: Path) -> None:
    """One output is `output`, several are counted, and the configuration can name them."""

    class Two(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + 1, x.sum()

    one = _export(tmp_path / "one.pt2", Linear(), torch.ones(1, 4))
    assert [spec.name for spec in _load(one, sha256=_digest(one)).signature.outputs] == ["output"]
    two = _export(tmp_path / "two.pt2", Two(), torch.ones(1, 4))
    assert [str(spec) for spec in _load(two, sha256=_digest(two)).signature.outputs] == [
        "output_0: FP32 (1, 4)",
        "output_1: FP32 ()",
    ]
    named = _load(two, sha256=_digest(two), parameters={"outputs": ["a", "b"]})
    assert [spec.name for spec in named.signature.outputs] == ["a", "b"]
    with pytest.raises(LoadFailed, match="'outputs' must name 2 outputs, got 1"):
        _load(two, sha256=_digest(two), parameters={"outputs": ["a"]})


def test_exported_program_needs_its_digest(scale: Path, tmp_path: Path) -> None:
    """A .pt2 file can name any function of torch, so it is not even opened without its digest."""
    with pytest.raises(LoadFailed, match=rf"a \.pt2 file can run any code.*sha256: {_digest(scale)}"):
        _load(scale)
    evil = tmp_path / "evil.pt2"
    torch.save(Evil(tmp_path / "marker"), evil)
    with pytest.raises(LoadFailed, match="sha256"):
        _load(evil)
    with pytest.raises(LoadFailed, match="sha256 must be"):
        _load(evil, sha256="0" * 64)
    assert not (tmp_path / "marker").exists()


def test_damaged_program(scale: Path) -> None:
    """A damaged program is a load failure, even with its digest."""
    scale.write_bytes(scale.read_bytes()[:900])
    with pytest.raises(LoadFailed, match=r"scale\.pt2: "):
        _load(scale, sha256=_digest(scale))


def test_safetensors(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Weights alone need the class they are for; its annotations are the signature."""
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    model = _load(path, parameters={"module": "net.py:Net", "arguments": {"width": 4}})
    assert [str(spec) for spec in model.signature.inputs] == ["x: FP32 (N, 4)"]
    frozen = np.frombuffer(X.tobytes(), np.float32).reshape(X.shape)
    outputs = model.run({"x": frozen})
    expected = X @ weights["linear.weight"].numpy().T + weights["linear.bias"].numpy()
    np.testing.assert_allclose(outputs["scores"], expected, rtol=1e-5)
    np.testing.assert_array_equal(outputs["best"], expected.argmax(1))
    model.signature.check_outputs(outputs)


def test_old_versions_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch whose `weights_only` can be led around is not used."""
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    with pytest.raises(LoadFailed, match=r"torch must be 2\.10 or later: weights could run code before; got 2\.9\.1"):
        _load(tmp_path / "model.pt")


def test_state_dict(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    """A state dict is read as weights only; a class without annotations is described by the configuration."""
    torch.save(weights, tmp_path / "model.pt")
    parameters = {
        "module": "net.py:Bare",
        "inputs": {"x": "FP32 (N, 4)"},
        "outputs": {"scores": "FP32 (N, 3)", "best": "INT64 (N,)"},
    }
    model = _load(tmp_path / "model.pt", parameters=parameters, instances=2)
    assert list(model.run({"x": X})) == ["scores", "best"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "holds weights only; parameters must name the class they are for: module: file.py:Class"),
        ({"module": "net.py:Bare"}, "'x' of forward has no annotation.*; or give inputs and outputs in parameters"),
        ({"module": "net.py:Bare", "inputs": {"x": "FP32 (N, 4)"}}, "outputs is missing"),
        ({"module": "net.py:Bare", "inputs": {"x": "F (N)"}, "outputs": {}}, "a type must look like"),
        ({"module": "net.py:Missing"}, "'Missing' must be a class with a forward method"),
        ({"module": "net.py:Predictor"}, "Predictor must be a torch.nn.Module"),
        ({"module": "net.py:Net", "arguments": {"width": 5}}, "size mismatch for linear.weight"),
        ({"module": "net.py:Net", "arguments": 3}, "'arguments' must be keyword arguments by name, got 3"),
        ({"module": "net.py:Net", "device": "cpu"}, "parameters must be of module, arguments, inputs, outputs"),
        ({"module": "nowhere.py:Net"}, "there is no file nowhere.py"),
    ],
)
def test_wrong_parameters(
    tmp_path: Path, weights: dict[str, torch.Tensor], parameters: dict[str, Any], said: str
) -> None:
    """Each thing that is missing or wrong is named."""
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(LoadFailed, match=said):
        _load(tmp_path / "model.safetensors", parameters=parameters)


def test_no_text(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    """There are no tensors of text in torch."""
    save_file({"unused": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "text.py").write_text(
        NET.replace(
            "class Text(torch.nn.Module):",
            (
                "class Text(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                "        self.unused = torch.nn.Parameter(torch.ones(1))"
            ),
        )
    )
    with pytest.raises(LoadFailed, match="'x' must be of numbers: torch has no tensors of TEXT"):
        _load(tmp_path / "model.safetensors", parameters={"module": "text.py:Text"})


def test_hostile_weights(tmp_path: Path) -> None:
    """Whatever a weights file holds, nothing in it runs, with a digest or without."""
    marker = tmp_path / "marker"
    torch.save({"w": Evil(marker)}, tmp_path / "evil.pt")
    torch.save(Linear(), tmp_path / "module.pth")
    (tmp_path / "raw.pt").write_bytes(evil_pickle(marker))
    (tmp_path / "evil.safetensors").write_bytes(evil_pickle(marker))
    for name in ("evil.pt", "module.pth", "raw.pt", "evil.safetensors"):
        for digest in ("", _digest(tmp_path / name)):
            with pytest.raises(LoadFailed, match=f"{name}: "):
                _load(tmp_path / name, sha256=digest, parameters={"module": "net.py:Net"})
    assert not marker.exists()
    with pytest.raises(LoadFailed, match=r"save model\.state_dict\(\)"):
        _load(tmp_path / "module.pth")


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("damage", ["truncated", "random", "empty"])
def test_damaged_weights(tmp_path: Path, weights: dict[str, torch.Tensor], ending: str, damage: str) -> None:
    """A damaged file is a load failure that names it."""
    path = tmp_path / f"model.{ending}"
    save_file(weights, path) if ending == "safetensors" else torch.save(weights, path)
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "random": bytes(range(256)), "empty": b""}[damage])
    with pytest.raises(LoadFailed, match=rf"model\.{ending}: "):
        _load(path, parameters={"module": "net.py:Net"})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_script(tmp_path: Path) -> None:
    """TorchScript needs its digest, and a description of what it takes."""
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(Linear()), str(path))
    parameters = {"inputs": {"x": "FP32 (N, 4)"}, "outputs": {"scores": "FP32 (N, 3)"}}
    with pytest.raises(LoadFailed, match="loading TorchScript can run any code"):
        _load(path, parameters=parameters)
    with pytest.raises(LoadFailed, match="TorchScript does not say what it takes"):
        _load(path, sha256=_digest(path))
    model = _load(path, sha256=_digest(path), parameters=parameters)
    assert model.run({"x": X})["scores"].shape == (2, 3)


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name not in {"BYTES", "UINT16", "UINT32", "UINT64"}])
def test_datatypes(tmp_path: Path, datatype: str) -> None:
    """Every datatype goes through, writable or not, scalar, empty or not in C order."""
    (tmp_path / "same.py").write_text(
        "import torch\nclass Same(torch.nn.Module):\n    def forward(self, x):\n        return x.clone()\n"
    )
    save_file({}, tmp_path / "model.safetensors")
    types = {"inputs": {"x": f"{datatype} (N, ?)"}, "outputs": {"y": f"{datatype} (N, ?)"}}
    model = _load(tmp_path / "model.safetensors", parameters={"module": "same.py:Same", **types})
    whole = np.arange(12).reshape(3, 4).astype(DTYPES[datatype])
    read_only = whole.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + whole.tobytes(), np.uint8)[1:].view(DTYPES[datatype]).reshape(3, 4)
    for x in (whole, read_only, unaligned, whole.T, whole[:0], np.array(1, DTYPES[datatype])):
        y = model.run({"x": x})["y"]
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x)


def test_read_only_inputs_are_lent(scale: Path) -> None:
    """A program that writes to no input gets read-only arrays without a copy; others get a copy."""
    model = _load(scale, sha256=_digest(scale))
    frozen = np.frombuffer(X.tobytes(), np.float32)
    assert model._lend(frozen).data_ptr() == frozen.ctypes.data


def test_threads_are_pinned(scale: Path) -> None:
    """Each calling thread uses the instance's share of the cores, whatever other threads use."""
    models = {share: _load(scale, sha256=_digest(scale), instances=instances) for share, instances in _shares()}
    used: dict[int, list[int]] = {share: [] for share in models}
    barrier = threading.Barrier(len(models))

    def call(share: int) -> None:
        for _ in range(3):
            barrier.wait()
            models[share].run({"x": X, "factor": np.ones(4, np.float32)})
            used[share].append(torch.get_num_threads())

    threads = [threading.Thread(target=call, args=(share,)) for share in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used == {share: [share] * 3 for share in models}


def _shares() -> list[tuple[int, int]]:
    cores = len(os.sched_getaffinity(0))
    return [(cores, 1), (1, cores)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_that_is_not_there(scale: Path) -> None:
    """Asking for a GPU that torch does not find says so."""
    with pytest.raises(LoadFailed, match="device 'cuda:1' is not there: torch finds 0 GPUs"):
        _load(scale, sha256=_digest(scale), device="cuda:1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU and a torch with CUDA")
def test_gpu(scale: Path, tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    """On a GPU programs and modules give the same."""
    factor = np.ones(4, np.float32)
    program = _load(scale, sha256=_digest(scale), device="cuda")
    np.testing.assert_allclose(program.run({"x": X, "factor": factor})["scaled"], X)
    save_file(weights, tmp_path / "model.safetensors")
    options = {"parameters": {"module": "net.py:Net"}}
    on_cpu = _load(tmp_path / "model.safetensors", device="cpu", **options).run({"x": X.copy()})
    on_gpu = _load(tmp_path / "model.safetensors", device="cuda:0", **options).run({"x": X.copy()})
    np.testing.assert_allclose(on_gpu["scores"], on_cpu["scores"], rtol=1e-3)
