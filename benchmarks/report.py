"""Results: verdicts on the claims, the table with bars for people, the document that is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.machine import line
from benchmarks.measure import Method, Spread, increment, ratio, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Block
    from benchmarks.scenarios import Scenario

__all__ = ["CLAIMS", "Claim", "Verdict", "document", "judge", "judged", "text"]

_BAR_CELLS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One figure that must hold: a ratio, or what each of some further nodes adds."""

    title: str
    """What is claimed."""
    ours: str
    """Name of the scenario that is judged."""
    theirs: str
    """Name of the scenario that it is compared with."""
    most: float
    """The largest figure that passes."""
    nodes: int = 0
    """0: the figure is the ratio of the two. n: CPU microseconds that each of the n nodes adds which only ours has."""

    def figure(self, ours: Sequence[Block], theirs: Sequence[Block]) -> Spread:
        """Return the figure, block by block within each round."""
        return increment(ours, theirs, nodes=self.nodes) if self.nodes else ratio(ours, theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A claim and what was measured."""

    claim: Claim
    """What is claimed."""
    measured: Spread
    """The figure, round by round."""

    @property
    def passed(self) -> bool:
        """Whether the median keeps to the claim."""
        return self.measured.median <= self.claim.most


CLAIMS = (
    Claim(
        title="gateway + worker costs at most half of bare Envoy + grpc.aio worker",
        ours="mesh-async-grpc",
        theirs="bare-envoy",
        most=0.5,
    ),
    Claim(
        title="the fused chain of 4 costs at most twice the single model",
        ours="chain-fused",
        theirs="mesh-async-grpc",
        most=2.0,
    ),
    Claim(
        title="a worker's fused chain of 4 costs at most 0.3 of Triton's ensemble of 4, both without a gateway",
        ours="chain-worker",
        theirs="triton-ensemble",
        most=0.3,
    ),
    Claim(
        title="microseconds that each fused node adds, from a chain of 4 to one of 12",
        ours="chain-long",
        theirs="chain-worker",
        most=20.0,
        nodes=8,
    ),
)
"""What issue and README promise."""


def judged() -> frozenset[str]:
    """Return the names of the scenarios that claims compare."""
    return frozenset(name for claim in CLAIMS for name in (claim.ours, claim.theirs))


def judge(blocks: Mapping[str, Sequence[Block]]) -> list[Verdict]:
    """Return a verdict on every claim whose scenarios were measured."""
    return [
        Verdict(claim=claim, measured=claim.figure(blocks[claim.ours], blocks[claim.theirs]))
        for claim in CLAIMS
        if claim.ours in blocks and claim.theirs in blocks
    ]


def document(
    scenarios: Sequence[Scenario],
    blocks: Mapping[str, Sequence[Block]],
    *,
    method: Method,
    machine: dict[str, object],
    date: str,
) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "date": date,
        "unit": "CPU microseconds per request, all server processes",
        "method": asdict(method),
        "machine": machine,
        "scenarios": [_scenario(one, blocks[one.name]) for one in scenarios],
        "claims": [
            {**asdict(verdict.claim), **asdict(verdict.measured), "passed": verdict.passed} for verdict in judge(blocks)
        ],
    }


def _scenario(one: Scenario, blocks: Sequence[Block]) -> dict[str, Any]:
    parts = {part: spread([block.cpu_us[part] for block in blocks]).median for part in blocks[0].cpu_us}
    return {
        "name": one.name,
        "title": one.title,
        "cpu_us": asdict(spread([block.total_us for block in blocks])),
        "parts_us": parts,
        "requests_per_s": spread([block.requests / block.seconds for block in blocks]).median,
        "blocks": [asdict(block) for block in blocks],
    }


def text(result: Mapping[str, Any]) -> str:
    """Return the table, bars and verdicts of a document."""
    scenarios = result["scenarios"]
    width = max(len(one["title"]) for one in scenarios)
    most = max(one["cpu_us"]["median"] for one in scenarios)
    lines = [f"{result['date']}  {line(result['machine'])}", result["unit"], ""]
    lines += [_row(one, width=width, most=most) for one in scenarios]
    lines += ["", *(_verdict(claim) for claim in result["claims"])]
    return "\n".join(lines)


def _row(one: Mapping[str, Any], *, width: int, most: float) -> str:
    cost = one["cpu_us"]
    bar = "█" * max(1, round(cost["median"] / most * _BAR_CELLS))
    interval = f"{cost['low']:.0f}-{cost['high']:.0f}"
    parts = ", ".join(f"{part} {value:.0f}" for part, value in one["parts_us"].items()) if one["parts_us"] else ""
    row = f"{one['title']:<{width}}  {cost['median']:6.0f} {interval:>11}  {bar:<{_BAR_CELLS}}"
    return f"{row}  {parts}" if len(one["parts_us"]) > 1 else row.rstrip()


def _verdict(claim: Mapping[str, Any]) -> str:
    word = "PASS" if claim["passed"] else "FAIL"
    return (
        f"{word}  {claim['median']:.2f} ({claim['low']:.2f}-{claim['high']:.2f}), "
        f"must be at most {claim['most']:.2f}: {claim['title']}"
    )
