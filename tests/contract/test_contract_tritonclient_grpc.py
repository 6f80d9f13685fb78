"""tritonclient.grpc, the synchronous one: everything it can ask."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.contract.tensors import EVERYTHING, same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

X = np.array([1, 2], np.float32)


@pytest.fixture
def client(target: Target) -> Iterator[InferenceServerClient]:
    """A client of the worker or the gateway."""
    with InferenceServerClient(target.grpc) as opened:
        yield opened


def tensor(name: str, array: Any, datatype: str) -> InferInput:  # noqa: ANN401 - an array
    """Return an input."""
    return InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def x() -> list[InferInput]:
    """Return the input of `add`."""
    return [tensor("x", X, "FP32")]


def test_health_and_metadata(client: InferenceServerClient) -> None:
    """The server is live and ready, models and graphs are ready and described."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("add")
    assert client.is_model_ready("add", "1")
    assert client.is_model_ready("chain")
    metadata = client.get_server_metadata()
    assert metadata.name == "graphmesh"
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(metadata.extensions)
    for name in ("add", "chain"):
        model = client.get_model_metadata(name)
        assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("x", "FP32", [-1])]
        assert list(model.versions) == ["1"]


def test_every_datatype(client: InferenceServerClient) -> None:
    """Every datatype goes there and back bit by bit, FP16, BF16 and BYTES too; answers are always raw."""
    inputs = [tensor(name, array, datatype) for name, (datatype, array) in EVERYTHING.items()]
    result = client.infer("echo", inputs, request_id="r-1")
    for name, (_, array) in EVERYTHING.items():
        assert same(result.as_numpy(name), array), name
    response = result.get_response()
    assert response.id == "r-1"
    assert len(response.raw_output_contents) == len(EVERYTHING)
    assert not any(output.HasField("contents") for output in response.outputs)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 5)])
def test_scalars_and_zero_sizes(client: InferenceServerClient, shape: tuple[int, int]) -> None:
    """Scalars have the shape [], tensors without elements keep theirs."""
    rows = np.ones(shape, np.uint8)
    inputs = [tensor("scalar", np.array(-7, np.int64), "INT64"), tensor("rows", rows, "UINT8")]
    result = client.infer("reshape", inputs)
    assert result.as_numpy("rows").shape == shape
    scalar = result.get_output("scalar")
    assert list(scalar.shape) == []
    assert np.frombuffer(result.get_response().raw_output_contents[0], np.int64).tolist() == [-7]


def test_outputs_that_are_asked_for(client: InferenceServerClient) -> None:
    """Only outputs that were asked for are given, in the order asked."""
    inputs = [tensor(name, array, datatype) for name, (datatype, array) in EVERYTHING.items()]
    outputs = [InferRequestedOutput("int8"), InferRequestedOutput("bool_")]
    response = client.infer("echo", inputs, outputs=outputs).get_response()
    assert [output.name for output in response.outputs] == ["int8", "bool_"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [3, 100_000])
def test_compression(client: InferenceServerClient, algorithm: str, size: int) -> None:
    """Compressed requests are understood, small and large, of model and graph."""
    values = np.random.default_rng(0).random(size, np.float32)
    for model, added in (("add", 1), ("chain", 2)):
        result = client.infer(model, [tensor("x", values, "FP32")], compression_algorithm=algorithm)
        assert np.array_equal(result.as_numpy("y"), values + np.float32(1) + np.float32(added - 1))


def test_a_bomb_is_stopped(client: InferenceServerClient) -> None:
    """A request that inflates to a thousand times its size is refused."""
    bomb = tensor("x", np.zeros(15 << 20, np.float32), "FP32")
    with pytest.raises(InferenceServerException, match="100 times") as caught:
        client.infer("add", [bomb], compression_algorithm="gzip")
    assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_64_mib_both_ways(target: Target) -> None:
    """A tensor of 64 MiB, less what is around it, goes there and back."""
    rows = np.ones((64, (1 << 20) - 16), np.uint8)
    with InferenceServerClient(target.grpc) as client:
        inputs = [tensor("scalar", np.array(0, np.int64), "INT64"), tensor("rows", rows, "UINT8")]
        result = client.infer("reshape", inputs, client_timeout=60)
    assert np.array_equal(result.as_numpy("rows"), rows)


def test_repository_index(client: InferenceServerClient) -> None:
    """The index lists every model and graph, with its version and state."""
    index = {model.name: model for model in client.get_model_repository_index().models}
    assert (index["add"].version, index["add"].state, index["add"].reason) == ("1", "READY", "")
    assert (index["chain"].version, index["chain"].state) == ("1", "READY")
    assert len(client.get_model_repository_index().models) == 12


