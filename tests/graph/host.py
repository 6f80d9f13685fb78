"""A host for runs of graphs in tests: virtual time, answers by script, and a record of every call.

    async def work() -> None:
        host = FakeHost({"double": lambda x: {"y": x * 2}, "slow": Reply({"y": ONE}, after_s=3.0)})
        ...

    virtual(work())

Time passes only while everything waits, and then at once. Tasks, limits and cancellation are the worker's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from graphmesh.core.clock import NO_DEADLINE, Deadline
from graphmesh.core.errors import DeadlinePassed, GraphmeshError
from graphmesh.graph.running.budget import Budget
from graphmesh.graph.running.frame import Frame, Run
from graphmesh.graph.running.host import Answer
from graphmesh.graph.running.plan import make_plan
from graphmesh.graph.running.positions import stream_plan
from graphmesh.graph.running.run import run_plan
from graphmesh.worker.drive import Drive

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Hashable, Iterable

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.call import Call
    from graphmesh.graph.spec import Graph, Target

_T = TypeVar("_T")

Signatures: TypeAlias = "Callable[[str], Signature | None]"
"""What models and graphs take and give, by name."""

Outputs: TypeAlias = Mapping[str, Any]
Function: TypeAlias = Callable[..., Outputs]


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call is answered with."""

    outputs: Outputs | Function = field(default_factory=dict)
    """The outputs, or what makes them of the inputs."""
    after_s: float = 0.0
    """Seconds before the answer, the error, or the first answer of a stream."""
    error: BaseException | None = None
    """Raised instead of an answer; of a stream, after its last one."""
    stream: Sequence[Outputs | Function] | None = None
    """The answers of a stream."""
    every_s: float = 0.0
    """Seconds before each answer of a stream but the first."""
    degraded: tuple[str, ...] = ()
    """As `Answer.degraded`."""


Script: TypeAlias = Function | Reply | Sequence[Function | Reply]
"""What answers calls of one target: a function, a reply, or one of these for each call, of which the last goes on."""


@dataclass(slots=True)
class Made:
    """A call that was made."""

    call: Call
    """The call."""
    start: float
    """When it began."""
    end: float | None = None
    """When it ended."""
    how: str = "running"
    """``running``, ``answered``, ``failed`` or ``cancelled`` (a stream that was closed early, too)."""
    answers: int = 0
    """How many answers it gave."""

    @property
    def name(self) -> str:
        """What was called."""
        return self.call.target.name


