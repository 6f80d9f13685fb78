"""mesh.yaml: what is accepted, how paths resolve, and what a mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.mesh_file import GatewayEntry, MeshFile, load_mesh_file, resolve_source
from graphmesh.cli.ocr import MESH
from graphmesh.core.errors import InvalidRequest
from graphmesh.worker import Batching, Isolation, ModelConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a mesh file beside an empty graph file."""

    def written(text: str) -> Path:
        (tmp_path / "graph.yaml").write_text("")
        path = tmp_path / "mesh.yaml"
        path.write_text(text)
        return path

    return written


def one_model(model: str) -> str:
    """Return a mesh file with one model."""
    return f"workers: [{{name: w, models: [{model}]}}]"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}"])
def test_an_empty_file_is_an_empty_mesh(write: Write, text: str) -> None:
    """Everything has a default, so a file may say nothing."""
    assert load_mesh_file(write(text)) == MeshFile()


def test_all_fields(write: Write, tmp_path: Path) -> None:
    """Every field comes back as written, files as absolute paths."""
    mesh = load_mesh_file(
        write(
            """
            mesh: shop
            gateway: {bind: 0.0.0.0, port: 80, grpc_port: 0, metrics_port: 0}
            workers:
              - name: text
                replicas: 2
                labels: {zone: a}
                cache_mib: 64
                models:
                  - {name: m, source: "m.py:M", version: "3", instances: 4, parameters: {k: [1, 2]}}
            graphs: [graph.yaml]
            """
        )
    )
    (worker,) = mesh.workers
    (model,) = worker.models
    assert (mesh.mesh, mesh.gateway) == ("shop", GatewayEntry(bind="0.0.0.0", port=80, grpc_port=0, metrics_port=0))  # noqa: S104
    assert (worker.name, worker.replicas, worker.labels, worker.cache_mib) == ("text", 2, {"zone": "a"}, 64)
    assert (model.source, model.version, model.instances) == (f"{tmp_path}/m.py:M", "3", 4)
    assert model.parameters == {"k": [1, 2]}
    assert mesh.graphs == [str(tmp_path / "graph.yaml")]


def test_a_relative_path_resolves_beside_the_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources are relative to the file, wherever the command runs and however the file is named."""
    write(one_model("{name: m, source: nets/m.onnx}"))
    monkeypatch.chdir(tmp_path)
    (model,) = load_mesh_file(Path("mesh.yaml")).models()["m"]
    assert model.source == f"{tmp_path.resolve()}/nets/m.onnx"


def test_versions_side_by_side(write: Write) -> None:
    """One name may be listed in several versions, each once."""
    mesh = load_mesh_file(
        write(one_model('{name: m, source: a.onnx, version: "1"}, {name: m, source: b.onnx, version: "2"}'))
    )
    assert [model.version for model in mesh.models()["m"]] == ["1", "2"]


def test_recorded_requests(write: Write, tmp_path: Path) -> None:
    """A file of recorded requests is read beside mesh.yaml, one object a line; a list is taken as it is."""
    (tmp_path / "calls.jsonl").write_text('{"x": [1]}\n\n{"x": [2, 3]}\n')
    for written in ("calls.jsonl", "[{x: [1]}, {x: [2, 3]}]"):
        (model,) = load_mesh_file(write(one_model(f"{{name: m, source: a.onnx, warmup: {written}}}"))).models()["m"]
        assert model.warmup == [{"x": [1]}, {"x": [2, 3]}]


def test_models_as_the_worker_wants_them(write: Write) -> None:
    """Every field of an entry reaches the worker's configuration."""
    entry = (
        "{name: m, source: a.onnx, version: '7', backend: onnx, instances: 2, isolation: process, hang_s: 5,"
        " device: cpu, max_waiting: 3, max_wait_s: 4, warmup: [{x: 1}], parameters: {k: v}, sha256: '" + "0" * 64 + "',"
        " batching: {max_batch_size: 4, max_delay_ms: 2, cost: x, max_cost: 9, pad: {T: [8, 16]}}}"
    )
    (model,) = load_mesh_file(write(one_model(entry))).models()["m"]
    assert model.config() == ModelConfig(
        name="m",
        source=model.source,
        version="7",
        backend="onnx",
        instances=2,
        batching=Batching(max_batch_size=4, max_delay_ms=2, cost="x", max_cost=9, pad={"T": (8, 16)}),
        isolation=Isolation.PROCESS,
        hang_s=5,
        device="cpu",
        max_waiting=3,
        max_wait_s=4,
        warmup=({"x": 1},),
        sha256="0" * 64,
        parameters={"k": "v"},
    )


