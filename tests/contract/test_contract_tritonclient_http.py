"""tritonclient.http, the synchronous one: everything it can ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.contract.tensors import EVERYTHING, JSON_TYPES, same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def client(target: Target) -> Iterator[InferenceServerClient]:
    """A client of the worker or the gateway."""
    with InferenceServerClient(target.http) as opened:
        yield opened


def tensor(name: str, array: Any, datatype: str, *, binary: bool = True) -> InferInput:  # noqa: ANN401 - an array
    """Return an input."""
    return InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def x(*, binary: bool = True) -> list[InferInput]:
    """Return the input of `add`."""
    return [tensor("x", np.array([1, 2], np.float32), "FP32", binary=binary)]


def test_health_and_metadata(client: InferenceServerClient) -> None:
    """The server is live and ready, models and graphs are ready and described."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("add", "1")
    assert client.is_model_ready("chain")
    assert not client.is_model_ready("nope")
    metadata = client.get_server_metadata()
    assert metadata["name"] == "graphmesh"
    assert {"binary_tensor_data", "model_configuration"} <= set(metadata["extensions"])
    for name in ("add", "chain"):
        assert client.get_model_metadata(name)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}]


@pytest.mark.parametrize(("binary_in", "binary_out"), [(True, True), (True, False), (False, True), (False, False)])
def test_every_datatype(client: InferenceServerClient, *, binary_in: bool, binary_out: bool) -> None:
    """Every datatype goes there and back; what JSON cannot carry is binary. Their order is that of the JSON."""
    text = np.array([b"a", "ü".encode()], np.object_)
    values = {**EVERYTHING, "bytes_": ("BYTES", text)} if not (binary_in and binary_out) else EVERYTHING
    inputs = [
        tensor(name, array, datatype, binary=binary_in or name not in JSON_TYPES)
        for name, (datatype, array) in values.items()
    ]
    order = sorted(values, reverse=True)
    outputs = [InferRequestedOutput(name, binary_data=binary_out or name not in JSON_TYPES) for name in order]
    result = client.infer("echo", inputs, outputs=outputs, request_id="r-2")
    assert [output["name"] for output in result.get_response()["outputs"]] == order
    assert result.get_response()["id"] == "r-2"
    for name, (datatype, array) in values.items():
        found = result.as_numpy(name)
        if datatype == "BYTES" and not binary_out:
            assert found.tolist() == [element.decode() for element in array.tolist()]
        else:
            assert same(found, array), name


def test_binary_is_what_clients_ask_by_default(client: InferenceServerClient) -> None:
    """Without a list of outputs Triton's client asks for all as binary data, and gets them so."""
    result = client.infer("echo", [tensor(name, array, datatype) for name, (datatype, array) in EVERYTHING.items()])
    assert all(same(result.as_numpy(name), array) for name, (_, array) in EVERYTHING.items())
    for output in result.get_response()["outputs"]:
        assert output["parameters"]["binary_data_size"] == np.prod(output["shape"]) * itemsize(output)
        assert "data" not in output


def itemsize(output: dict[str, Any]) -> float:
    """Return the bytes of an element of an output of `echo`."""
    datatype, array = EVERYTHING[output["name"]]
    return 7.0 if datatype == "BYTES" else array.itemsize  # two elements: 4 bytes, 4 + 6 bytes


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 5)])
@pytest.mark.parametrize("binary", [True, False])
def test_scalars_and_zero_sizes(client: InferenceServerClient, shape: tuple[int, int], *, binary: bool) -> None:
    """Scalars have the shape [], tensors without elements keep theirs."""
    inputs = [
        tensor("scalar", np.array(-7, np.int64), "INT64", binary=binary),
        tensor("rows", np.ones(shape, np.uint8), "UINT8", binary=binary),
    ]
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("rows", "scalar")]
    result = client.infer("reshape", inputs, outputs=outputs)
    assert result.as_numpy("rows").shape == shape
    assert result.as_numpy("scalar").tolist() == -7
    assert result.get_output("scalar")["shape"] == []


