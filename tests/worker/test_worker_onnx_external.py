"""External data of ONNX files: contained in the model's folder, wherever in the model it is named."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from graphmesh.core.errors import LoadFailed
from graphmesh.worker import ModelConfig
from graphmesh.worker.backends import load_model
from graphmesh.worker.backends.onnx_external import check_external, external_tensors
from tests.worker.onnx_models import external, identity, model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MUL = helper.make_node("Mul", ["x", "w"], ["y"])
SAME = helper.make_node("Identity", ["x"], ["y"])


def _save(folder: Path, tensor: Any) -> Path:  # noqa: ANN401 - a TensorProto
    path = folder / "m.onnx"
    path.write_bytes(model([MUL], initializer=[tensor]).SerializeToString())
    return path


def _load(path: Path) -> Any:  # noqa: ANN401 - a loaded model
    return load_model(ModelConfig(name="m", source=str(path), parameters={"keep_optimized_graph": False}))


def test_data_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regular files in the model's folder and below are read, wherever the process is."""
    (tmp_path / "sub").mkdir()
    np.array([0, 1, 2, 3, 4], np.float32).tofile(tmp_path / "sub" / "w.bin")
    monkeypatch.chdir("/")
    for source in (_save(tmp_path, external("w", "sub/w.bin", offset=4, length=16)),):
        x = np.ones((1, 4), np.float32)
        np.testing.assert_array_equal(_load(source).run({"x": x})["y"], [[1, 2, 3, 4]])


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "sub/../../w.bin", "/etc/hostname", "..", "", "C:/w.bin", "..\\w.bin", "sub\\w.bin", "a\0b"],
)
def test_paths_that_lead_out(tmp_path: Path, location: str) -> None:
    """A path that leaves the folder is refused by name."""
    folder = tmp_path / "inner"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(bytes(16))
    with pytest.raises(LoadFailed, match=r"m\.onnx: tensor 'w': external data .* must be a path below"):
        _load(_save(folder, external("w", location)))


def test_backslashes(tmp_path: Path) -> None:
    """A backslash is a part of a file's name to the runtime; what is checked must be what it opens."""
    folder = tmp_path / "inner"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b").write_bytes(bytes(16))
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "a\\b").symlink_to(tmp_path / "secret")
    with pytest.raises(LoadFailed, match="must be a path below the model's folder"):
        _load(_save(folder, external("w", "a\\b")))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """Bytes that no text stands for would be another file to the runtime than to the check."""
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "\ufffd").write_bytes(bytes(16))
    (folder / os.fsdecode(b"\xff")).symlink_to(tmp_path / "secret")
    path = _save(folder, external("w", "@"))
    path.write_bytes(path.read_bytes().replace(b"\x12\x01@", b"\x12\x01\xff", 1))
    with pytest.raises(LoadFailed, match="a name in it is not UTF-8"):
        _load(path)


def test_symbolic_links(tmp_path: Path) -> None:
    """No part of the path may be a symbolic link, even one that stays inside."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "w.bin").write_bytes(bytes(16))
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "w.bin").symlink_to("real/w.bin")
    for location in ("link/w.bin", "w.bin"):
        with pytest.raises(LoadFailed, match="must not be a symbolic link"):
            _load(_save(tmp_path, external("w", location)))


def test_hard_links(tmp_path: Path) -> None:
    """A file with a second name may be any file of the disk."""
    (tmp_path / "secret").write_bytes(bytes(16))
    os.link(tmp_path / "secret", tmp_path / "w.bin")
    with pytest.raises(LoadFailed, match="must not be a hard link, the file has 2 names"):
        _load(_save(tmp_path, external("w", "w.bin")))


def test_other_kinds_of_files(tmp_path: Path) -> None:
    """A missing file, a folder and a pipe are refused; nothing waits for the pipe."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for location, said in (("none", "No such file"), ("folder", "a regular file"), ("pipe", "a regular file")):
        with pytest.raises(LoadFailed, match=f"tensor 'w': external data '{location}' .*{said}"):
            _load(_save(tmp_path, external("w", location)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"offset": 4}, "must hold 20 bytes for this tensor, got 16"),
        ({"length": 17}, "must hold 17 bytes"),
        ({"length": 1, "offset": 16}, "must hold 32 bytes"),
        ({"offset": -1}, "must not be negative"),
        ({"length": -1}, "must not be negative"),
        ({"dims": (-4,)}, "must not be negative"),
        ({"dims": (1 << 40, 1 << 20)}, "must hold"),
    ],
)
def test_sizes_that_lie(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    """Offset, length and shape must lie inside the file."""
    (tmp_path / "w.bin").write_bytes(bytes(16))
    with pytest.raises(LoadFailed, match=said):
        _load(_save(tmp_path, external("w", "w.bin", **options)))


def test_sparse_data(tmp_path: Path) -> None:
    """A sparse file can claim any size; more than the machine's memory is refused."""
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(LoadFailed, match="more than this machine's memory"):
        _load(_save(tmp_path, external("w", "w.bin", dims=(1 << 41,))))


def test_sparse_tensor_that_claims_much(tmp_path: Path) -> None:
    """A sparse initializer of an absurd shape is refused."""
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(values, indices, [1 << 40, 1 << 20])
    path = tmp_path / "m.onnx"
    path.write_bytes(model([MUL], sparse_initializer=[sparse]).SerializeToString())
    with pytest.raises(LoadFailed, match="more than this machine's memory"):
        _load(path)


def _subgraph(tensor: Any) -> Any:  # noqa: ANN401 - protobuf messages
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node("Identity", ["w"], ["o"])], "sub", [], [out], initializer=[tensor])


