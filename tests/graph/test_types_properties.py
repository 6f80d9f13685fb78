"""Types are found for whatever can run, are true of it, and do not depend on the order in which steps are written.

Graphs are drawn together with the shapes of one request: first the shapes, then signatures that fit them. So each graph
drawn has a request that works, which types must allow and describe.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.graph.checks.validate import type_graph
from graphmesh.graph.spec import (
    Aggregate,
    Binding,
    Cache,
    Fallback,
    Graph,
    GraphInput,
    Loop,
    Map,
    ModelCall,
    Node,
    Parallel,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.core.signature import Dimension
    from graphmesh.graph.spec import Kind

Shape: TypeAlias = tuple[int, ...]
Tensors: TypeAlias = "dict[str, tuple[str, Shape]]"
"""Datatype and shape by name."""

SIZES = st.integers(0, 3)
SHAPES: st.SearchStrategy[Shape] = st.lists(SIZES, max_size=3).map(tuple)
DATATYPES = st.sampled_from(["FP32", "FP64", "INT64"])
OUTPUTS = st.dictionaries(st.sampled_from("pq"), st.tuples(DATATYPES, SHAPES), min_size=1)


class World:
    """A graph while it is drawn, and the tensors of one request of it."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.catalog: dict[str, Signature] = {}
        self.nodes: list[Node] = []
        self.tensors: Tensors = {}
        """Every tensor of the request by source, those that branches give too."""
        self._readable: list[str] = []
        self._read: set[str] = set()

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:  # noqa: ANN401 - whatever is drawn
        """Return a value of a strategy."""
        return self._data.draw(strategy)

    def add(self, source: str, datatype: str, shape: Shape) -> None:
        """Let later steps read a tensor."""
        self.tensors[source] = (datatype, shape)
        self._readable.append(source)

    def sources(self, names: Iterable[str]) -> dict[str, str]:
        """Return a source for each input."""
        return {name: self.draw(st.sampled_from(self._readable)) for name in names}

    def model(self, name: str, takes: Tensors, gives: Tensors) -> Node:
        """Make a branch that calls a new model, which takes and gives tensors of these shapes."""
        known: dict[str, int] = {}
        inputs = self.specs(takes, known)
        self.catalog[name] = Signature(inputs=inputs, outputs=self.specs(gives, known))
        return Node(name=name, kind=ModelCall(name=name))

    def specs(self, tensors: Tensors, known: dict[str, int]) -> tuple[TensorSpec, ...]:
        """Write types for tensors; a name in ``known`` stands for that size."""
        return tuple(
            TensorSpec(name=name, datatype=datatype, shape=tuple(self._dimension(size, known) for size in shape))
            for name, (datatype, shape) in tensors.items()
        )

    def _dimension(self, size: int, known: dict[str, int]) -> Dimension:
        fitting = [name for name in "NMKL" if known.get(name, size) == size]
        dimension: Dimension = self.draw(st.sampled_from([size, None, *fitting]))
        if isinstance(dimension, str):
            known[dimension] = size
        return dimension

    def step(self, kind: Kind, sources: Mapping[str, str], gives: Tensors) -> None:
        """Add a step of the graph itself."""
        name = f"n{len(self.nodes)}"
        self._read.update(sources.values())
        bindings = tuple(Binding(name=name, source=source) for name, source in sources.items())
        self.nodes.append(Node(name=name, kind=kind, inputs=bindings))
        for output, (datatype, shape) in gives.items():
            self.add(f"{name}.{output}", datatype, shape)

    def graph(self, untyped: bool) -> Graph:  # noqa: FBT001
        """Return the graph; it gives every tensor that there is."""
        known: dict[str, int] = {}
        read = [name for name in self._readable if "." not in name and name in self._read]
        specs = self.specs({name: self.tensors[name] for name in read}, known)
        inputs = tuple(
            GraphInput(name=spec.name)
            if untyped
            else GraphInput(name=spec.name, datatype=spec.datatype, shape=spec.shape)
            for spec in specs
        )
        given = [source for source in self._readable if "." in source]
        outputs = tuple(Binding(name=f"y{index}", source=source) for index, source in enumerate(given))
        return Graph(name="g", inputs=inputs, nodes=tuple(self.nodes), outputs=outputs)


def _inputs(world: World) -> tuple[dict[str, str], Tensors]:
    sources = world.sources("abc"[: world.draw(st.integers(1, 3))])
    return sources, {name: world.tensors[source] for name, source in sources.items()}


def _called(world: World, name: str) -> None:
    """A model, or a cache of one."""
    sources, takes = _inputs(world)
    gives = world.draw(OUTPUTS)
    node = world.model(name, takes, gives)
    world.step(Cache(body=node) if world.draw(st.booleans()) else node.kind, sources, gives)


def _mapped(world: World, name: str) -> None:
    """A map of single items: all inputs that are as long as the first one's axis 0 are divided."""
    sources, takes = _inputs(world)
    length = next((shape[0] for _, shape in takes.values() if shape), None)
    if length is None:
        return
    over = tuple(name for name, (_, shape) in takes.items() if shape and shape[0] == length)
    items = {name: (datatype, shape[1:] if name in over else shape) for name, (datatype, shape) in takes.items()}
    gives = world.draw(OUTPUTS)
    world.model(name, items, gives)
    whole = {name: (datatype, (length, *shape)) for name, (datatype, shape) in gives.items()}
    world.step(Map(target=ModelCall(name=name), over=over), sources, whole)