@pytest.mark.parametrize("answer", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_compression(client: InferenceServerClient, request_: str | None, answer: str | None, *, binary: bool) -> None:
    """Requests and answers are compressed as asked, binary or JSON, of model and graph."""
    values = np.arange(20_000, dtype=np.float32) / 7
    options = {"request_compression_algorithm": request_, "response_compression_algorithm": answer}
    for model, added in (("add", 1), ("chain", 2)):
        outputs = [InferRequestedOutput("y", binary_data=binary)]
        result = client.infer(model, [tensor("x", values, "FP32", binary=binary)], outputs=outputs, **options)
        assert np.allclose(result.as_numpy("y"), values + added)


def test_a_bomb_is_stopped(client: InferenceServerClient) -> None:
    """A request that inflates to a thousand times its size is refused."""
    bomb = tensor("x", np.zeros(8 << 20, np.float32), "FP32")
    with pytest.raises(InferenceServerException, match="100 times") as caught:
        client.infer("add", [bomb], request_compression_algorithm="gzip")
    assert caught.value.status() == "413"


def test_repository(client: InferenceServerClient, fragile_file: Path) -> None:
    """The index is listed; models are unloaded and loaded with empty answers; a failure says why."""
    index = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert index["add"] == {"name": "add", "version": "1", "state": "READY", "reason": ""}
    assert index["chain"]["state"] == "READY"
    client.unload_model("movable")
    client.load_model("movable")
    assert client.infer("movable", x()).as_numpy("y").tolist() == [2, 3]
    fragile_file.rename(fragile_file.with_suffix(".away"))
    try:
        with pytest.raises(InferenceServerException, match="weights") as caught:
            client.load_model("fragile")
    finally:
        fragile_file.with_suffix(".away").rename(fragile_file)
    assert caught.value.status() == "400"
    client.load_model("fragile")


def test_config_and_statistics(client: InferenceServerClient) -> None:
    """Configurations and statistics are JSON with whole numbers, as Triton's tools read them."""
    config = client.get_model_config("batched")
    assert (config["name"], config["max_batch_size"]) == ("batched", 8)
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 1000
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": []}]
    assert client.get_model_config("chain", "1")["platform"] == "graphmesh_graph"
    client.infer("add", x())
    (stats,) = client.get_inference_statistics("add", "1")["model_stats"]
    assert stats["inference_stats"]["success"]["count"] >= 1
    assert stats["execution_count"] >= 1
    assert {entry["name"] for entry in client.get_inference_statistics()["model_stats"]} >= {"add", "chain", "echo"}


def test_settings(client: InferenceServerClient) -> None:
    """Trace and log settings are told, and cannot be changed."""
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_trace_settings("add")["trace_level"] == ["OFF"]
    assert client.get_log_settings()["log_error"] is True
    with pytest.raises(InferenceServerException, match="cannot be changed") as caught:
        client.update_log_settings({"log_info": False})
    assert caught.value.status() == "501"
    with pytest.raises(InferenceServerException, match="cannot be changed"):
        client.update_trace_settings("add", {"trace_level": "MAX"})


@pytest.mark.parametrize(
    ("call", "words", "status"),
    [
        (lambda client: client.load_model("nope"), "nope", "404"),
        (lambda client: client.get_model_config("nope"), "nope", "404"),
        (lambda client: client.get_model_metadata("add", "9"), "no version", "404"),
        (lambda client: client.get_inference_statistics("nope"), "nope", "404"),
        (lambda client: client.infer("ad", x()), "add", "404"),
        (lambda client: client.infer("add", x(), sequence_id=1), "sequences", "501"),
        (lambda client: client.get_system_shared_memory_status(), "shared memory", "501"),
        (lambda client: client.get_cuda_shared_memory_status(), "shared memory", "501"),
        (lambda client: client.unregister_system_shared_memory(), "shared memory", "501"),
        (lambda client: client.load_model("add", files={"file:1/model.onnx": b"x"}, config="{}"), "config|file", "501"),
    ],
)
def test_what_is_refused(client: InferenceServerClient, call: Any, words: str, status: str) -> None:  # noqa: ANN401
    """What is not known or not offered is refused by JSON with an `error` that says which."""
    with pytest.raises(InferenceServerException, match=words) as caught:
        call(client)
    assert caught.value.status() == status


def test_failures_of_models(client: InferenceServerClient) -> None:
    """A client's mistake is told in the model's words; a model's own failure is not."""
    with pytest.raises(InferenceServerException, match="say this") as caught:
        client.infer("fails", [tensor("text", np.array("say this", np.object_), "BYTES")])
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException) as caught:
        client.infer("fails", [tensor("text", np.array("", np.object_), "BYTES")])
    assert caught.value.status() == "500"
    assert "secret" not in caught.value.message()


def test_priority_and_timeout(client: InferenceServerClient) -> None:
    """Triton's scheduling parameters are taken."""
    assert client.infer("add", x(), priority=1, timeout=5_000_000).as_numpy("y").tolist() == [2, 3]


def test_asynchronous_calls(client: InferenceServerClient) -> None:
    """The client's own asynchronous calls work."""
    calls = [client.async_infer("add", x(binary=binary)) for binary in (True, False)]
    assert [call.get_result().as_numpy("y").tolist() for call in calls] == [[2, 3], [2, 3]]
