"""Tensors that stay where a model made them: torch and ONNX Runtime, alone and in batches, and what needs a host.

There need be no GPU: the machinery is the same for a CPU that models say they keep tensors on, which tests have them
say. What only a GPU shows is in the tests marked so.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import save_file
from torch.export import Dim

from graphmesh.core.errors import LoadFailed, SignatureMismatch
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.core.tensor import DTYPES, Tensor
from graphmesh.registry import ModelState
from graphmesh.worker import Batching, ModelConfig
from graphmesh.worker.backends import load_model
from graphmesh.worker.backends import onnx as onnx_backend
from graphmesh.worker.backends.onnx_types import OrtTensor
from graphmesh.worker.backends.torch_types import TorchTensor, kept, lent
from graphmesh.worker.batching.call import Call
from graphmesh.worker.hosting import model as hosting_model
from graphmesh.worker.hosting.device import DeviceTensor, concatenate, on_host
from graphmesh.worker.hosting.memory import LoadMeter
from graphmesh.worker.hosting.model import Model
from graphmesh.worker.metrics.families import Metrics
from tests.worker.onnx_models import identity, scale

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from graphmesh.worker.hosting.device import AnyTensor

    Host = Callable[..., Awaitable[Model]]

MODULES = """
from typing import Annotated, TypedDict
import torch

Rows = Annotated[torch.Tensor, "FP32 (N, 4)"]

class Out(TypedDict):
    y: Rows
    at: Annotated[torch.Tensor, "INT64 (N,)"]

class Double(torch.nn.Module):
    '''Also says where its input is.'''
    def forward(self, x: Rows) -> Out:
        return {"y": x * 2, "at": torch.full((len(x),), x.data_ptr())}

class Writes(torch.nn.Module):
    def forward(self, x: Rows) -> Rows:
        x += 1
        return x

class Odd(torch.nn.Module):
    def forward(self, x: Rows) -> TypedDict("Odd", {"turned": Annotated[torch.Tensor, "FP32 (4, N)"]}):
        return {"turned": x.T}
"""
X = np.arange(8, dtype=np.float32).reshape(2, 4)
PURE = {"writes_inputs": False}
NUMBERS = [name for name in DTYPES if name != "BYTES"]
HAS_TORCH_GPU = torch.cuda.is_available()
HAS_ONNX_GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
needs_torch = pytest.mark.skipif(not HAS_TORCH_GPU, reason="needs a GPU and a torch with CUDA")
needs_onnx = pytest.mark.skipif(not HAS_ONNX_GPU, reason="needs a GPU and onnxruntime-gpu")
needs_both = pytest.mark.skipif(
    not (HAS_TORCH_GPU and HAS_ONNX_GPU), reason="needs a GPU, a torch with CUDA and onnxruntime-gpu"
)
ON_TORCH = ["cpu", pytest.param("cuda:0", marks=[pytest.mark.gpu, needs_torch])]
ON_ONNX = ["cpu", pytest.param("cuda:0", marks=[pytest.mark.gpu, needs_onnx])]
ON_BOTH = ["cpu", pytest.param("cuda:0", marks=[pytest.mark.gpu, needs_both])]


class Fake(DeviceTensor):
    """A tensor of a framework of its own, which counts its copies."""

    __slots__ = ("copies",)

    def __init__(self, array: Tensor, device: str = "far:0") -> None:
        super().__init__(array, device=device, dtype=array.dtype, shape=array.shape)
        self.copies = 0

    def _copy(self) -> Tensor:
        self.copies += 1
        return np.array(self.array, self.dtype)


@pytest.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    """Load a class of modules.py, or a file; models that are not on a GPU say that they keep tensors on the CPU."""
    (tmp_path / "modules.py").write_text(MODULES)
    save_file({}, tmp_path / "none.safetensors")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hosting_model, "load_model", _load)
    models: list[Model] = []

    async def _host(source: str, *, device: str = "cpu", **options: Any) -> Model:  # noqa: ANN401 - any field
        path, parameters = tmp_path / source, dict(options.pop("parameters", {}))
        if not path.exists():
            path, parameters = tmp_path / "none.safetensors", {"module": f"modules.py:{source}", **parameters}
        config = ModelConfig(name="m", source=str(path), device=device, parameters=parameters, **options)
        models.append(Model(config, worker_id="w", metrics=Metrics(), meter=LoadMeter()))
        await models[-1].load()
        assert models[-1].state is ModelState.AVAILABLE, models[-1].message
        return models[-1]

    yield _host
    for model in models:
        await model.unload()


def _load(config: ModelConfig) -> Any:  # noqa: ANN401 - any model
    loaded: Any = load_model(config)
    loaded.device = loaded.device or "cpu"
    return loaded


async def _call(model: Model, *keep: str, **inputs: Any) -> Mapping[str, Any]:  # noqa: ANN401 - arrays, or kept
    response = await model.infer(InferenceRequest(model="m", inputs=inputs, keep=keep))
    return response.outputs


def _never(*_: object) -> None:
    pytest.fail("a tensor was copied to the host")


@pytest.fixture
def no_copies(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Fail the test, once called, if any tensor is copied to the host."""

    def _forbid() -> None:
        monkeypatch.setattr(TorchTensor, "_copy", _never)
        monkeypatch.setattr(OrtTensor, "_copy", _never)

    return _forbid


