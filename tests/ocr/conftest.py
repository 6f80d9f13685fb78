"""The demo's models and graphs in this process: loaded as a worker loads them, run by the graph engine, no mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import cv2
import numpy as np
import pytest

from graphmesh.cli.mesh_file import load_mesh_file
from graphmesh.cli.ocr import MESH, PICTURE
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.forms.text import parse_yaml
from graphmesh.graph.running.host import Answer
from graphmesh.worker.backends import load_model
from graphmesh.worker.config import ModelConfig
from tests.graph.host import FakeHost, give, virtual

if TYPE_CHECKING:
    from graphmesh.cli.mesh_file import MeshFile
    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.call import Call
    from graphmesh.graph.spec import Graph

Encode: TypeAlias = Callable[..., bytes]


class Chain:
    """Calls the demo's models and graphs by name, every tensor checked against the signatures."""

    def __init__(self, mesh: MeshFile) -> None:
        self.models = {
            name: load_model(ModelConfig(name=name, source=entry.source, parameters=entry.parameters))
            for name, (entry,) in mesh.models().items()
        }
        self.signatures: dict[str, Signature] = {name: model.signature for name, model in self.models.items()}
        self.graphs: dict[str, Graph] = {}
        for path in mesh.graphs:
            graph = parse_yaml(Path(path).read_text())
            self.signatures[graph.name] = validate(graph, self.signatures.get, graphs=self.graphs.get)
            self.graphs[graph.name] = graph

    def call(self, name: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what a model or graph answers."""
        return virtual(self.answer(name, inputs))

    async def answer(self, name: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what a model or graph answers, in a loop that runs."""
        signature = self.signatures[name]
        signature.check_inputs(inputs)
        outputs = await self._run(self.graphs[name], inputs) if name in self.graphs else self._model(name, inputs)
        signature.check_outputs(outputs)
        return outputs

    def read(self, image: bytes) -> tuple[list[str], Tensor, Tensor]:
        """Return the lines of a picture, their confidences and their boxes."""
        answer = self.call("ocr", {"image": np.array(image, object)})
        return [line.decode() for line in answer["text"]], answer["confidence"], answer["boxes"]

    def _model(self, name: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return cast("Mapping[str, Tensor]", self.models[name].run(inputs))

    async def _run(self, graph: Graph, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return await give(_Here(self), graph, inputs, self.signatures.get)


class _Here(FakeHost):
    """Makes the calls of a graph."""

    def __init__(self, chain: Chain) -> None:
        super().__init__({})
        self._chain = chain

    async def call(self, call: Call) -> Answer:
        """Answer by the chain's model or graph."""
        return Answer(await self._chain.answer(call.target.name, call.inputs))


@pytest.fixture(scope="session")
def chain() -> Chain:
    """The demo's mesh file, loaded once."""
    return Chain(load_mesh_file(MESH))


@pytest.fixture(scope="session")
def page() -> np.ndarray:
    """The demo's picture as pixels."""
    pixels = cv2.imread(str(PICTURE))
    assert pixels is not None
    return np.asarray(pixels)


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Encode pixels as a PNG or another kind of file."""

    def encoded(pixels: np.ndarray, kind: str = ".png") -> bytes:
        done, data = cv2.imencode(kind, np.ascontiguousarray(pixels))
        assert done
        return bytes(data)

    return encoded


@pytest.fixture(scope="session")
def lines() -> tuple[str, ...]:
    """What a person reads in the demo's picture."""
    return (
        "Region-based segmentation",
        "Let us first determine markers of the coins and the",
        "background. These markers are pixels that we can label",
        "unambiguously as either object or background. Here,",
        "the markers are found at the two extreme parts of the",
        "histogram of grey values:",
        ">>> markers = np.zeros_like(coins)",
    )
