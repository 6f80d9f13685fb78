"""When a mesh that is starting may be called ready, and which child's error explains why it is not."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING

from graphmesh.cli.http import get
from graphmesh.core.errors import StartFailed
from graphmesh.registry import ModelState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from graphmesh.cli.children import Child
    from graphmesh.registry import Mirror, Snapshot

__all__ = [
    "described",
    "failing_with",
    "gateway_answers",
    "gateway_registered",
    "models_routed",
    "workers_registered",
]

_POLL_S = 0.1


@contextlib.asynccontextmanager
async def failing_with(children: Sequence[Child]) -> AsyncIterator[None]:
    """Run the body; a child that ends meanwhile ends it.

    Raises:
        StartFailed: a child ended; carries its name and the last line it wrote.
    """
    body = asyncio.current_task()
    ended: list[Child] = []

    async def watch(child: Child) -> None:
        await child.ended.wait()
        ended.append(child)
        if body is not None and len(ended) == 1:
            body.cancel()

    watchers = [asyncio.create_task(watch(child)) for child in children]
    try:
        yield
    except asyncio.CancelledError:
        if not ended or body is None:
            raise
        body.uncancel()
        raise StartFailed(f"{ended[0].name} could not start: {_error_of(ended[0])}") from None
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


def _error_of(child: Child) -> str:
    return child.last_line.removeprefix("graphmesh: ") or f"exit code {child.exit_code}"


async def workers_registered(mirror: Mirror, worker_ids: Sequence[str], *, say: Callable[[str], None]) -> None:
    """Return once every worker has registered; says each as it comes, with the models it failed to load."""
    waiting = list(worker_ids)

    def arrived(snapshot: Snapshot) -> bool:
        for worker_id in [w for w in waiting if w in snapshot.workers]:
            waiting.remove(worker_id)
            models = snapshot.workers[worker_id].models
            ready = sorted({m.name for m in models if m.state is ModelState.AVAILABLE})
            say(f"worker {worker_id} is ready: {', '.join(ready) or 'no model'}")
            for model in models:
                if model.state is ModelState.FAILED:
                    say(f"worker {worker_id}: model {model.name} failed to load: {model.message}")
        return not waiting

    async for snapshot in mirror.changes():
        if arrived(snapshot):
            return


async def _until_ok(url: str) -> None:
    while (await asyncio.to_thread(get, url)).status != HTTPStatus.OK:  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(_POLL_S)


async def gateway_registered(mirror: Mirror, gateway_id: str) -> None:
    """Return once the gateway has registered, which it does when its Envoy has the ports: what answers there is it."""
    async for snapshot in mirror.changes():
        if gateway_id in snapshot.gateways:
            return


async def gateway_answers(address: str) -> None:
    """Return once the gateway reports that it is ready."""
    await _until_ok(f"http://{address}/v2/health/ready")


async def models_routed(address: str, mirror: Mirror, graphs: set[str]) -> None:
    """Return once the gateway routes to every available model and to these graphs.

    Not to every graph that etcd kept from another day: its models may be gone.
    """
    names = {
        model.name
        for worker in mirror.snapshot.workers.values()
        for model in worker.models
        if model.state is ModelState.AVAILABLE
    }
    for name in sorted(names | graphs):
        await _until_ok(f"http://{address}/v2/models/{name}/ready")


def described(names: Sequence[str], snapshot: Snapshot) -> str:
    """Return which of these models are there, and which failed to load: a version, where another one is there."""
    hosted = [model for worker in snapshot.workers.values() for model in worker.models]
    there = {model.name for model in hosted if model.state is ModelState.AVAILABLE}
    failed = {
        f"{model.name} version {model.version}" if model.name in there else model.name: None
        for model in hosted
        if model.state is ModelState.FAILED and model.name in names
    }
    if not names:
        return "none yet: add workers to mesh.yaml"
    loaded = ", ".join(name for name in names if name in there) or "none"
    return f"{loaded}; failed: {', '.join(failed)} (graphmesh models says why)" if failed else loaded