def _kinds(outputs: Mapping[str, Any]) -> set[type]:
    return {type(tensor) for tensor in outputs.values()}


def test_a_tensor_is_described_without_a_copy() -> None:
    """Signatures are checked by what a tensor says of itself; it is copied when its array is wanted, once."""
    tensor = Fake(X)
    signature = Signature((TensorSpec(name="x", datatype="FP32", shape=("N", 4)),), ())
    signature.check_inputs({"x": tensor})  # type: ignore[dict-item]  # checked by its dtype and shape
    for wrong in (Fake(X[:, :3]), Fake(X[0]), Fake(X.astype(np.int64))):
        with pytest.raises(SignatureMismatch, match=r"input 'x' must be FP32 \(N, 4\), got"):
            signature.check_inputs({"x": wrong})  # type: ignore[dict-item]
        assert wrong.copies == 0
    assert (tensor.device, tensor.dtype, tensor.shape, tensor.ndim, tensor.nbytes) == ("far:0", X.dtype, (2, 4), 2, 32)
    assert tensor.copies == 0
    assert tensor.host() is tensor.host()
    assert tensor.copies == 1


def test_on_host() -> None:
    """Arrays stay what they are, and a mapping of arrays is the very same mapping."""
    arrays = {"x": X, "text": np.array([b"a"], dtype=object)}
    assert on_host(arrays) is arrays
    assert on_host({}) == {}
    tensor = Fake(X)
    found = on_host({**arrays, "y": tensor})
    assert found["text"] is arrays["text"]
    assert found["y"] is tensor.host()


def test_rows_and_joins_of_a_framework_without_them() -> None:
    """What a framework cannot do on the device is done on the host."""
    np.testing.assert_array_equal(np.asarray(Fake(X)[1:]), X[1:])
    pairs: tuple[tuple[AnyTensor, AnyTensor], ...] = (
        (Fake(X), Fake(X)),
        (Fake(X), X),
        (X, Fake(X)),
        (Fake(X), Fake(X, "far:1")),
        (X, X),
    )
    for tensors in pairs:
        joined = concatenate(tensors)
        assert isinstance(joined, np.ndarray)
        np.testing.assert_array_equal(joined, np.concatenate([X, X]))


def test_joins_on_one_device() -> None:
    """Tensors of one framework are joined where they are if that is one place, in the order they are given."""
    here = kept(torch.ones(1, 4), "cpu")
    assert here is not None
    there = TorchTensor(torch.zeros(2, 4), device="cpu:far", dtype=here.dtype, shape=(2, 4))
    joined = concatenate([here, here[:0], here])
    assert isinstance(joined, TorchTensor)
    assert (joined.device, joined.dtype, joined.shape) == ("cpu", here.dtype, (2, 4))
    apart = concatenate([there, here])
    assert isinstance(apart, np.ndarray)
    assert apart.sum(axis=1).tolist() == [0, 0, 4]


