import asyncio

import pytest

from graphmesh.core.errors import InvalidRequest
from graphmesh.worker import ModelConfig
from graphmesh.worker.local import LocalMesh

CONFIG = ModelConfig(name="story", source="story.py:Story", parameters={"learn": "once upon a time upon a hill"})


def test_words_come_one_by_one() -> None:
    with LocalMesh({"story": CONFIG}).sync() as mesh:
        answers = list(mesh.stream("story", prompt="once", words=3, parameters={"seed": 1}))
        assert [answer["output"] for answer in answers][:2] == ["upon", "a"]
        assert answers[0].headers == {"x-story-seed": "1"}


def test_a_mistake_is_the_callers() -> None:
    with LocalMesh({"story": CONFIG}).sync() as mesh, pytest.raises(InvalidRequest, match="got 0"):
        list(mesh.stream("story", prompt="once", words=0))


def test_a_caller_that_leaves() -> None:
    async def first() -> str:
        async with LocalMesh({"story": CONFIG}) as mesh:
            async for answer in mesh.stream("story", prompt="once", words=1000):
                return str(answer["output"])
        return ""

    assert asyncio.run(first()) == "upon"
