"""Graphs as lines for a terminal."""

from __future__ import annotations

from graphmesh.graph.drawing.text import to_text
from graphmesh.graph.spec import Binding, Graph, Node, Parallel, Race
from tests.graph.pictured import CLAIMS, TYPES, model, step, types

DRAWN = """\
graph claims: reads a claim

inputs
  image: BYTES ()
  customer: TEXT ()

detect = fallback on UNAVAILABLE, within 200 ms
  x <- image: BYTES ()
  ├─ first: big = model big
  │    -> crops: UINT8 (N, 48, 320, 3)
  └─ if that fails: small = model small
  -> crops: UINT8 (N, 48, 320, 3)

vote = parallel, quorum of 1, vote
  x <- image: BYTES ()
  ├─ a = model a
  └─ b = model b

try = split
  x <- image: BYTES ()
  ├─ 90 % of calls: old = model old
  └─ 10 % of calls: new = model new

hedge = race, 50 ms apart
  x <- image: BYTES ()
  ├─ at once: one = model one
  └─ after 50 ms: two = model two
  -> y: FP32 (N,)

again = race with itself, started again after 50 ms
  x <- image: BYTES ()
  └─ at once: same = model same

known = cache, 1000 answers for 5 s
  x <- image: BYTES ()
  └─ if not remembered: embed = model embed

read = map of graph ocr-line over strip, 8 a call, 4 at once
  strip <- detect.crops: UINT8 (N, 48, 320, 3)
  -> text: TEXT (N,)

refine = loop, at most 5 times, carrying y to x
  x <- hedge.y: FP32 (N,)
  └─ until outputs.good: better = model better
  -> y: FP32 (N,)

route = switch
  lines <- read.text: TEXT (N,)
  customer <- customer: TEXT ()
  ├─ if params.mode == 'full' && size(inputs.lines) > 3: full = model llm
  │    text <- lines
  ├─ if inputs.short: sure = cascade, sure at least 0.9
  │    ├─ first: tiny = model tiny
  │    │    -> score: FP32 (3,)
  │    └─ if sure < 0.9: large = model large
  └─ otherwise: quick = model quick
  -> score: FP32 (3,)

outputs
  decision <- route.score: FP32 (3,)
  text <- read.text: TEXT (N,)
  better <- refine.y: FP32 (N,)
"""


def test_nodes_stand_in_running_order_with_branches_and_types() -> None:
    """What runs first stands first, branches say when they run, and tensors carry their types where these are known."""
    assert to_text(CLAIMS, TYPES) == DRAWN


def test_types_are_left_out_where_they_are_unknown() -> None:
    """A graph can be drawn before any signature is known."""
    drawn = to_text(CLAIMS)
    assert "  x <- image\n" in drawn
    assert "->" not in drawn


def test_a_branch_shows_what_it_renames() -> None:
    """An output that a branch gives under another name is shown with its own."""
    renamed = Node(
        name="a", kind=model("a").kind, outputs=(Binding(name="y", source="z"), Binding(name="k", source="l"))
    )
    graph = Graph(name="g", nodes=(step("both", Parallel(branches=(renamed, model("b"))), x="x"),))
    drawn = to_text(graph, types(both___a__y="FP32 ()"))
    assert "  │    -> y: FP32 () (its z)\n  │    -> k (its l)\n" in drawn


def test_a_broken_graph_is_drawn_as_written() -> None:
    """Circles and missing sources do not stop the drawing."""
    circle = Graph(name="g", nodes=(model("a", x="b.y"), model("b", x="a.y")))
    missing = Graph(name="g", nodes=(model("a", x="gone.y"),))
    assert to_text(circle).index("a = ") < to_text(circle).index("b = ")
    assert "x <- gone.y" in to_text(missing)


def test_times_are_told_in_fitting_units() -> None:
    """Seconds are seconds, less is milliseconds, and a race without a delay is all at once."""
    for delay_s, words in ((20.0, "race, 20 s apart"), (0.05, "race, 50 ms apart"), (0.0, "race, all at once")):
        race = Race(branches=(model("a"), model("b")), delay_s=delay_s)
        assert f"r = {words}\n" in to_text(Graph(name="g", nodes=(step("r", race),)))
