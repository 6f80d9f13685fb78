"""What a worker logs of calls: the request's id on every line, and no line for a call that is merely refused."""

import asyncio
import logging
import time
from collections.abc import Iterator

import pytest

from graphmesh.core.errors import InvalidRequest, ModelFailed, SignatureMismatch
from graphmesh.core.logs import RequestId, bind_request_id
from graphmesh.graph import GraphBuilder
from graphmesh.worker import batched
from graphmesh.worker.local import LocalMesh

logger = logging.getLogger("tests.model")


class Talks:
    """Logs in its instance's thread."""

    def predict(self, text: str) -> str:
        """Log and return."""
        logger.info("sync text=%s", text)
        return text


class TalksAsync:
    """Logs on the event loop, before and after others have run."""

    async def predict(self, text: str) -> str:
        """Log twice."""
        logger.info("async text=%s", text)
        await asyncio.sleep(0.001)
        logger.info("async text=%s", text)
        return text


class TalksInBatches:
    """Logs once for a batch."""

    @batched(max_batch_size=8)
    def predict(self, text: list[str]) -> list[str]:
        """Log and return, slowly enough for others to gather."""
        logger.info("batch text=%s", ",".join(text))
        time.sleep(0.02)
        return text


class TalksStreaming:
    """Logs at each answer."""

    def predict(self, text: str) -> Iterator[str]:
        """Yield letters."""
        for letter in text:
            logger.info("stream text=%s", letter)
            yield letter


class Fails:
    """Raises what it is told to."""

    def predict(self, text: str) -> str:
        """Raise."""
        if text == "typed":
            raise InvalidRequest("not that")
        raise ValueError(text)


@pytest.fixture(autouse=True)
def _tagged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let records have their request's id, as a process does that logs by `log_handler`."""
    tag = RequestId()
    caplog.handler.addFilter(tag)
    caplog.set_level(logging.INFO)
    yield
    caplog.handler.removeFilter(tag)
    bind_request_id("")


def _ids(caplog: pytest.LogCaptureFixture, name: str = "tests.model") -> list[tuple[str, str]]:
    return [(record.getMessage(), vars(record)["request_id"]) for record in caplog.records if record.name == name]


@pytest.mark.parametrize(("kind", "lines"), [(Talks, 1), (TalksAsync, 2), (TalksInBatches, 1)])
async def test_a_models_lines_name_the_request(kind: type, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    """What a model logs belongs to the request that it runs, on the loop, on a thread and in a batch."""
    async with LocalMesh({"m": kind}) as mesh:
        for name in ("a", "b", ""):
            text = [name] if kind is TalksInBatches else name
            await mesh.predict("m", text=text, headers={"x-request-id": name} if name else {})
    found = _ids(caplog)
    assert len(found) == 3 * lines
    assert all(message.endswith(f"text={tag}") for message, tag in found)


async def test_requests_side_by_side_keep_their_ids(caplog: pytest.LogCaptureFixture) -> None:
    """Calls that run at the same time do not mix up their ids."""
    async with LocalMesh({"sync": Talks, "async": TalksAsync}) as mesh:
        calls = [
            mesh.predict(model, text=f"{model}-{number}", headers={"x-request-id": f"{model}-{number}"})
            for model in ("sync", "async")
            for number in range(10)
        ]
        await asyncio.gather(*calls)
    found = _ids(caplog)
    assert len(found) == 30
    assert all(message.endswith(f"text={tag}") for message, tag in found)


async def test_a_batchs_lines_name_all_its_requests(caplog: pytest.LogCaptureFixture) -> None:
    """A line that is logged for several calls has the ids of all of them."""
    async with LocalMesh({"m": TalksInBatches}) as mesh:
        calls = [mesh.predict("m", text=[name], headers={"x-request-id": name}) for name in "abcdef"]
        await asyncio.gather(*calls)
    assert all(message.endswith(f"text={tag}") for message, tag in _ids(caplog))
    assert len(_ids(caplog)) < 6


async def test_a_streams_lines_name_the_request(caplog: pytest.LogCaptureFixture) -> None:
    """Every step of a generator belongs to its request."""
    async with LocalMesh({"m": TalksStreaming}) as mesh:
        answers = mesh.stream("m", text="ab", headers={"x-request-id": "r"})
        assert [outputs["output"] async for outputs in answers] == ["a", "b"]
    assert _ids(caplog) == [("stream text=a", "r"), ("stream text=b", "r")]


async def test_a_graphs_nodes_log_for_its_request(caplog: pytest.LogCaptureFixture) -> None:
    """The id travels to the nodes of a graph."""
    graph = GraphBuilder("g")
    text = graph.input("text")
    graph.output("a", graph.model("first", "sync", text=text)["output"])
    graph.output("b", graph.model("second", "async", text=text)["output"])
    async with LocalMesh({"sync": Talks, "async": TalksAsync}, graphs=[graph]) as mesh:
        await mesh.predict("g", text="x", headers={"x-request-id": "r"})
    assert {tag for _, tag in _ids(caplog)} == {"r"}
    assert len(_ids(caplog)) == 3


async def test_a_failure_is_logged_once_with_everything(caplog: pytest.LogCaptureFixture) -> None:
    """The line has request, model, version, the id that the caller is told, and the traceback."""
    async with LocalMesh({"m": Fails}) as mesh:
        with pytest.raises(ModelFailed) as failed:
            await mesh.predict("m", text="boom", headers={"x-request-id": "r"})
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert vars(record)["request_id"] == "r"
    message = record.getMessage()
    assert message.startswith("model failed model=m version=1 id=failure-")
    assert message.rpartition("=")[2] in failed.value.message
    assert record.exc_info is not None


async def test_refused_calls_are_no_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Calls that are the caller's mistake or that a model refuses are counted, and logged at DEBUG only."""
    async with LocalMesh({"m": Fails}) as mesh:
        caplog.clear()
        for wrong in ({"text": "typed"}, {}):
            with pytest.raises((InvalidRequest, SignatureMismatch)):
                await mesh.predict("m", wrong)
        assert caplog.records == []
        caplog.set_level(logging.DEBUG, "graphmesh.worker.handler")
        with pytest.raises(InvalidRequest):
            await mesh.predict("m", text="typed", headers={"x-request-id": "r"})
    (line,) = _ids(caplog, "graphmesh.worker.handler")
    assert line[0].startswith("call ended model=m version=1 code=INVALID_ARGUMENT seconds=0.")
    assert line[1] == "r"