def _alternatives(world: World, name: str) -> None:
    """Branches that give outputs of the same types; the sizes are those of the one that answers."""
    sources, takes = _inputs(world)
    gives = world.draw(OUTPUTS)
    branches, answers = [], []
    for index in range(world.draw(st.integers(2, 3))):
        sized: Tensors = {
            output: (datatype, world.draw(st.sampled_from([shape, tuple(world.draw(SIZES) for _ in shape)])))
            for output, (datatype, shape) in gives.items()
        }
        branches.append(world.model(f"{name}-{index}", takes, sized))
        answers.append(sized)
    world.step(Fallback(branches=tuple(branches)), sources, world.draw(st.sampled_from(answers)))


def _together(world: World, name: str) -> None:
    """Branches side by side, element by element or one after the other along axis 0."""
    sources, takes = _inputs(world)
    gives = world.draw(OUTPUTS)
    aggregate = world.draw(st.sampled_from([Aggregate.VOTE, Aggregate.MEAN, Aggregate.CONCAT]))
    if aggregate is Aggregate.CONCAT:
        gives = {output: (datatype, shape or (1,)) for output, (datatype, shape) in gives.items()}
    count = world.draw(st.integers(2, 3))
    lengths = [world.draw(SIZES) for _ in range(count)]
    branches = []
    for index, length in enumerate(lengths):
        sized = {
            output: (datatype, (length, *shape[1:]) if aggregate is Aggregate.CONCAT else shape)
            for output, (datatype, shape) in gives.items()
        }
        branches.append(world.model(f"{name}-{index}", takes, sized))
    joined = {
        output: (_joined(aggregate, datatype, shape, sum(lengths))) for output, (datatype, shape) in gives.items()
    }
    world.step(Parallel(branches=tuple(branches), aggregate=aggregate), sources, joined)


def _joined(aggregate: Aggregate, datatype: str, shape: Shape, length: int) -> tuple[str, Shape]:
    if aggregate is Aggregate.CONCAT:
        return datatype, (length, *shape[1:])
    if aggregate is Aggregate.MEAN:
        return "FP64" if datatype == "FP64" else "FP32", shape
    return datatype, shape


def _loop(world: World, name: str) -> None:
    """A tensor that goes round: each of its sizes stays for some reason, or changes from any to any."""
    sources, takes = _inputs(world)
    (carried, (datatype, shape)), *others = takes.items()
    known: dict[str, int] = {}
    fixed = world.specs(dict(others), known)
    before: list[Dimension] = []
    after: list[Dimension] = []
    last: list[int] = []
    for axis, size in enumerate(shape):
        if world.draw(st.booleans()):
            dimension = world.draw(st.sampled_from([size, f"S{axis}", *(n for n in known if known[n] == size)]))
            ends = [size, *([dimension] if isinstance(dimension, str) else []), None]
            before.append(dimension)
            after.append(world.draw(st.sampled_from(ends if dimension != f"S{axis}" else [dimension])))
            last.append(size)
        else:
            last.append(world.draw(SIZES))
            before.append(world.draw(st.sampled_from([None, f"A{axis}"])))
            after.append(world.draw(st.sampled_from([None, f"B{axis}", last[-1]])))
    spec = TensorSpec(name=carried, datatype=datatype, shape=tuple(before))
    world.catalog[name] = Signature(
        inputs=(spec, *fixed), outputs=(TensorSpec(name="p", datatype=datatype, shape=tuple(after)),)
    )
    body = Node(name=name, kind=ModelCall(name=name))
    kind = Loop(body=body, max_iterations=5, carry=(Binding(name=carried, source="p"),))
    world.step(kind, sources, {"p": (datatype, tuple(last))})


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a graph of one to six steps."""
    world = World(draw(st.data()))
    for index in range(draw(st.integers(1, 3))):
        world.add(f"x{index}", draw(DATATYPES), draw(SHAPES))
    for index in range(draw(st.integers(1, 6))):
        draw(st.sampled_from([_called, _mapped, _alternatives, _together, _loop]))(world, f"m{index}")
    if not world.nodes:
        _called(world, "m")
    return world


def _check(world: World, specs: Mapping[str, TensorSpec]) -> None:
    """Check that types are true of the request: datatypes, numbers, and one number for each name."""
    sizes: dict[str, int] = {}
    for source, (datatype, shape) in world.tensors.items():
        if source in specs:
            spec = specs[source]
            assert (spec.datatype, len(spec.shape)) == (datatype, len(shape)), source
            for dimension, size in zip(spec.shape, shape, strict=True):
                expected = sizes.setdefault(dimension, size) if isinstance(dimension, str) else dimension
                assert expected in {None, size}, f"{source}: {spec.type} is not {shape}, with {sizes}"


@settings(max_examples=300)
@given(world=worlds(), untyped=st.booleans())
def test_what_can_run_has_types_that_are_true_of_it(world: World, untyped: bool) -> None:  # noqa: FBT001
    """No graph is refused that has a request that works, and every size said of a tensor is the one that it has."""
    typed = type_graph(world.graph(untyped), world.catalog.get, graphs=lambda _: None)
    _check(world, typed.tensors)


@settings(max_examples=100)
@given(world=worlds(), data=st.data())
def test_the_order_of_steps_changes_nothing(world: World, data: st.DataObject) -> None:
    """Types, their names for sizes too, are the same however the steps are written down."""
    graph = world.graph(untyped=data.draw(st.booleans()))
    shuffled = dataclasses.replace(graph, nodes=tuple(data.draw(st.permutations(graph.nodes))))
    first, second = (type_graph(each, world.catalog.get, graphs=lambda _: None) for each in (graph, shuffled))
    assert first == second
