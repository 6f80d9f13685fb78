import asyncio

import pytest
from shout import Shout

from graphmesh.core.errors import SignatureMismatch
from graphmesh.worker.local import LocalMesh


def test_shout() -> None:
    with LocalMesh({"shout": Shout}).sync() as mesh:
        assert mesh.predict("shout", text="hi") == {"output": "HI!"}


def test_a_missing_input_is_refused() -> None:
    with LocalMesh({"shout": Shout}).sync() as mesh, pytest.raises(SignatureMismatch, match="text"):
        mesh.predict("shout")


def test_many_at_once() -> None:
    async def calls() -> list[str]:
        async with LocalMesh({"shout": Shout}) as mesh:
            answers = await asyncio.gather(*(mesh.predict("shout", text=word) for word in ("a", "b")))
            return [answer["output"] for answer in answers]

    assert asyncio.run(calls()) == ["A!", "B!"]