def test_load_and_unload(client: InferenceServerClient, target: Target) -> None:
    """An unloaded model is not ready and is refused; loaded again it answers, at once."""
    client.unload_model("movable")
    entries = {model.name: model for model in client.get_model_repository_index().models}
    if target.direct:
        assert entries["movable"].state == "UNAVAILABLE"
    with pytest.raises(InferenceServerException) as caught:
        client.infer("movable", x()) if target.direct else _until_refused(client)
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    client.load_model("movable")
    assert client.is_model_ready("movable")
    assert client.infer("movable", x()).as_numpy("y").tolist() == [2, 3]


def _until_refused(client: InferenceServerClient) -> None:
    """Call until the gateway has heard that the model is gone."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        client.infer("movable", x())
        time.sleep(0.02)


def test_a_failed_reload_keeps_the_old_one(client: InferenceServerClient, target: Target, fragile_file: Path) -> None:
    """A model that cannot be loaded again says why, with the worker's name through the gateway; the old one serves."""
    fragile_file.rename(fragile_file.with_suffix(".away"))
    try:
        with pytest.raises(InferenceServerException, match="weights") as caught:
            client.load_model("fragile")
    finally:
        fragile_file.with_suffix(".away").rename(fragile_file)
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"
    assert target.direct or "worker left-1: " in caught.value.message()
    assert client.infer("fragile", x()).as_numpy("y").tolist() == [1, 2]
    client.load_model("fragile")


@pytest.mark.parametrize(
    ("call", "words", "status"),
    [
        (lambda client: client.load_model("nope"), "nope", "NOT_FOUND"),
        (lambda client: client.unload_model("nope"), "nope", "NOT_FOUND"),
        (lambda client: client.load_model("add", config="{}"), "config", "UNIMPLEMENTED"),
        (lambda client: client.unload_model("add", unload_dependents=True), "unload_dependents", "UNIMPLEMENTED"),
        (lambda client: client.get_model_config("nope"), "nope", "NOT_FOUND"),
        (lambda client: client.get_model_metadata("add", "9"), "no version", "NOT_FOUND"),
        (lambda client: client.get_inference_statistics("nope"), "nope", "NOT_FOUND"),
        (lambda client: client.update_trace_settings(settings={"trace_level": "MAX"}), "trace", "UNIMPLEMENTED"),
        (lambda client: client.update_log_settings({"log_info": False}), "log settings", "UNIMPLEMENTED"),
        (lambda client: client.get_system_shared_memory_status(), "shared memory", "UNIMPLEMENTED"),
        (lambda client: client.get_cuda_shared_memory_status(), "shared memory", "UNIMPLEMENTED"),
        (lambda client: client.register_system_shared_memory("a", "/a", 8), "shared memory", "UNIMPLEMENTED"),
        (lambda client: client.unregister_cuda_shared_memory("a"), "shared memory", "UNIMPLEMENTED"),
    ],
)
def test_what_is_refused(client: InferenceServerClient, call: Any, words: str, status: str) -> None:  # noqa: ANN401
    """What is not known or not offered is refused by a message that says which."""
    with pytest.raises(InferenceServerException, match=words) as caught:
        call(client)
    assert caught.value.status() == f"StatusCode.{status}"


def test_settings_can_be_read(client: InferenceServerClient) -> None:
    """Trace and log settings are told."""
    assert list(client.get_trace_settings().settings["trace_level"].value) == ["OFF"]
    assert client.get_log_settings().settings["log_error"].bool_param is True


def test_config(client: InferenceServerClient) -> None:
    """The configuration tells tensors, instances, batching and whether answers may be many; a graph has one too."""
    config = client.get_model_config("batched").config
    assert (config.name, config.max_batch_size) == ("batched", 8)
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [("x", 11, [])]
    assert config.dynamic_batching.max_queue_delay_microseconds == 1000
    assert config.instance_group[0].count == 1
    plain = client.get_model_config("add", "1").config
    assert (plain.max_batch_size, [list(one.dims) for one in plain.output]) == (0, [[-1]])
    assert client.get_model_config("count").config.model_transaction_policy.decoupled
    assert [one.name for one in client.get_model_config("chain").config.output] == ["y"]