class FakeHost(Drive):
    """Answers calls by script.

    Args:
        answers: By name of the target.
        expected: What `expected_s` says, by name.
        versions: What `versions` says, by name.
    """

    __slots__ = ("_answers", "_expected", "_versions", "made")

    def __init__(
        self,
        answers: Mapping[str, Script],
        *,
        expected: Mapping[str, float] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._answers = answers
        self._expected = dict(expected or {})
        self._versions = dict(versions or {})
        self.made: list[Made] = []
        """Every call, in the order they began."""

    def now(self) -> float:
        """Return virtual seconds since the start."""
        return self._loop.time()

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` here, after a turn of the loop: a thread knows nothing of virtual time."""
        await asyncio.sleep(0)
        return work()

    def deadline(self, seconds: float) -> Deadline:
        """Return the deadline ``seconds`` of virtual time from now; ask it for `at` alone, all else is real time."""
        return Deadline(self.now() + seconds)

    def of(self, name: str) -> list[Made]:
        """Return the calls of one target."""
        return [made for made in self.made if made.name == name]

    @property
    def names(self) -> list[str]:
        """What was called, in the order the calls began."""
        return [made.name for made in self.made]

    @property
    def paths(self) -> list[str]:
        """The paths of all calls, in the order they began."""
        return [made.call.path for made in self.made]

    @property
    def running(self) -> list[Made]:
        """The calls that have not ended."""
        return [made for made in self.made if made.how == "running"]

    async def call(self, call: Call) -> Answer:
        """Answer one call."""
        with self._made(call) as made:
            reply = self._reply(call)
            await self._wait(reply.after_s, call.deadline)
            if reply.error is not None:
                raise reply.error
            made.answers = 1
            return Answer(_outputs(reply.outputs, call), reply.degraded)

    async def stream(self, call: Call) -> AsyncGenerator[Answer, None]:
        """Answer one call as a stream; a reply without one gives one answer."""
        with self._made(call) as made:
            reply = self._reply(call)
            pause_s = reply.after_s
            for outputs in [reply.outputs] if reply.stream is None else reply.stream:
                await self._wait(pause_s, call.deadline)
                pause_s = reply.every_s
                made.answers += 1
                yield Answer(_outputs(outputs, call), reply.degraded)
            if reply.error is not None:
                await self._wait(pause_s, call.deadline)
                raise reply.error

    def expected_s(self, target: Target) -> float:
        """Return what the test said."""
        return self._expected.get(target.name, 0.0)

    def versions(self, targets: Iterable[Target]) -> Hashable:
        """Return what the test said."""
        return tuple(self._versions.get(target.name, "1") for target in targets)

    @contextlib.contextmanager
    def _made(self, call: Call) -> Any:  # noqa: ANN401 - a context manager
        made = Made(call, self.now())
        self.made.append(made)
        try:
            yield made
        except (asyncio.CancelledError, GeneratorExit):
            made.how = "cancelled"
            raise
        except BaseException:
            made.how = "failed"
            raise
        else:
            made.how = "answered"
        finally:
            made.end = self.now()

    def _reply(self, call: Call) -> Reply:
        script = self._answers[call.target.name]
        if isinstance(script, Sequence):
            before = len(self.of(call.target.name)) - 1
            script = script[min(before, len(script) - 1)]
        return script if isinstance(script, Reply) else Reply(script)

    async def _wait(self, seconds: float, deadline: Deadline) -> None:
        """Wait, and keep to the deadline as what is called does; without a pause the loop still gets a turn."""
        left = deadline.at - self.now()
        await asyncio.sleep(max(0.0, min(seconds, left)))
        if seconds > left:
            raise DeadlinePassed("the deadline passed before the answer was there")


def _outputs(outputs: Outputs | Function, call: Call) -> Mapping[str, Tensor]:
    given = outputs(**call.inputs) if callable(outputs) else outputs
    return {name: tensor for name, tensor in given.items() if not call.outputs or name in call.outputs}


def run_of(host: FakeHost, **more: Any) -> Run:  # noqa: ANN401 - any field of a run
    """Return a run of a graph ``g`` on a host."""
    return Run(**{"graph": "g", "host": host, "budget": Budget(), **more})


def frame_of(run: Run, path: str = "step", *outputs: str, deadline: Deadline = NO_DEADLINE) -> Frame:
    """Return the frame of a step of a run."""
    return Frame(run=run, path=path, deadline=deadline, outputs=outputs)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everything waits, and then at once."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        super().__init__(_Impatient(self))

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now_s

    def skip(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


class _Impatient(selectors.DefaultSelector):
    """A selector that lets virtual time pass instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once what is ready, after ``timeout`` virtual seconds if nothing is."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and nothing will ever happen"
            self._loop.skip(timeout)
        return ready


def virtual(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in virtual time, and check that it leaves no task behind."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def watched() -> _T:
            result = await work
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks were left behind: {left}"
            return result

        return runner.run(watched())


async def give(
    host: FakeHost,
    graph: Graph,
    inputs: Mapping[str, Any],
    signatures: Signatures = lambda _: None,
    **more: Any,  # noqa: ANN401 - any field of a run
) -> dict[str, Tensor]:
    """Run a graph on a host and return its outputs; ``deadline`` and fields of the run by name."""
    deadline = more.pop("deadline", NO_DEADLINE)
    run = run_of(host, **{"graph": graph.name, **more})
    return await run_plan(make_plan(graph, signatures), inputs, run, deadline)


def stream(
    host: FakeHost,
    graph: Graph,
    inputs: Mapping[str, Any],
    signatures: Signatures,
    **more: Any,  # noqa: ANN401 - any field of a run
) -> AsyncGenerator[dict[str, Tensor], None]:
    """Run a graph that streams on a host; as `give`."""
    deadline = more.pop("deadline", NO_DEADLINE)
    run = run_of(host, **{"graph": graph.name, **more})
    return stream_plan(make_plan(graph, signatures), inputs, run, deadline)


def failure(error: GraphmeshError) -> str:
    """Return an error's code and text, as tests compare them."""
    return f"{error.code.name}: {error.message}"
