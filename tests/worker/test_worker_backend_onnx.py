"""ONNX files: options, devices, digests, the cache of optimised graphs, damaged files."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from graphmesh.core.errors import LoadFailed
from graphmesh.core.tensor import DTYPES
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model, onnx_cache
from graphmesh.worker.backends.onnx import OnnxModel
from graphmesh.worker.backends.onnx_options import choose_providers, used_device
from tests.worker.onnx_models import identity, scale

if TYPE_CHECKING:
    from pathlib import Path

X = np.arange(8, dtype=np.float32).reshape(2, 4)
HAS_GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphmesh" / "onnx"


def _load(path: Path, **options: Any) -> OnnxModel:  # noqa: ANN401 - any field of the configuration
    loaded = load_model(ModelConfig(name="m", source=str(path), **options))
    assert isinstance(loaded, OnnxModel)
    return loaded


def _run(loaded: OnnxModel, x: Any = X) -> Any:  # noqa: ANN401 - an array
    return loaded.run({"x": x})["y"]


def test_options(tmp_path: Path) -> None:
    """Session options are set by name."""
    parameters = {
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 1,
        "graph_optimization_level": "basic",
        "execution_mode": "sequential",
        "enable_mem_pattern": False,
        "enable_cpu_mem_arena": False,
        "allow_spinning": True,
    }
    loaded = _load(scale(tmp_path / "m.onnx"), parameters=parameters, device="cpu")
    set_options = loaded._session.get_session_options()
    assert (set_options.intra_op_num_threads, set_options.enable_mem_pattern) == (1, False)
    assert set_options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    np.testing.assert_array_equal(_run(loaded), X * [1, 2, 3, 4])


def test_instances_share_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session serves all instances; its pool and the threads that they bring are as many as the cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    for instances, pool in ((1, 4), (3, 2), (9, 1)):
        loaded = _load(scale(tmp_path / "m.onnx"), instances=instances, device="cpu")
        assert loaded._session.get_session_options().intra_op_num_threads == pool


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"intra_op_threads": 1}, "parameters must be of intra_op_num_threads, .*did you mean 'intra_op_num_threads'"),
        ({"intra_op_num_threads": 0}, "'intra_op_num_threads' must be at least 1, got 0"),
        ({"intra_op_num_threads": "2"}, "'intra_op_num_threads' must be a number of threads, at least 1, got '2'"),
        ({"enable_mem_pattern": 1}, "'enable_mem_pattern' must be true or false, got 1"),
        ({"graph_optimization_level": "most"}, "must be one of disable, basic, extended, all, got 'most'"),
        ({"execution_mode": "both"}, "must be one of sequential, parallel, got 'both'"),
        ({"keep_optimized_graph": "no"}, "'keep_optimized_graph' must be true or false"),
    ],
)
def test_wrong_options(tmp_path: Path, parameters: dict[str, object], said: str) -> None:
    """An unknown option or a wrong value is refused with what is known."""
    with pytest.raises(LoadFailed, match=said):
        _load(scale(tmp_path / "m.onnx"), parameters=parameters)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_gpu_without_a_provider(tmp_path: Path) -> None:
    """Asking for a GPU that the runtime cannot use says what to install."""
    with pytest.raises(LoadFailed, match=r"needs ONNX Runtime with CUDA.*graphmesh\[gpu\]"):
        _load(scale(tmp_path / "m.onnx"), device="cuda:1")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU and onnxruntime-gpu")
def test_gpu(tmp_path: Path) -> None:
    """On a GPU the same comes out, and the CUDA provider does it."""
    loaded = _load(scale(tmp_path / "m.onnx"), device="cuda")
    assert loaded._session.get_providers()[0] == "CUDAExecutionProvider"
    np.testing.assert_array_equal(_run(loaded), X * [1, 2, 3, 4])


def test_gpu_that_cannot_be_used() -> None:
    """A GPU that was asked for and cannot be initialised is a load failure; one that nobody asked for is not."""
    asked = ModelConfig(name="m", source="x", device="cuda:1")
    unasked = ModelConfig(name="m", source="x")
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    providers = choose_providers(asked, both)
    assert providers.arguments == [("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"]
    assert str(used_device(asked, providers, both)) == "cuda:1"
    with pytest.raises(LoadFailed, match="device 'cuda:1' cannot be used"):
        used_device(asked, providers, both[1:])
    providers = choose_providers(unasked, both)
    assert [str(used_device(unasked, providers, used)) for used in (both, both[1:])] == ["cuda:0", "cpu"]


def test_bound_run(tmp_path: Path) -> None:
    """Runs that bind their outputs, as on a GPU, give the same."""
    plain = _load(scale(tmp_path / "m.onnx"))
    bound = OnnxModel(plain._session, "x", device="cuda:0")
    bound.device = "cpu"
    read_only = np.frombuffer(X.tobytes(), np.float32).reshape(X.shape)
    np.testing.assert_array_equal(_run(bound, read_only), _run(plain))


def test_bf16(tmp_path: Path) -> None:
    """BF16 goes in and comes out."""
    loaded = _load(identity(tmp_path / "m.onnx", kind=TensorProto.BFLOAT16))
    x = X.astype(DTYPES["BF16"])
    y = _run(loaded, x)
    assert (y.dtype, str(loaded.signature.inputs[0])) == (DTYPES["BF16"], "x: BF16 (N, 4)")
    np.testing.assert_array_equal(y, x)


def test_optimised_graph_is_kept(tmp_path: Path, cache: Path) -> None:
    """The second load takes the optimised graph from a folder of this user's alone, and gives the same."""
    path = scale(tmp_path / "m.onnx")
    first = _run(_load(path))
    (entry,) = cache.iterdir()
    assert (cache.stat().st_mode & 0o777, entry.stat().st_mode & 0o777) == (0o700, 0o600)
    written = entry.stat().st_ino
    np.testing.assert_array_equal(_run(_load(path)), first)
    assert [other.stat().st_ino for other in cache.iterdir()] == [written]
    _load(path, parameters={"graph_optimization_level": "basic"})
    _load(scale(tmp_path / "other.onnx", (9, 9, 9, 9)))
    assert len(list(cache.iterdir())) == 3