@pytest.mark.parametrize("device", ON_TORCH)
async def test_torch_to_torch(host: Host, device: str, no_copies: Callable[[], None]) -> None:
    """The second model's input is the first one's output, in the same memory."""
    first, second = await host("Double", device=device), await host("Double", device=device, parameters=PURE)
    assert (first.device, second.device) == (device, device)
    made = await _call(first, "y", x=X)
    assert isinstance(made["y"], TorchTensor)
    assert isinstance(made["at"], np.ndarray)
    assert (made["y"].device, made["y"].dtype, made["y"].shape) == (device, DTYPES["FP32"], (2, 4))
    no_copies()
    outputs = await _call(second, x=made["y"])
    assert outputs["at"].tolist() == [made["y"].array.data_ptr()] * 2
    assert _kinds(outputs) == {np.ndarray}
    np.testing.assert_array_equal(outputs["y"], X * 4)


@pytest.mark.parametrize("device", ON_TORCH)
async def test_nothing_is_kept_unasked(host: Host, device: str) -> None:
    """Outputs are arrays unless the caller names them; a name that is no output changes nothing."""
    model = await host("Double", device=device)
    assert _kinds(await _call(model, x=X)) == {np.ndarray}
    assert _kinds(await _call(model, "z", x=X)) == {np.ndarray}


@pytest.mark.parametrize("device", ON_TORCH)
async def test_a_program_that_writes_gets_a_copy(host: Host, device: str, no_copies: Callable[[], None]) -> None:
    """What several nodes may read is not changed by one of them, nor is it copied over the host."""
    first, second = await host("Double", device=device), await host("Writes", device=device)
    made = await _call(first, "y", x=X)
    no_copies()
    for _ in range(2):
        outputs = await _call(second, "output", x=made["y"])
        assert torch.equal(outputs["output"].array.cpu(), torch.from_numpy(X * 2 + 1))
    assert torch.equal(made["y"].array.cpu(), torch.from_numpy(X * 2))


@pytest.mark.parametrize("device", ON_TORCH)
async def test_exported_programs(tmp_path: Path, host: Host, device: str, no_copies: Callable[[], None]) -> None:
    """An exported program says itself whether it writes to inputs; bounds of sizes hold for kept tensors."""

    class Next(torch.nn.Module):  # type: ignore[misc]  # torch is Any to mypy here
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(-1, 4)

    path = tmp_path / "next.pt2"
    shapes = {"x": {0: Dim("batch", min=1, max=4)}}
    torch.export.save(torch.export.export(Next().eval(), (torch.ones(3, 4),), dynamic_shapes=shapes), str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model = await host("next.pt2", device=device, sha256=digest)
    first = await host("Double", device=device)
    made = await _call(first, "y", x=X)
    no_copies()
    outputs = await _call(model, "output", x=made["y"])
    assert outputs["output"].array.data_ptr() == made["y"].array.data_ptr()


@pytest.mark.parametrize("device", ON_TORCH)
async def test_kept_tensors_are_in_c_order(host: Host, device: str) -> None:
    """A view in another order is kept as a copy in C order, which every framework can take."""
    turned = (await _call(await host("Odd", device=device), "turned", x=X))["turned"]
    assert turned.array.is_contiguous()
    np.testing.assert_array_equal(turned.host(), X.T)


@pytest.mark.parametrize("device", ON_ONNX)
async def test_onnx_to_onnx(tmp_path: Path, host: Host, device: str) -> None:
    """What ONNX Runtime keeps is bound as it is; it outlives the session that made it."""
    scale(tmp_path / "m.onnx")
    first, second = await host("m.onnx", device=device), await host("m.onnx", device=device)
    tensor = (await _call(first, "y", x=X))["y"]
    assert isinstance(tensor, OrtTensor)
    assert (tensor.device, tensor.dtype, tensor.shape) == (device, DTYPES["FP32"], (2, 4))
    assert tensor.array.device_name() == device.partition(":")[0]
    await first.unload()
    del first
    gc.collect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OrtTensor, "_copy", _never)
        outputs = await _call(second, x=tensor)
    np.testing.assert_array_equal(outputs["y"], X * [1, 4, 9, 16])
    np.testing.assert_array_equal(tensor.host(), X * [1, 2, 3, 4])


