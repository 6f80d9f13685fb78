"""The extensions over REST: paths, bodies and Triton's JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from graphmesh.core.errors import GraphmeshError, InvalidRequest, NotFound, Unsupported
from graphmesh.core.oip_rest import Question, answer, match
from tests.core.oip_fake import FakeManagement

POST, GET, BOTH = ("POST",), ("GET",), ("GET", "POST")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/repository/index", Question("RepositoryIndex", POST)),
        ("/v2/repository/models/add/load", Question("RepositoryModelLoad", POST, "add")),
        ("/v2/repository/models/a%2Db/unload", Question("RepositoryModelUnload", POST, "a-b")),
        ("/v2/models/add/config", Question("ModelConfig", GET, "add")),
        ("/v2/models/add/versions/2/config", Question("ModelConfig", GET, "add", "2")),
        ("/v2/models/stats", Question("ModelStatistics", GET)),
        ("/v2/models/add/stats", Question("ModelStatistics", GET, "add")),
        ("/v2/models/add/versions/2/stats", Question("ModelStatistics", GET, "add", "2")),
        ("/v2/trace/setting", Question("TraceSetting", BOTH)),
        ("/v2/models/add/trace/setting", Question("TraceSetting", BOTH, "add")),
        ("/v2/logging", Question("LogSettings", BOTH)),
        ("/v2/systemsharedmemory/status", Question("SystemSharedMemoryStatus", BOTH)),
        ("/v2/cudasharedmemory/region/r/register", Question("SystemSharedMemoryStatus", BOTH)),
        ("/v2", None),
        ("/v2/models/add", None),
        ("/v2/models/add/infer", None),
        ("/v2/models//config", None),
        ("/v2/models/a/b/config", None),
        ("/v2/repository/index/", None),
        ("/v1/logging", None),
    ],
)
def test_paths(path: str, expected: Question | None) -> None:
    """Each path asks one thing; others ask nothing here."""
    assert match(path) == expected


async def ask(path: str, body: bytes = b"") -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of an answer, None for an empty one."""
    question = match(path)
    assert question is not None
    text = await answer(question, body, FakeManagement())
    return orjson.loads(text) if text else None


async def test_index_is_a_list() -> None:
    """The index is a list of objects; the body may be empty or ask for what is ready."""
    everything = await ask("/v2/repository/index")
    assert everything[1] == {"name": "bad", "version": "2", "state": "UNAVAILABLE", "reason": "no file"}
    assert [entry["name"] for entry in await ask("/v2/repository/index", b'{"ready": true}')] == ["add"]


async def test_load_and_unload_answer_nothing() -> None:
    """Load and unload have empty answers, with the bodies that Triton's client sends."""
    assert await ask("/v2/repository/models/add/load", b"{}") is None
    assert await ask("/v2/repository/models/add/unload", b'{"parameters": {"unload_dependents": false}}') is None


async def test_statistics_keep_large_numbers() -> None:
    """64-bit counts are numbers, exact ones."""
    found = await ask("/v2/models/add/versions/3/stats")
    stats = found["model_stats"][0]
    assert (stats["name"], stats["version"]) == ("add", "3")
    assert stats["inference_stats"] == {"success": {"count": 3, "ns": 2**60 + 1}}
    assert stats["batch_stats"] == []
    assert stats["last_inference"] == 0


async def test_config_has_names_of_enums_and_maps() -> None:
    """Enums are names, maps objects, choices that were not made absent."""
    config = await ask("/v2/models/add/config")
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}]
    assert config["parameters"] == {"key": {"string_value": "value"}}
    assert config["max_batch_size"] == 8
    assert "dynamic_batching" not in config


async def test_settings_are_flat() -> None:
    """Settings are one object, name to value."""
    assert await ask("/v2/trace/setting") == {"trace_level": ["OFF"]}
    assert (await ask("/v2/logging"))["log_error"] is True


@pytest.mark.parametrize(
    ("path", "body", "kind", "words"),
    [
        ("/v2/repository/index", b"[]", InvalidRequest, "got list"),
        ("/v2/repository/index", b"{", InvalidRequest, "JSON object"),
        ("/v2/repository/index", b'{"ready": 1}', InvalidRequest, "ready must be true or false"),
        ("/v2/repository/models/nope/load", b"", NotFound, "nope"),
        ("/v2/repository/models/add/load", b'{"parameters": []}', InvalidRequest, "parameters must be an object"),
        ("/v2/repository/models/add/load", b'{"parameters": {"file:1/x": "AA"}}', Unsupported, "file:1/x"),
        ("/v2/repository/models/add/unload", b'{"parameters": {"unload_dependents": true}}', Unsupported, "unload"),
        ("/v2/trace/setting", b'{"trace_level": "MAX"}', Unsupported, "cannot be changed"),
        ("/v2/logging", b'{"log_verbose_level": 1}', Unsupported, "cannot be changed"),
        ("/v2/cudasharedmemory/status", b"", Unsupported, "shared memory"),
    ],
)
async def test_what_is_refused(path: str, body: bytes, kind: type[GraphmeshError], words: str) -> None:
    """Bodies of another form, unknown models, files, changed settings and shared memory are refused."""
    with pytest.raises(kind, match=words):
        await ask(path, body)
