"""A composition graph as frozen values: what its author wrote, nothing resolved.

Nothing is checked here (`validate` does that), so that every mistake can be reported with the graph around it. Where a
tensor comes from is text: `input` for a graph input, `node.output` for a node's output. Node names carry no dot, so the
first dot of a source always ends the node's name.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from graphmesh.core.errors import InvalidGraph, InvalidRequest
from graphmesh.core.signature import parse_type as parse_any_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphmesh.core.signature import Dimension
    from graphmesh.graph.transforms.operations import Operation

__all__ = [
    "Aggregate",
    "Binding",
    "Cache",
    "Cascade",
    "Case",
    "Fallback",
    "Graph",
    "GraphCall",
    "GraphInput",
    "Join",
    "Kind",
    "Loop",
    "Map",
    "ModelCall",
    "Node",
    "Parallel",
    "Race",
    "Share",
    "Split",
    "Switch",
    "Target",
    "Transform",
    "parse_type",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """An edge: a named destination and the tensor that flows into it."""

    name: str
    """An input of the node's model or graph, or an output of the whole graph."""
    source: str
    """``input`` for a graph input, ``node.output`` for a node's output."""

    @property
    def node(self) -> str:
        """The node the tensor comes from; empty for a graph input."""
        return self.source.partition(".")[0] if "." in self.source else ""

    @property
    def tensor(self) -> str:
        """The name of the node's output or of the graph input."""
        return self.source.partition(".")[2] if "." in self.source else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInput:
    """A tensor that a request carries."""

    name: str
    """Unique among the graph's inputs; without a dot, which would read as a node's output."""
    datatype: str = ""
    """A datatype's name; empty takes datatype and shape from what reads the input."""
    shape: tuple[Dimension, ...] = ()
    """Outermost first; must be empty when the datatype is."""
    text: bool = False
    """The elements of a BYTES tensor are UTF-8 text."""
    description: str = ""
    """For people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A call of a model."""

    name: str
    """The model's name."""
    version: str = ""
    """A fixed version, digits; empty follows the mesh's own choice."""

    def __str__(self) -> str:
        """Return ``model name@version``."""
        return f"model {self.name}@{self.version}" if self.version else f"model {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCall:
    """A call of another graph, on its live revision."""

    name: str
    """The graph's name."""

    def __str__(self) -> str:
        """Return ``graph name``."""
        return f"graph {self.name}"


Target: TypeAlias = ModelCall | GraphCall
"""What can be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A call for the items along axis 0 of some inputs; other inputs go to every call unchanged."""

    target: Target
    """What is called."""
    over: tuple[str, ...]
    """Inputs that are divided along axis 0; at least one, all of equal length."""
    batch_size: int = 0
    """0: single items without axis 0, answers stacked. n: up to n items with axis 0 kept, answers concatenated."""
    max_concurrency: int = 0
    """Calls in flight at once for one request; 0 means `limits.DEFAULT_CONCURRENCY`."""

    def __str__(self) -> str:
        """Return ``map of model name``."""
        return f"map of {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case of a switch."""

    when: str
    """A CEL condition."""
    then: Node
    """What is run if it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The first branch whose condition holds."""

    cases: tuple[Case, ...]
    """In order of precedence; at least one."""
    default: Node | None = None
    """What is run if none holds; None refuses such a request."""

    def __str__(self) -> str:
        """Return ``switch``."""
        return "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One branch of a split."""

    weight: int
    """0 takes it out."""
    then: Node
    """What is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One branch, chosen at random by weight."""

    shares: tuple[Share, ...]
    """At least one."""
    key: str = ""
    """A CEL expression; calls with equal values take the same branch. Empty chooses for each call anew."""

    def __str__(self) -> str:
        """Return ``split``."""
        return "split"


class Join(enum.Enum):
    """Which branches of a parallel step must answer."""

    ALL = "all"
    ANY = "any"
    QUORUM = "quorum"
    FIRST = "first"