async def test_onnx_binds_the_very_value(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch, no_copies: Callable[[], None]
) -> None:
    """Inputs that were kept are bound where they are, whoever kept them."""
    bound: list[int] = []

    def bind(binding: Any, name: str, value: Any) -> None:  # noqa: ANN401 - the runtime's
        bound.append(value.data_ptr())
        original(binding, name, value)

    original = onnxruntime.IOBinding.bind_ortvalue_input
    monkeypatch.setattr(onnxruntime.IOBinding, "bind_ortvalue_input", bind)
    scale(tmp_path / "m.onnx")
    by_onnx, by_torch = await host("m.onnx"), await host("Double")
    value = (await _call(by_onnx, "y", x=X))["y"]
    tensor = (await _call(by_torch, "y", x=X))["y"]
    no_copies()
    for kept_tensor, factors in ((value, [1, 4, 9, 16]), (tensor, [2, 4, 6, 8])):
        np.testing.assert_array_equal((await _call(by_onnx, x=kept_tensor))["y"], X * factors)
    assert bound == [value.array.data_ptr(), tensor.array.data_ptr()]


@pytest.mark.parametrize("device", ON_BOTH)
async def test_between_frameworks(tmp_path: Path, host: Host, device: str, no_copies: Callable[[], None]) -> None:
    """The frameworks read each other's memory."""
    scale(tmp_path / "m.onnx")
    by_onnx, by_torch = await host("m.onnx", device=device), await host("Double", device=device, parameters=PURE)
    no_copies()
    value = (await _call(by_onnx, "y", x=X))["y"]
    made = await _call(by_torch, "y", x=value)
    assert made["at"].tolist() == [value.array.data_ptr()] * 2
    outputs = await _call(by_onnx, x=made["y"])
    np.testing.assert_array_equal(outputs["y"], X * [2, 8, 18, 32])


@pytest.mark.parametrize("datatype", NUMBERS)
def test_datatypes(datatype: str) -> None:
    """Every datatype keeps its own, in torch, in ONNX Runtime and between them; also empty tensors and scalars."""
    dtype = getattr(torch, {"BOOL": "bool", "BF16": "bfloat16"}.get(datatype, DTYPES[datatype].name))
    for shape in ((2, 3), (0, 3), ()):
        with torch.inference_mode():
            tensor = kept(torch.arange(6).to(dtype)[: int(np.prod(shape))].reshape(shape), "cpu")
        assert tensor is not None
        assert (tensor.dtype, tensor.shape) == (DTYPES[datatype], shape)
        array = tensor.host()
        assert (array.dtype, array.shape, array.nbytes) == (DTYPES[datatype], shape, tensor.nbytes)
        value = onnx_backend._lent(tensor)
        assert value is not None
        assert value.data_ptr() == tensor.array.data_ptr()
        back = lent(OrtTensor(value, device="cpu", dtype=tensor.dtype, shape=shape))
        assert back is not None
        assert (back.dtype, tuple(back.shape), back.data_ptr()) == (dtype, shape, tensor.array.data_ptr())


def test_what_frameworks_cannot_lend() -> None:
    """What another framework refuses, or would take for something else, goes through the host."""
    assert (lent(Fake(X.astype("M8[s]"))), onnx_backend._lent(Fake(X.astype("M8[s]")))) == (None, None)
    tensor = TorchTensor(torch.ones(2), device="cpu", dtype=DTYPES["BOOL"], shape=(2,))
    assert onnx_backend._lent(tensor) is None
    assert lent(Fake(X, "cuda:0")) is None
    assert onnx_backend._lent(X) is None


def test_what_torch_cannot_keep() -> None:
    """What is sparse, elsewhere, or of a dtype that has no name on the wire comes to the host as ever."""
    assert kept(torch.eye(2).to_sparse(), "cpu") is None
    assert kept(torch.ones(2), "cuda:0") is None
    assert kept(torch.ones(2, dtype=torch.complex64), "cpu") is None
    negative = torch.tensor([1 - 2j]).conj().imag
    assert negative.is_neg()
    tensor = kept(negative, "cpu")
    assert tensor is not None
    np.testing.assert_array_equal(tensor.host(), [2])


