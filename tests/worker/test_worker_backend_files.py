"""Model files: read once, checked by digest, never waited for; options and devices of a configuration."""

from __future__ import annotations

import hashlib
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.core.errors import LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends.files import check_memory, read_file, read_model
from graphmesh.worker.backends.options import (
    Device,
    check_options,
    only_cpu,
    option,
    pool_size,
    read_device,
    text_list,
    thread_count,
)
from graphmesh.worker.backends.python import import_class
from graphmesh.worker.hosting.sources import resolve
from tests.worker.evil import evil_pickle

if TYPE_CHECKING:
    from pathlib import Path


def _config(source: object = "x", **options: Any) -> ModelConfig:  # noqa: ANN401 - any field
    return ModelConfig(name="m", source=str(source), **options)


def test_digest_matches(tmp_path: Path) -> None:
    """A file whose digest is named is returned if it is that file, also in a format that can carry code."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert read_model(_config(path, sha256=digest), code="a pickle") == b"weights"
    with pytest.raises(LoadFailed, match=f"sha256 must be {'0' * 64}, got {digest}"):
        read_model(_config(path, sha256="0" * 64))


def test_code_needs_a_digest(tmp_path: Path) -> None:
    """A format that can carry code is refused without a digest, with the exact line to add."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    assert read_model(_config(path)) == b"weights"
    with pytest.raises(LoadFailed, match=f"sha256: {hashlib.sha256(b'weights').hexdigest()}$"):
        read_model(_config(path), code="a pickle")


def test_only_regular_files(tmp_path: Path) -> None:
    """A pipe, which nobody writes to, a folder and a missing file are refused at once."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadFailed, match="regular file"):
        read_file(tmp_path / "pipe")
    with pytest.raises(LoadFailed, match=r"regular file|directory"):
        read_file(tmp_path)
    with pytest.raises(LoadFailed, match="there is no such file"):
        read_file(tmp_path / "nothing")


def test_sparse_files(tmp_path: Path) -> None:
    """A file that claims more than the machine's memory is refused before it is read."""
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(LoadFailed, match="more than this machine's memory"):
        read_file(path)
    check_memory(1000)


def test_python_file_with_a_digest(tmp_path: Path) -> None:
    """A Python file's digest is checked before it is imported."""
    marker, path = tmp_path / "ran", tmp_path / "model.py"
    path.write_text(f"open({str(marker)!r}, 'w').close()\nclass Model:\n    def predict(self) -> int: ...\n")
    (version,) = resolve(_config(f"{path}:Model", sha256="0" * 64))
    assert (version.version, marker.exists()) == ("1", False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert resolve(_config(f"{path}:Model", sha256=digest))[0].backend == "python"
    assert marker.exists()


def test_python_file_that_changes_after_the_check(tmp_path: Path) -> None:
    """What runs is what was checked, whatever the file holds by then."""
    path = tmp_path / "model.py"
    path.write_text("class Model:\n    def predict(self) -> str:\n        return 'exchanged'\n")
    checked = path.read_bytes().replace(b"exchanged", b"checked")
    assert import_class(f"{path}:Model", data=checked)().predict() == "checked"


@pytest.mark.parametrize(
    ("text", "device"), [("", None), ("cpu", Device("cpu")), ("cuda", Device("cuda")), ("cuda:3", Device("cuda", 3))]
)
def test_devices(text: str, device: Device | None) -> None:
    """A device is the CPU, a GPU, one of several, or the backend's choice."""
    assert read_device(_config(device=text)) == device


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:1", "CUDA"])
def test_wrong_devices(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(LoadFailed, match="device must be cpu, cuda or cuda:1, got"):
        read_device(_config(device=text))


def test_devices_of_cpu_backends() -> None:
    """A backend that uses no GPU says so."""
    only_cpu(_config(device="cpu"))
    with pytest.raises(LoadFailed, match="backend xgboost runs on the cpu only, got device 'cuda'"):
        only_cpu(_config(backend="xgboost", device="cuda"))


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each instance has an equal share, at least one; a shared pool has what the calls' own threads leave over."""
    cores = len(os.sched_getaffinity(0))
    assert thread_count(_config(instances=1)) == cores
    assert thread_count(_config(instances=cores)) == 1
    assert thread_count(_config(instances=100 * cores)) == 1
    assert [pool_size(_config(instances=instances)) for instances in (1, cores, 100 * cores)] == [cores, 1, 1]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert (thread_count(_config(instances=4)), pool_size(_config(instances=4))) == (4, 13)


def test_options() -> None:
    """Unknown options and wrong values are refused with what is known."""
    parameters = {"threads": 3, "trusted": ["a"], "flag": True}
    check_options(parameters, ("threads", "trusted", "flag"))
    with pytest.raises(LoadFailed, match="parameters must be of thread, got 'threads'; did you mean 'thread'"):
        check_options({"threads": 1}, ("thread",))
    assert (option(parameters, "threads", int, "a number"), option(parameters, "no", int, "a number")) == (3, None)
    with pytest.raises(LoadFailed, match="parameter 'flag' must be a number, got True"):
        option(parameters, "flag", int, "a number")
    assert (text_list(parameters, "trusted"), text_list(parameters, "no")) == (["a"], [])
    with pytest.raises(LoadFailed, match="must be a list of texts"):
        text_list({"trusted": [1]}, "trusted")


def test_the_hostile_pickle_is_hostile(tmp_path: Path) -> None:
    """What the other tests show not to run does run where nothing stops it."""
    pickle.loads(evil_pickle(tmp_path / "marker")).close()  # noqa: S301 - the point of it
    assert (tmp_path / "marker").exists()