def test_statistics(client: InferenceServerClient, target: Target) -> None:
    """Statistics count calls that went well and those that failed, and batches; the gateway adds up its workers."""

    def counts(name: str) -> tuple[int, int, int]:
        (stats,) = client.get_inference_statistics(name, "1").model_stats
        return stats.inference_stats.success.count, stats.inference_stats.fail.count, stats.execution_count

    before = counts("busy")
    for _ in range(6):
        client.infer("busy", x())
    with pytest.raises(InferenceServerException):
        client.infer("busy", [tensor("x", np.array([[1.0]], np.float32), "FP32")])
    assert [after - earlier for after, earlier in zip(counts("busy"), before, strict=True)] == [6, 1, 6]
    (stats,) = client.get_inference_statistics("busy").model_stats
    assert (stats.name, stats.version) == ("busy", "1")
    assert stats.inference_stats.success.ns > 0
    assert stats.inference_stats.compute_infer.count >= 6
    assert stats.inference_stats.queue.count >= 6
    assert sum(batch.compute_infer.count for batch in stats.batch_stats) == stats.execution_count
    assert abs(stats.last_inference / 1000 - time.time()) < 60
    client.infer("chain", x())
    everything = {stats.name: stats for stats in client.get_inference_statistics().model_stats}
    assert everything["chain"].inference_stats.success.count >= 1
    assert len(everything) == 12


def test_errors(client: InferenceServerClient) -> None:
    """A client's mistake is told in the model's words; a model's own failure is not."""
    with pytest.raises(InferenceServerException, match="say this") as caught:
        client.infer("fails", [tensor("text", np.array(b"say this", np.object_), "BYTES")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException) as caught:
        client.infer("fails", [tensor("text", np.array(b"", np.object_), "BYTES")])
    assert caught.value.status() == "StatusCode.INTERNAL"
    assert "secret" not in caught.value.message()
    with pytest.raises(InferenceServerException, match="add"):
        client.infer("ad", x())


def test_parameters(client: InferenceServerClient) -> None:
    """Priorities, timeouts and an author's own parameters pass; sequences and reserved names do not."""
    assert client.infer("add", x(), priority=1, timeout=5_000_000, parameters={"mine": "1"}).as_numpy("y") is not None
    with pytest.raises(InferenceServerException, match="sequences are not offered") as caught:
        client.infer("add", x(), sequence_id=3, sequence_start=True)
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    with pytest.raises(InferenceServerException, match="reserved"):
        client.infer("add", x(), parameters={"headers": "x"})


def test_client_timeout(client: InferenceServerClient) -> None:
    """A deadline ends the call in time, with its own code."""
    begun = time.monotonic()
    with pytest.raises(InferenceServerException) as caught:
        client.infer("slow", [tensor("seconds", np.array(30.0), "FP64")], client_timeout=0.2)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert time.monotonic() - begun < 2


def test_cancel(client: InferenceServerClient) -> None:
    """A call that is cancelled is told so, and reaches the model."""

    def cancelled() -> int:
        return int(client.infer("slow", [tensor("seconds", np.array(0.0), "FP64")]).as_numpy("output"))

    answers: queue.Queue[Any] = queue.Queue()
    call = client.async_infer(
        "slow", [tensor("seconds", np.array(30.0), "FP64")], lambda result, error: answers.put(error)
    )
    time.sleep(0.2)
    call.cancel()
    assert answers.get(timeout=5).status() == "StatusCode.CANCELLED"
    end = time.monotonic() + 5
    while not cancelled():
        assert time.monotonic() < end, "the model must be cancelled too"


def test_stream_keeps_order(client: InferenceServerClient) -> None:
    """Requests over one stream are answered in order, an error between answers ends nothing."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for model in ("add", "nothing", "chain"):
        client.async_stream_infer(model, x())
    found = [answers.get(timeout=10) for _ in range(3)]
    client.stop_stream()
    assert [error is None for _, error in found] == [True, False, True]
    assert "nothing" in str(found[1][1])
    assert found[2][0].as_numpy("y").tolist() == [3, 4]


def test_decoupled_stream(client: InferenceServerClient) -> None:
    """A model that streams gives many answers to one request; the last is marked for clients that ask."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer(
        "count", [tensor("n", np.array(3), "INT64")], request_id="s", enable_empty_final_response=True
    )
    numbers: list[int] = []
    while True:
        result, error = answers.get(timeout=10)
        assert error is None, error
        response = result.get_response()
        assert response.id == "s"
        if response.outputs:
            numbers.append(int(np.frombuffer(response.raw_output_contents[0], np.int64)[0]))
        if response.parameters["triton_final_response"].bool_param:
            break
    client.stop_stream()
    assert numbers == [0, 1, 2]