def test_optimised_graph_is_not_kept(tmp_path: Path, cache: Path) -> None:
    """Nothing is kept if that is not wanted."""
    _load(scale(tmp_path / "m.onnx"), parameters={"keep_optimized_graph": False})
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "foreign model"])
def test_damaged_cache(tmp_path: Path, cache: Path, damage: str) -> None:
    """An entry that is not what was written is never loaded; the file itself is."""
    path = scale(tmp_path / "m.onnx")
    _load(path)
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    foreign = scale(tmp_path / "foreign.onnx", (0, 0, 0, 0)).read_bytes()
    entry.write_bytes(
        {
            "flipped": whole[:-9] + bytes([whole[-9] ^ 255]) + whole[-8:],
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "foreign model": foreign,
        }[damage]
    )
    np.testing.assert_array_equal(_run(_load(path)), X * [1, 2, 3, 4])
    assert entry.read_bytes() == whole


def test_cache_that_others_can_write(tmp_path: Path, cache: Path) -> None:
    """A folder that is not this user's alone is not used."""
    cache.mkdir(parents=True, mode=0o777)
    cache.chmod(0o777)
    assert onnx_cache.cache_folder() is None
    _load(scale(tmp_path / "m.onnx"))
    assert list(cache.iterdir()) == []


def test_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for a cache the model loads all the same."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    np.testing.assert_array_equal(_run(_load(scale(tmp_path / "m.onnx"))), X * [1, 2, 3, 4])


def test_loads_at_once(tmp_path: Path, cache: Path) -> None:
    """Several loads of one file at the same time leave one whole entry."""
    path = scale(tmp_path / "m.onnx")
    threads = [threading.Thread(target=_load, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (entry,) = cache.iterdir()
    assert onnx_cache.kept(entry) is not None


def test_old_entries_go(tmp_path: Path, cache: Path) -> None:
    """What nobody used for a month is let go of when something new is kept."""
    path = scale(tmp_path / "m.onnx")
    _load(path)
    (old,) = cache.iterdir()
    os.utime(old, (0, 0))
    _load(scale(tmp_path / "other.onnx", (9, 9, 9, 9)))
    assert old not in list(cache.iterdir())


def test_digest(tmp_path: Path) -> None:
    """A digest that is named must match."""
    path = scale(tmp_path / "m.onnx")
    _load(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(LoadFailed, match=r"m\.onnx: sha256 must be 0+, got"):
        _load(path, sha256="0" * 64)


def test_wrong_opset(tmp_path: Path) -> None:
    """A file of an operator set that the runtime does not know is a load failure that says so."""
    with pytest.raises(LoadFailed, match=r"m\.onnx: .*[Oo]pset"):
        _load(identity(tmp_path / "m.onnx", opset=999))


def test_only_onnx_is_onnx(tmp_path: Path) -> None:
    """The runtime's other formats do not pass under the name of ONNX."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x1c\x00\x00\x00ORTM" + bytes(64))
    with pytest.raises(LoadFailed, match=r"m\.onnx: "):
        _load(path)
