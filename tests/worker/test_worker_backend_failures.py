"""Model files that do not load, in a running worker: it stays up, says why, and serves the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from graphmesh.registry import MemoryKV, ModelState, Registry
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.worker import Worker
from tests.worker.evil import evil_pickle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Whatever the damage, no file of these may end the process or run.
FILES = {
    "broken.onnx": b"\x08\x09\x3a\x05",
    "empty.ubj": b"",
    "empty.safetensors": b"",
    "random.skops": bytes(range(256)),
}


def _broken_booster() -> bytes:
    """Return a file at which LightGBM ends its process."""
    data = lightgbm.Dataset(np.arange(40.0).reshape(20, 2), np.arange(20) % 2)
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2, "num_threads": 1}, data, 3)
    broken: str = booster.model_to_string().replace("num_leaves=", "num_leaves=99999999")
    return broken.encode()


async def test_broken_files_leave_the_worker_up(
    tmp_path: Path, toy: Callable[..., ModelConfig], http: Callable[..., Any]
) -> None:
    """Each broken file is FAILED with its name and reason; hostile ones do not run; a good model answers."""
    hostile = evil_pickle(tmp_path / "marker")
    files = {**FILES, "crash.txt": _broken_booster(), "evil.pkl": hostile, "evil.pt2": hostile}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    broken = tuple(ModelConfig(name=name.replace(".", "-"), source=str(tmp_path / name)) for name in files)
    folder = ModelConfig(name="folder", source=str(tmp_path))
    async with Registry(MemoryKV()) as registry:
        config = WorkerConfig(worker_id="w", models=(toy("Add"), folder, *broken))
        async with Worker(config, registry) as worker:
            answer = await http(worker.http_port, "/v1/models/add:predict", b'{"x": [1, 2]}')
            record = (await registry.read()).workers["w"]
    failed = {model.name: model.message for model in record.models if model.state is ModelState.FAILED}
    assert failed.keys() == {model.name for model in (folder, *broken)}
    for name in files:
        assert failed[name.replace(".", "-")].startswith(f"{name}: ")
        assert str(tmp_path) not in failed[name.replace(".", "-")]
    assert "crashed while it loaded" in failed["crash-txt"]
    assert "a model folder must have" in failed["folder"]
    assert answer.status == 200
    assert not (tmp_path / "marker").exists()
