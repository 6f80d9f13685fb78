import asyncio

from graphmesh.worker import ModelConfig
from graphmesh.worker.local import LocalMesh

TOPICS = {"sport": "ball goal team match", "food": "bread soup salt oven"}
CONFIG = ModelConfig(name="topics", source="topics.py:Topics", parameters={"topics": TOPICS})


async def ask(texts: list[str]) -> list[str]:
    async with LocalMesh({"topics": CONFIG}) as mesh:
        answers = await asyncio.gather(*(mesh.predict("topics", text=[text]) for text in texts))
        return [answer["topic"][0] for answer in answers]


def test_each_caller_gets_its_own_answer() -> None:
    assert asyncio.run(ask(["a goal", "hot soup", "the team"])) == ["sport", "food", "sport"]