def test_models_are_listed_once(write: Write) -> None:
    """A model that two groups host alike is one model."""
    model = "{name: m, source: a.onnx}"
    mesh = load_mesh_file(write(f"workers: [{{name: a, models: [{model}]}}, {{name: b, models: [{model}]}}]"))
    assert list(mesh.models()) == ["m"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("workers: [", "not YAML"),
        ("- a", "Expected `object`, got `array`"),
        ("worker: []", "unknown field 'worker'; did you mean 'workers'"),
        ("frogs: []", "unknown field 'frogs'.* mesh, max_message_mib, gateway, workers, graphs"),
        (
            "workers: [{name: a, models: [], replica: 2}]",
            r": workers\[0\] 'a': unknown field 'replica'; did you mean 'replicas'\?$",
        ),
        (
            one_model("{name: m, source: a.onnx}, {name: n, source: b.onnx, instanses: 2}"),
            r": workers\[0\] 'w'\.models\[1\] 'n': unknown field 'instanses'; did you mean 'instances'\?$",
        ),
        ("workers: [{models: []}]", r": workers\[0\]: the field 'name' is missing$"),
        (one_model("{name: m}"), r"models\[0\] 'm': the field 'source' is missing$"),
        (one_model("{name: m, source: a.onnx, version: 2}"), r"\.version: must be text, got 2; .*: version: \"2\"$"),
        (one_model("{name: m, source: a.onnx, batching: {pad: {T: [x]}}}"), r"batching\.pad\[...\].*Expected `int`"),
        (one_model("{name: m, source: a.onnx, version: v2}"), "a version must match"),
        (one_model("{name: M, source: a.onnx}"), "a model or graph name must match .* got 'M'"),
        (one_model("{name: m, source: a.onnx, instances: -1}"), "model 'm': instances must be 0 or more, got -1"),
        (one_model("{name: m, source: a.onnx, isolation: jail}"), r"\.isolation: must be none or process, got 'jail'$"),
        (one_model("{name: m, source: a.onnx, sha256: abc}"), "model 'm': sha256 must be 64 lower-case hex"),
        (one_model("{name: m, source: a.onnx, max_wait_s: 0}"), "model 'm': .*max_wait_s must be positive"),
        (one_model("{name: m, source: a.onnx, batching: {max_batch_size: 0}}"), "model 'm': max_batch_size must be"),
        (
            one_model("{name: m, source: a.onnx, batching: {rows: 3}}"),
            r"models\[0\] 'm'\.batching: unknown field 'rows'",
        ),
        (one_model("{name: m, source: a.onnx, warmup: gone.jsonl}"), "warmup: .*gone.jsonl cannot be read"),
        (one_model("{name: m, source: a.onnx, warmup: mesh.yaml}"), "warmup: line 1 of .*mesh.yaml must be a JSON"),
        ("workers: [{name: a, models: [], replicas: 0}]", "worker 'a': replicas must be at least 1, got 0"),
        ("workers: [{name: a, models: [], cache_mib: -1}]", "worker 'a': cache_mib must not be negative, got -1"),
        ("workers: [{name: a/b, models: []}]", "must match"),
        ("workers: [{name: a, models: []}, {name: a, models: []}]", "different names, got a, a$"),
        (one_model("{name: m, source: a.onnx}, {name: m, source: b.onnx}"), "worker 'w': models must have different"),
        (
            "workers: [{name: a, models: [{name: m, source: x}]}, {name: b, models: [{name: m, source: y}]}]",
            "model 'm' is declared twice, differently",
        ),
        ("mesh: Shop", "must match"),
        ("gateway: {port: 0}", "gateway: port must be from 1 to 65535, got 0"),
        ("gateway: {grpc_port: 70000}", "gateway: grpc_port must be from 0 to 65535, got 70000"),
        ("graphs: [gone.yaml]", "graphs: no file .*gone.yaml"),
        (
            one_model("{name: m, source: 'wheel://no-such-thing/a.onnx'}"),
            "pip install --no-deps --ignore-requires-python no-such-thing",
        ),
        (one_model("{name: m, source: 'wheel://click/a.onnx'}"), "click has no file a.onnx"),
    ],
)
def test_a_mistake_is_named(write: Write, text: str, complaint: str) -> None:
    """The message begins with the file and says which field is wrong and what was expected."""
    path = write(text)
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        load_mesh_file(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing, a folder, or not text is refused with its path."""
    binary = tmp_path / "model.onnx"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, complaint in (
        (tmp_path / "gone.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "not UTF-8"),
    ):
        with pytest.raises(InvalidRequest, match=complaint):
            load_mesh_file(path)


@pytest.mark.parametrize(
    ("source", "resolved"),
    [
        ("a.onnx", "/base/a.onnx"),
        ("/abs/a.onnx", "/abs/a.onnx"),
        ("a.py:Model", "/base/a.py:Model"),
        ("/abs/a.py:Model", "/abs/a.py:Model"),
        ("package.module:Model", "package.module:Model"),
    ],
)
def test_sources(source: str, resolved: str) -> None:
    """Files become absolute, classes in importable modules stay as they are."""
    assert resolve_source(source, Path("/base")) == resolved


def test_files_inside_installed_packages(write: Write) -> None:
    """A `wheel://` source or parameter becomes the path of a file of an installed distribution."""
    path = write(
        one_model("{name: m, source: 'wheel://click/click/core.py', parameters: {f: 'wheel://click/click/core.py'}}")
    )
    (model,) = load_mesh_file(path).models()["m"]
    assert Path(model.source).name == "core.py"
    assert Path(model.source).is_file()
    assert model.parameters == {"f": model.source}


def test_the_demos_mesh_file() -> None:
    """The demo's own file is valid here: its models' files exist and so do its graphs."""
    mesh = load_mesh_file(MESH)
    networks = [model.source for (model,) in mesh.models().values() if model.source.endswith(".onnx")]
    assert len(networks) == 3
    assert all(Path(path).is_file() for path in [*networks, *mesh.graphs])
