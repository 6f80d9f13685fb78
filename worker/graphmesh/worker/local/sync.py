"""A local mesh for tests that are not async: the same calls, each driven to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import TracebackType

    from graphmesh.core.signature import Signature
    from graphmesh.worker.local.mesh import LocalMesh
    from graphmesh.worker.local.values import Outputs

__all__ = ["SyncLocalMesh"]


class SyncLocalMesh:
    """A `LocalMesh` as a plain context manager. Not for use inside a running event loop, nor from several threads."""

    def __init__(self, mesh: LocalMesh) -> None:
        self._mesh = mesh
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Load; raises as `LocalMesh`."""
        try:
            self._runner.run(self._mesh.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unload."""
        with self._runner:
            self._runner.run(self._mesh.__aexit__(kind, error, trace))

    def signature(self, name: str) -> Signature:
        """Return what a model or graph takes and gives; raises NotFound."""
        return self._runner.run(self._mesh.signature(name))

    def predict(self, name: str, inputs: Mapping[str, object] | None = None, /, **options: Any) -> Outputs:  # noqa: ANN401 - inputs and options of `LocalMesh.predict`
        """Call a model or graph; takes, returns and raises what `LocalMesh.predict` does."""
        return self._runner.run(self._mesh.predict(name, inputs, **options))

    def stream(
        self,
        name: str,
        inputs: Mapping[str, object] | None = None,
        /,
        **options: Any,  # noqa: ANN401
    ) -> Generator[Outputs, None, None]:
        """Call a model or graph and yield each of its answers; takes and raises what `LocalMesh.stream` does."""
        answers = self._mesh.stream(name, inputs, **options)
        try:
            while (outputs := self._runner.run(_next(answers))) is not None:
                yield outputs
        finally:
            self._runner.run(answers.aclose())


async def _next(answers: Any) -> Outputs | None:  # noqa: ANN401 - an async generator of Outputs
    found: Outputs | None = await anext(answers, None)
    return found