def _in_function(tensor: Any) -> Any:  # noqa: ANN401 - protobuf messages
    whole = model([SAME])
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    whole.functions.append(helper.make_function("d", "f", [], ["y"], [node], [helper.make_opsetid("", 17)]))
    return whole


def _in_training(tensor: Any) -> Any:  # noqa: ANN401 - protobuf messages
    whole = model([SAME])
    whole.training_info.add().initialization.CopyFrom(_subgraph(tensor))
    return whole


def _attribute(tensor: Any, field: str) -> Any:  # noqa: ANN401 - protobuf messages
    attribute = onnx.AttributeProto(name="a")
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    if field == "t":
        attribute.t.CopyFrom(tensor)
    elif field == "tensors":
        attribute.tensors.append(tensor)
    elif field == "g":
        attribute.g.CopyFrom(_subgraph(tensor))
    elif field == "graphs":
        attribute.graphs.append(_subgraph(tensor))
    elif field == "sparse_tensor":
        attribute.sparse_tensor.CopyFrom(helper.make_sparse_tensor(tensor, indices, [4]))
    else:
        attribute.sparse_tensors.append(helper.make_sparse_tensor(tensor, indices, [4]))
    node = helper.make_node("Identity", ["x"], ["y"])
    node.attribute.append(attribute)
    return model([node])


PLACES: dict[str, Callable[[Any], Any]] = {
    "initializer": lambda tensor: model([MUL], initializer=[tensor]),
    "sparse initializer": lambda tensor: model(
        [MUL],
        sparse_initializer=[
            helper.make_sparse_tensor(tensor, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [4])
        ],
    ),
    "function": _in_function,
    "training": _in_training,
    **{
        field: functools.partial(_attribute, field=field)
        for field in ("t", "tensors", "g", "graphs", "sparse_tensor", "sparse_tensors")
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_of_a_tensor(tmp_path: Path, place: str) -> None:
    """External data is found wherever the format can hold a tensor."""
    path = tmp_path / "m.onnx"
    path.write_bytes(PLACES[place](external("w", "../secret")).SerializeToString())
    with pytest.raises(LoadFailed, match=r"tensor 'w': external data '\.\./secret' must be a path below"):
        _load(path)


def test_location_without_the_mark(tmp_path: Path) -> None:
    """Entries of external data count whether or not the tensor says that its data is external."""
    tensor = external("w", "../secret")
    tensor.ClearField("data_location")
    assert [found.location for found in external_tensors(model([MUL], initializer=[tensor]).SerializeToString())] == [
        "../secret"
    ]


def test_depth_costs_no_stack(tmp_path: Path) -> None:
    """Subgraphs may be nested as deep as anyone likes."""
    inner = external("w", "../secret").SerializeToString()
    message = b"\x2a" + _length(inner) + inner  # the initializer of a graph
    for _ in range(5000):
        attribute = b"\x32" + _length(message) + message
        node = b"\x2a" + _length(attribute) + attribute
        message = b"\x0a" + _length(node) + node
    whole = b"\x3a" + _length(message) + message
    with pytest.raises(LoadFailed, match="must be a path below"):
        check_external(whole, tmp_path)


def _length(message: bytes) -> bytes:
    value, parts = len(message), []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever bytes come, the answer is tensors or a load failure."""
    with contextlib.suppress(LoadFailed):
        list(external_tensors(data))


def test_models_without_external_data(tmp_path: Path) -> None:
    """Most models have none."""
    assert not check_external(identity(tmp_path / "m.onnx").read_bytes(), tmp_path)
