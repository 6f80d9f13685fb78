"""A model in a process of its own, as the worker sees it: a `LoadedModel` whose `run` asks that process.

The process is started by a thread that then waits for its end: it knows how it ended, and the kernel ends the process
with that thread, which lives as long as the worker. Nothing is forked; the process begins from nothing.

`run` is sync, whatever the model is: each call holds a lane, and the thread it is called on, until the process answered
or is gone. A run that hangs hangs there; `hung` says when nobody wants its answer any more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from graphmesh.core.errors import GraphmeshError, LoadFailed, ModelNotReady, ModelProcessDied
from graphmesh.worker.hosting.memory import resident_bytes
from graphmesh.worker.isolation.connection import Connection, Lost
from graphmesh.worker.isolation.lane import FromProcess, Lane
from graphmesh.worker.isolation.messages import (
    Call,
    Cancel,
    Load,
    Loaded,
    Refused,
    Resolved,
    Unload,
    from_child,
    lane_from_child,
)
from graphmesh.worker.isolation.messages import (
    Lane as NewLane,
)
from graphmesh.worker.isolation.wire import batching_from_wire, config_from_wire, config_to_wire, decode_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.backends import Run
    from graphmesh.worker.batching import Batching
    from graphmesh.worker.config import ModelConfig
    from graphmesh.worker.hosting.context import Context

__all__ = ["ModelProcess", "resolve_apart"]

logger = logging.getLogger(__name__)

_UNLOAD_S = 5.0
_LAST_WORDS_S = 2.0


class ModelProcess:
    """One model version in one process.

    Args:
        config: What it runs.
        died: Called on another thread, with how it ended, if it ends without being told to once it was loaded.
    """

    is_async = False
    wants_context = True
    batching: Batching | None = None
    signature: Signature
    platform = ""

    def __init__(self, config: ModelConfig, died: Callable[[str], None]) -> None:
        self._config = config
        self._died = died
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Connection[Loaded | Resolved | Refused] | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        self._how = ""
        self._loaded = self._told = self._tells = False
        self._lanes: list[Lane] = []
        self._running: dict[int, Lane] = {}
        self._abandoned: dict[int, float] = {}
        self._runs = itertools.count(1)
        self._numbers = itertools.count(1)
        self.overlaps = False
        """Whether the model takes several calls at once by itself: its `predict` is async."""
        self.memory_bytes = 0
        """What it had in memory when `sample` was last called."""
        self.casualties: tuple[Mapping[str, Tensor], ...] = ()
        """The inputs of the calls that were in it when it ended, also of those whose callers had left."""

    @property
    def pid(self) -> int:
        """The process; 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._started.is_set() and not self._ended.is_set()

    def load(self) -> None:
        """Start the process and load the model in it; takes as long as that takes.

        Raises:
            LoadFailed: the model cannot be loaded, or its process ended (FAILED_PRECONDITION, retry: no).
        """
        answer = self._ask(Load(config_to_wire(dataclasses.replace(self._config, batching=None))))
        if not isinstance(answer, Loaded):
            raise LoadFailed("the model's process did not say what it loaded")
        self.signature = decode_signature(answer.signature)
        self.platform = answer.platform
        self.batching = batching_from_wire(answer.batching)
        self.overlaps = answer.is_async
        self._tells = answer.wants_context or answer.is_async or self.signature.streaming
        self._loaded = True
        self.sample()

    def resolve(self) -> tuple[ModelConfig, ...]:
        """Return what the source holds, read in the process, which then ends; raises as `load`."""
        answer = self._ask(Load(config_to_wire(self._config), resolve=True))
        if not isinstance(answer, Resolved):
            raise LoadFailed("the process did not say what the source holds")
        return tuple(config_from_wire(fields) for fields in answer.configs)

    def _ask(self, message: Load) -> Loaded | Resolved:
        mine, theirs = socket.socketpair()
        self._control = Connection(mine, from_child())
        threading.Thread(target=self._live, args=(theirs,), name=f"process {self._config.name}", daemon=True).start()
        self._started.wait()
        try:
            self._control.send(message)
            answer, _ = self._control.receive()
        except Lost:
            self.kill()
            raise LoadFailed(f"{self._what}: its process ended while it loaded: {self._ending()}") from None
        if isinstance(answer, Refused):
            self.kill()
            raise LoadFailed(answer.message)
        return answer

    @property
    def _what(self) -> str:
        return self._config.source.rsplit("/", 1)[-1]

    def _live(self, theirs: socket.socket) -> None:
        """Be the thread that the process lives and dies with."""
        try:
            with theirs:
                process = self._process = subprocess.Popen(  # noqa: S603 - this very program
                    [
                        *(sys.executable, "-P", "-m", "graphmesh.worker.isolation.child"),
                        *(str(theirs.fileno()), str(os.getpid())),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the worker, which then ends it
                )
        except OSError as error:
            self._how = f"it could not be started: {error.strerror}"
            self._ended.set()
            self._started.set()
            if self._control is not None:
                self._control.close()
            return
        self._started.set()
        code = process.wait()
        self._how = self._how or _ending(code)
        lanes = self._running.copy().values()  # complete: whoever lost a lane waits for `_ended` before leaving it
        self.casualties = tuple(context.inputs for lane in lanes for context in lane.contexts)
        self._ended.set()
        if self._control is not None:
            self._control.close()
        self._close_idle_lanes()
        if self._loaded and not self._told:
            self._died(self.death)

    @property
    def death(self) -> str:
        """How it ended; waits a little for that."""
        return f"the model's process died ({self._ending()})"

    def _ending(self) -> str:
        self._ended.wait(_LAST_WORDS_S)
        return self._how or "it does not answer"

    # Running

    @property
    def run(self) -> Run:
        """Return what asks the process; see `LoadedModel`."""
        return self._stream if self.signature.streaming else self._run

    def _run(self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()) -> Mapping[str, Tensor]:
        with self._lane(contexts) as lane:
            lane.begin(inputs, self._calls(contexts))
            outputs = lane.answer()
            if outputs is None:
                raise Lost("no answer")
            return outputs

    def _stream(
        self, inputs: Mapping[str, Tensor], contexts: Sequence[Context] = ()
    ) -> Generator[Mapping[str, Tensor], None, None]:
        with self._lane(contexts) as lane:
            lane.begin(inputs, self._calls(contexts))
            while (outputs := lane.answer()) is not None:
                try:
                    yield outputs
                except GeneratorExit:
                    lane.abandon()
                    raise
                lane.proceed()

    @contextlib.contextmanager
    def _lane(self, contexts: Sequence[Context]) -> Generator[Lane, None, None]:
        """Hold a lane; a process that is gone, or talks nonsense and is ended, is ModelProcessDied."""
        if self._ended.is_set() or self._control is None:
            raise ModelNotReady(f"model {self._config.name!r} is being started again: {self._how}")
        try:
            lane = self._lanes.pop() if self._lanes else self._new_lane()
        except Lost as error:
            raise self._gone(error) from error
        lane.contexts = contexts
        run = next(self._runs)
        self._running[run] = lane
        try:
            yield lane
        except Lost as error:
            raise self._gone(error) from error
        finally:
            del self._running[run]
            lane.contexts = ()
            self._lanes.append(lane)
            if self._ended.is_set():  # nobody else will close it
                self._close_idle_lanes()

    def _new_lane(self) -> Lane:
        mine, theirs = socket.socketpair()
        connection: FromProcess = Connection(mine, lane_from_child())
        with theirs:
            assert self._control is not None, "a lane needs a process"  # noqa: S101
            try:
                self._control.send(NewLane(), theirs.fileno())
            except Lost:
                connection.close()
                raise
        return Lane(connection)

    def _close_idle_lanes(self) -> None:
        while self._lanes:
            try:
                lane = self._lanes.pop()
            except IndexError:  # another thread took the last one
                return
            lane.close()

    def _gone(self, error: Lost) -> GraphmeshError:
        if not self._ended.wait(_LAST_WORDS_S):
            logger.error("model process does not keep to the protocol model=%s reason=%s", self._config.name, error)
            self.kill("it does not keep to the protocol")
        return ModelProcessDied(f"model {self._config.name!r}: {self.death}")

    def _calls(self, contexts: Sequence[Context]) -> list[Call]:
        """Return what the process must know of the calls: nothing, for a model that could not use it."""
        return [self._call(context) for context in contexts] if self._tells else []

    def _call(self, context: Context) -> Call:
        number = next(self._numbers)
        context.listen(lambda: self._cancel(number))
        return Call(
            number,
            context.model,
            context.version,
            context.request_id,
            context.deadline.timeout(),
            context.rows,
            dict(context.headers),
            dict(context.parameters),
            context.cancelled,
        )

    def _cancel(self, number: int) -> None:
        if self._control is not None and self.alive:
            self._control.tell(Cancel(number))

    # Health

    @property
    def busy(self) -> bool:
        """Whether calls run in it now."""
        return bool(self._running)

    def sample(self) -> None:
        """Measure its memory."""
        self.memory_bytes = resident_bytes(self.pid) if self.alive else 0

    def hung(self, now: float, patience_s: float) -> bool:
        """Return whether as many runs as there are instances go on, this long after all their callers have left."""
        running = self._running.copy().items()
        self._abandoned = {run: self._abandoned.get(run, now) for run, lane in running if _left(lane.contexts)}
        long_since = sum(now - since >= patience_s for since in self._abandoned.values())
        return long_since >= max(1, self._config.instances)

    def kill(self, why: str = "") -> None:
        """End the process at once; with a reason it counts as having died of that."""
        if why:
            self._how = why
        else:
            self._told = True
        process = self._process
        if process is not None and not self._ended.is_set():
            process.kill()

    def unload(self) -> None:
        """Have the model give back what it holds and the process end; after five seconds it is killed."""
        self._told = True
        if self._control is not None and self.alive:
            with contextlib.suppress(Lost):
                self._control.send(Unload())
            if not self._ended.wait(_UNLOAD_S):
                logger.warning("model process did not end and is killed model=%s pid=%d", self._config.name, self.pid)
                self.kill()
                self._ended.wait(_LAST_WORDS_S)
        self._close_idle_lanes()


def resolve_apart(config: ModelConfig) -> tuple[ModelConfig, ...]:
    """Return what an isolated model's source holds, as `resolve`, without importing it here.

    A process that ends over it says nothing: the source is then returned as it is, and loading it will say why.
    """
    process = ModelProcess(dataclasses.replace(config, batching=None), lambda _: None)
    try:
        found = process.resolve()
    except LoadFailed as error:
        logger.debug("source cannot be read yet model=%s error=%s", config.name, error)
        backend, version, instances = config.backend or "python", config.version or "1", config.instances or 1
        return (dataclasses.replace(config, backend=backend, version=version, instances=instances),)
    finally:
        process.kill()
    return tuple(dataclasses.replace(one, batching=config.batching or one.batching) for one in found)


def _left(contexts: Sequence[Context]) -> bool:
    """Return whether nobody waits for a run any more."""
    return bool(contexts) and all(context.cancelled or context.remaining() <= 0 for context in contexts)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {-code}, {signal.Signals(-code).name}"
    return f"signal {-code}"