@pytest.mark.parametrize("source", ["Double", "m.onnx"])
async def test_another_device_goes_through_the_host(tmp_path: Path, host: Host, source: str) -> None:
    """A model takes what is on a device that it is not on: as an array."""
    scale(tmp_path / "m.onnx")
    tensor = Fake(X, "far:0")
    outputs = await _call(await host(source), "y", x=tensor)
    np.testing.assert_array_equal(outputs["y"].host(), X * (2 if source == "Double" else [1, 2, 3, 4]))
    assert tensor.copies == 1


@pytest.mark.parametrize("source", ["Double", "m.onnx"])
async def test_a_framework_that_lends_nothing(tmp_path: Path, host: Host, source: str) -> None:
    """A tensor of the same device that no model here can read there is copied."""
    scale(tmp_path / "m.onnx")
    tensor = Fake(X, "cpu")
    tensor.array = X.tolist()
    outputs = await _call(await host(source), x=tensor)
    np.testing.assert_array_equal(outputs["y"], X * (2 if source == "Double" else [1, 2, 3, 4]))


async def test_a_tensor_that_does_not_fit(host: Host) -> None:
    """A kept tensor is held against the signature like an array, without a copy."""
    model, tensor = await host("Double"), Fake(X[:, :3], "cpu")
    with pytest.raises(SignatureMismatch, match=r"input 'x' must be FP32 \(N, 4\), got 3 at axis 1"):
        await _call(model, x=tensor)
    assert tensor.copies == 0


def _together(model: Model, calls: Sequence[tuple[Any, tuple[str, ...]]]) -> list[Mapping[str, Any]]:
    """Run calls with one input each, and what they keep, as one batch."""
    execution = model._execution
    assert execution is not None
    made = []
    for x, keep in calls:
        made.append(Call({"x": x}, 0.0))
        made[-1].keep = keep
        execution._compute.measure(made[-1])
    return list(execution._compute.together(made))


@pytest.mark.parametrize("device", ON_TORCH)
async def test_batches_on_the_device(host: Host, device: str, no_copies: Callable[[], None]) -> None:
    """Calls are joined on the device, and each gets its own rows of what was kept there."""
    options = {"device": device, "batching": Batching(max_batch_size=8), "parameters": PURE}
    first, second = await host("Double", **options), await host("Double", **options)
    assert first.device == device
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    made = [outputs["y"] for outputs in _together(first, [(whole[:1], ("y",)), (whole[1:], ("y",))])]
    assert [tensor.shape for tensor in made] == [(1, 4), (2, 4)]
    assert made[1].array.data_ptr() == made[0].array.data_ptr() + made[0].nbytes
    no_copies()
    outputs = _together(second, [(tensor, ("y",)) for tensor in made])
    assert {int(address) for one in outputs for address in one["at"]} != {made[0].array.data_ptr()}
    assert len({int(address) for one in outputs for address in one["at"]}) == 1
    assert {type(one["y"]) for one in outputs} == {TorchTensor}
    np.testing.assert_array_equal(torch.cat([one["y"].array for one in outputs]).cpu(), whole * 4)
    (alone,) = _together(second, [(made[1], ())])
    assert alone["at"].tolist() == [made[1].array.data_ptr()] * 2
    assert _kinds(alone) == {np.ndarray}


async def test_batches_of_different_wishes(host: Host) -> None:
    """What one call of a batch wants as an array, and what one brings as an array, is one for all of them."""
    model = await host("Double", batching=Batching(max_batch_size=8))
    tensor = (await _call(model, "y", x=X))["y"]
    outputs = _together(model, [(tensor, ("y", "at")), (X, ("at",)), (tensor[1:], ("at",))])
    assert [(type(one["y"]), type(one["at"])) for one in outputs] == [(np.ndarray, TorchTensor)] * 3
    for one, expected in zip(outputs, (X * 4, X * 2, X[1:] * 4), strict=True):
        np.testing.assert_array_equal(one["y"], expected)