class Aggregate(enum.Enum):
    """How the answers of a parallel step's branches become one."""

    MERGE = "merge"
    CONCAT = "concat"
    MEAN = "mean"
    VOTE = "vote"
    MAX = "max"
    ONE = "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """All branches at once."""

    branches: tuple[Node, ...]
    """At least two."""
    join: Join = Join.ALL
    """Which of them must answer."""
    quorum: int = 0
    """For `Join.QUORUM`: how many."""
    aggregate: Aggregate = Aggregate.MERGE
    """How answers become one; written out, `Join.FIRST` has `Aggregate.ONE`."""

    def __str__(self) -> str:
        """Return ``parallel, all, merge``."""
        return f"parallel, {self.join.value}, {self.aggregate.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Branches in order until one answers."""

    branches: tuple[Node, ...]
    """At least two."""
    on: tuple[str, ...] = ()
    """Names of gRPC codes on which the next is tried; empty: all that do not say that the request is wrong."""

    def __str__(self) -> str:
        """Return ``fallback``."""
        return "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Branches in order until one is sure enough."""

    branches: tuple[Node, ...]
    """Cheapest first; at least two."""
    confidence: str
    """The output that says how sure an answer is: its smallest element counts."""
    threshold: float
    """Sure enough: at least this."""

    def __str__(self) -> str:
        """Return ``cascade, confidence at least 0.9``."""
        return f"cascade, {self.confidence} at least {self.threshold:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Branches one beside the other, each started later than the last; the first answer counts."""

    branches: tuple[Node, ...]
    """At least one; a single one is started a second time."""
    delay_s: float = 0.0
    """Seconds between two starts."""

    def __str__(self) -> str:
        """Return ``race, 50 ms apart``."""
        return f"race, {self.delay_s * 1000:g} ms apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A branch, run again until a condition holds."""

    body: Node
    """What is run."""
    max_iterations: int
    """The most times, 1 to `limits.MAX_ITERATIONS`."""
    until: str = ""
    """A CEL condition that ends it; empty repeats to the limit."""
    carry: tuple[Binding, ...] = ()
    """What each time gives the next: ``name`` an input of the step, ``source`` an output of the body."""

    def __str__(self) -> str:
        """Return ``loop, at most 10 times``."""
        return f"loop, at most {'once' if self.max_iterations == 1 else f'{self.max_iterations} times'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A branch whose answers are remembered."""

    body: Node
    """What is run for inputs that are not remembered."""
    ttl_s: float = 0.0
    """Seconds that an answer is remembered; 0 means `limits.DEFAULT_TTL_S`."""
    max_entries: int = 0
    """Most answers; 0 means `limits.DEFAULT_CACHE_ENTRIES`."""
    max_bytes: int = 0
    """Most bytes of tensors; 0 means `limits.DEFAULT_CACHE_BYTES`."""

    def __str__(self) -> str:
        """Return ``cache``."""
        return "cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """Operations on tensors, one after the other."""

    operations: tuple[Operation, ...]
    """At least one."""
    keep: tuple[str, ...] = ()
    """Results that the step gives although an operation reads them."""

    def __str__(self) -> str:
        """Return ``transform: cast, softmax``."""
        return f"transform: {', '.join(operation.kind for operation in self.operations)}"


Kind: TypeAlias = (
    ModelCall | GraphCall | Map | Switch | Split | Parallel | Fallback | Cascade | Race | Loop | Cache | Transform
)
"""What a node does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of a graph, or a branch of one.

    A branch has no view of the graph: its bindings name inputs of the step around it, and without bindings it takes, by
    name, those that it has inputs for.
    """

    name: str
    """Unique in the graph (a branch: in its step); never contains a dot."""
    kind: Kind
    """What the step does."""
    inputs: tuple[Binding, ...] = ()
    """Where each input of what the step calls comes from; a composed step has just these inputs."""
    outputs: tuple[Binding, ...] = ()
    """In a branch: its outputs under other names; empty gives all under their own."""
    timeout_s: float = 0.0
    """Longest time in seconds that it may take; 0 sets no other limit than the call's."""

    @property
    def branches(self) -> tuple[Node, ...]:
        """The steps directly inside this one, in the order they are written."""
        match self.kind:
            case Switch(cases=cases, default=default):
                return (*(case.then for case in cases), *(() if default is None else (default,)))
            case Split(shares=shares):
                return tuple(share.then for share in shares)
            case Parallel(branches=branches) | Fallback(branches=branches) | Cascade(branches=branches):
                return branches
            case Race(branches=branches):
                return branches
            case Loop(body=body) | Cache(body=body):
                return (body,)
            case _:
                return ()

    @property
    def target(self) -> Target | None:
        """The model or graph that the node itself calls; None for a composed step and a transform."""
        match self.kind:
            case ModelCall() | GraphCall():
                return self.kind
            case Map(target=target):
                return target
            case _:
                return None

    def walk(self) -> Iterator[Node]:
        """Return this step and all inside it, each before what is inside it."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.branches))

    def targets(self) -> Iterator[Target]:
        """Return every model and graph that this step, or one inside it, calls."""
        for node in self.walk():
            if node.target is not None:
                yield node.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A composition graph as its author wrote it."""

    name: str
    """Shared with models: clients call the graph by it."""
    inputs: tuple[GraphInput, ...] = ()
    """Tensors a request carries."""
    nodes: tuple[Node, ...] = ()
    """The steps, in any order."""
    outputs: tuple[Binding, ...] = ()
    """Tensors an answer carries."""
    description: str = ""
    """For people: what the graph does."""

    def edges(self) -> Iterator[tuple[str, Binding]]:
        """Return every edge: the node it leads to (empty for a graph output) and its binding."""
        for node in self.nodes:
            for binding in node.inputs:
                yield node.name, binding
        for binding in self.outputs:
            yield "", binding


def parse_type(text: str) -> tuple[str, tuple[Dimension, ...], bool]:
    """Return datatype, shape and whether it is text, for ``FP32 (N, 3)``; TEXT is BYTES that is text.

    Raises:
        InvalidGraph: not of that form, or an unknown datatype (INVALID_ARGUMENT, retry: no).
    """
    try:
        return parse_any_type(text)
    except InvalidRequest as error:
        raise InvalidGraph(error.message) from error
