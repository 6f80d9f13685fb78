"""The method: interleaved blocks, CPU time per request, medians.

Every scenario is warmed up, which also finds how many requests fill a block. Then come rounds of one block each, and
further rounds of the few scenarios that claims compare, so that their blocks lie seconds apart; every second round goes
backwards. A machine whose speed drifts (shared cores, clock, temperature) so slows all alike, and ratios are formed
within a round before their median is taken.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.calls import verify
from benchmarks.h2load import run_load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from benchmarks.scenarios import Scenario

__all__ = ["Block", "Method", "Spread", "increment", "measure", "ratio", "spread"]

_FIRST_REQUESTS = 200
_FEWEST_REQUESTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How long and how often."""

    rounds: int
    """Blocks of each scenario."""
    judged_rounds: int
    """Further blocks of each scenario that a claim compares."""
    block_s: float
    """About how long a block takes, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One measurement."""

    requests: int
    """Requests made; none failed."""
    seconds: float
    """Wall time of the load generator, seconds."""
    cpu_us: Mapping[str, float]
    """CPU microseconds per request, by part of the system."""

    @property
    def total_us(self) -> float:
        """CPU microseconds per request of all parts."""
        return sum(self.cpu_us.values())


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the interval that all values lie in."""

    median: float
    """The median."""
    low: float
    """The smallest value."""
    high: float
    """The largest value."""


def spread(values: Sequence[float]) -> Spread:
    """Return median, smallest and largest of some values."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[Block], theirs: Sequence[Block]) -> Spread:
    """Return what one request costs as a multiple of another, block by block within each round."""
    return spread([one.total_us / other.total_us for one, other in zip(ours, theirs, strict=True)])


def increment(ours: Sequence[Block], theirs: Sequence[Block], *, nodes: int) -> Spread:
    """Return the CPU microseconds that each of ``nodes`` further nodes adds, block by block within each round."""
    return spread([(one.total_us - other.total_us) / nodes for one, other in zip(ours, theirs, strict=True)])


async def measure(
    scenarios: Sequence[Scenario], method: Method, *, judged: AbstractSet[str], say: Callable[[str], None]
) -> dict[str, list[Block]]:
    """Measure all scenarios and return their blocks by name, in the order of the rounds.

    Args:
        scenarios: What to measure.
        method: How long and how often.
        judged: Names of scenarios that claims compare; others in it are left alone.
        say: Receives progress.

    Raises:
        WrongAnswer: a system answers wrongly; found before anything is measured.
        LoadFailed: an answer had an error while it was measured.
        ServerFailed: a server process ended.
    """
    lengths = {one.name: [await verify(call) for call in one.calls] for one in scenarios}
    say(f"{len(scenarios)} scenarios answer rightly; warming up")
    requests: dict[str, int] = {}
    for one in scenarios:
        first = await _block(one, _FIRST_REQUESTS, lengths[one.name])
        requests[one.name] = _fill(first, method.block_s)
        again = await _block(one, requests[one.name], lengths[one.name])
        requests[one.name] = _fill(again, method.block_s)
    blocks: dict[str, list[Block]] = {one.name: [] for one in scenarios}
    few = [one for one in scenarios if one.name in judged]
    rounds = [scenarios] * method.rounds + [few] * method.judged_rounds
    for number, members in enumerate(rounds):
        say(f"round {number + 1} of {len(rounds)}: {len(members)} scenarios")
        for one in members if number % 2 == 0 else reversed(members):
            blocks[one.name].append(await _block(one, requests[one.name], lengths[one.name]))
    return blocks


def _fill(block: Block, seconds: float) -> int:
    return max(_FEWEST_REQUESTS, round(block.requests / block.seconds * seconds))


async def _block(scenario: Scenario, requests: int, lengths: Sequence[int]) -> Block:
    before = scenario.system.cpu_seconds()
    loads = [
        await run_load(call, requests=requests, answer_bytes=length)
        for call, length in zip(scenario.calls, lengths, strict=True)
    ]
    used = scenario.system.cpu_seconds().since(before)
    return Block(
        requests=requests,
        seconds=sum(load.seconds for load in loads),
        cpu_us={part: round(seconds / requests * 1e6, 2) for part, seconds in used.items()},
    )