async def test_onnx_in_batches(tmp_path: Path, host: Host) -> None:
    """Rows of an `OrtValue` are taken on the host, with one copy for all calls; a batch of one stays."""
    scale(tmp_path / "m.onnx")
    model = await host("m.onnx", batching=Batching(max_batch_size=8))
    (alone,) = _together(model, [(X, ("y",))])
    assert type(alone["y"]) is OrtTensor
    outputs = _together(model, [(alone["y"], ("y",)), (X[:1], ("y",))])
    assert [_kinds(one) for one in outputs] == [{np.ndarray}] * 2
    np.testing.assert_array_equal(
        np.concatenate([one["y"] for one in outputs]), [*X * [1, 4, 9, 16], X[0] * [1, 2, 3, 4]]
    )


async def test_calls_at_once(host: Host) -> None:
    """Through the queue, each of many calls gets what it kept of its own."""
    model = await host("Double", batching=Batching(max_batch_size=4), parameters=PURE)
    rows: list[Any] = [np.full((1, 4), number, np.float32) for number in range(20)]
    for factor in (2, 4):
        kept_rows = await asyncio.gather(*(_call(model, "y", x=row) for row in rows))
        rows = [outputs["y"] for outputs in kept_rows]
        assert [row.host().tolist() for row in rows] == [[[number * factor] * 4] for number in range(20)]


@pytest.mark.parametrize("options", [{"pad": {"L": (4, 8)}}, {"cost": lambda inputs: float(inputs["x"].sum())}])
async def test_what_makes_a_model_one_of_the_host(host: Host, options: dict[str, Any]) -> None:
    """A model whose calls are padded, or whose cost is found by a function, says that it is on the host."""
    types = {"inputs": {"x": "FP32 (N, L)"}, "outputs": {"y": "FP32 (N, L)", "at": "INT64 (N,)"}}
    model = await host("Double", parameters=types, batching=Batching(max_batch_size=4, **options))
    assert model.device == ""
    outputs = await _call(model, "y", x=X[:, :3])
    np.testing.assert_array_equal(outputs["y"], X[:, :3] * 2)
    assert type(outputs["y"]) is np.ndarray


async def test_models_on_the_host(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models on the CPU, and those of ONNX Runtime with BF16, are on the host: nothing is kept, whoever asks."""
    loading = Model(ModelConfig(name="m", source="x"), worker_id="w", metrics=Metrics(), meter=LoadMeter())
    assert loading.device == ""
    session = load_model(ModelConfig(name="m", source=str(identity(tmp_path / "b.onnx", kind=TensorProto.BFLOAT16))))
    assert onnx_backend.OnnxModel(session._session, "x", device="cuda:0").device == ""  # type: ignore[attr-defined]
    monkeypatch.setattr(hosting_model, "load_model", load_model)
    scale(tmp_path / "m.onnx")
    for source in ("Double", "m.onnx"):
        model = await host(source)
        assert model.device == ""
        assert _kinds(await _call(model, "y", x=X)) == {np.ndarray}
        await model.unload()
        assert model.device == ""


async def test_inputs_that_nobody_writes_are_lent(host: Host) -> None:
    """`writes_inputs: false` spares a module the copy of what the request brought."""
    frozen = np.frombuffer(X.tobytes(), np.float32).reshape(X.shape)
    assert (await _call(await host("Double", parameters=PURE), x=frozen))["at"][0] == frozen.ctypes.data
    assert (await _call(await host("Double"), x=frozen))["at"][0] != frozen.ctypes.data


def test_a_wrong_promise_is_refused(tmp_path: Path) -> None:
    """`writes_inputs` is true or false."""
    (tmp_path / "modules.py").write_text(MODULES)
    save_file({}, tmp_path / "none.safetensors")
    parameters = {"module": "modules.py:Double", "writes_inputs": "no"}
    with pytest.raises(LoadFailed, match="'writes_inputs' must be true or false, got 'no'"):
        load_model(ModelConfig(name="m", source=str(tmp_path / "none.safetensors"), parameters=parameters))


@pytest.mark.gpu
@needs_torch
async def test_kept_tensors_are_complete(host: Host) -> None:
    """Once a call has returned its stream is done, so that another one can read what was kept."""
    model = await host("Double", device="cuda:0")
    x = np.ones((1 << 20, 4), np.float32)
    made = await _call(model, "y", x=x)
    assert torch.cuda.current_stream().query()
    with torch.cuda.stream(torch.cuda.Stream()):
        assert torch.equal(made["y"].array, torch.full_like(made["y"].array, 2))
