"""What is wrong with an expression, in words for those who write it."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidGraph
from graphmesh.graph.conditions import Condition
from graphmesh.graph.conditions.problems import Problem, one_line, problems, show


def _refused(source: str) -> str:
    with pytest.raises(InvalidGraph) as caught:
        Condition.parse(source, sees=frozenset({"inputs"}))
    return caught.value.message


@pytest.mark.parametrize(
    ("source", "column", "message"),
    [
        ("1 +", 4, "it ends where a value must follow, as a name, number or text; an expression looks like `inputs."),
        ("inputs.lang = 'a'", 13, "`=` is no operator: write `==` to compare"),
        ("inputs.a and inputs.b", 10, "`and` is no operator: write `&&` for and"),
        ("inputs.a & inputs.b", 10, "`&` is no operator: write `&&` for and"),
        ("not inputs.b", 1, "`not` is no operator: write `!` for not, as `!inputs.flag` or `!('a' in inputs.words)`"),
        ("true && !(not inputs.b)", 11, "`not` is no operator: write `!` for not"),
        ("not (inputs.b)", 1, "`not` is no operator: write `!` for not"),
        ("(inputs.a or inputs.b)", 11, "`or` is no operator: write `||` for or"),
        (
            "has(headers['x-tier'])",
            12,
            (
                "`has(...)` takes a name after a dot, as `has(headers.tier)`; ask `'x-tier' in headers`, and before "
                "its value is used, `'x-tier' in headers && headers['x-tier'] == 'gold'`"
            ),
        ),
        ("has(inputs.a) && has(inputs)", 22, "`has(...)` takes a name after a dot, as `has(headers.tier)`"),
        ("sqrt(inputs.x) > 1", 1, "there is no function `sqrt`"),
        ("len(inputs.lang) > 1", 1, "there is no function `len`; did you mean `size(x)`?"),
        ("inputs.text.lenght() > 3", 13, "there is no function `lenght`; did you mean `size(x)`?"),
        ("inputs.x.exits(s, s > 1)", 10, "there is no function `exits`; did you mean `x.exists(v, v > 0)` or"),
        ("inputs.x.exists(s > 1)", 10, "`exists` is not written like this, but as `x.exists(v, v > 0)`"),
        (
            "header.a == 'b'",
            1,
            "there is no 'header' here, only headers, inputs, params, shapes; did you mean 'headers' or",
        ),
        (
            "inputs.a == True",
            13,
            "there is no 'True' here, only headers, inputs, params, shapes; did you mean 'true'? A",
        ),
        ("inputs.a == 'b", 13, "the text that begins here does not end; close it with '"),
        ("inputs.a == \u201cb\u201d", 13, "text is written in straight quotes, as 'en'"),
        ("(1 > 2", 7, "here a `)` is missing; an expression looks like"),
        ("1 > 2)", 6, "`)` must not follow here"),
        ("inputs.x >> 1", 11, "`>` stands where a value must be, as a name, number or text; an expression looks like"),
        ("inputs. > 1", 9, "here a name, number or text is missing"),
        ("inputs.a # why", 10, "`#` is no operator: a comment begins with `//`"),
        (
            "lang == 'en'",
            1,
            "there is no 'lang' here, only headers, inputs, params, shapes; a tensor is `inputs.lang`, and",
        ),
        ("iteration > 1", 1, "there is no 'iteration' here, only headers, inputs, params, shapes"),
        ("headers.x > 1", 11, "`>` cannot be applied to text and a whole number: compare what is of one kind"),
        ("size(5) > 1", 5, "`size` cannot be applied to a whole number: text, bytes, lists and maps have a size"),
    ],
)
def test_each_mistake_is_shown_at_its_place_with_what_to_do(source: str, column: int, message: str) -> None:
    """The line, a mark under the column, and no word of the parser's."""
    lead, line, mark, what, *_ = _refused(source).split("\n")
    assert lead.endswith(f", character {column}:")
    assert (line, mark) == (f"    {source}", "    " + " " * (column - 1) + "^")
    assert what.startswith(message)
    assert not any(word in what for word in ("EOF", "NUM_", "IDENTIFIER", "overload", "<input>"))


def test_of_several_lines_the_one_that_is_wrong_is_shown() -> None:
    """With its number."""
    lead, line, mark, _ = _refused("true &&\n  y").split("\n")
    assert lead.endswith("line 2, character 3:")
    assert (line, mark) == ("      y", "      ^")


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    """And nothing that a terminal would take for an order."""
    source = "inputs.a == 'x' && " * 20 + "inputs.a\t= 'x'" + " && inputs.b" * 20
    _, line, mark, _ = _refused(source).split("\n")
    assert len(line) == 104
    assert line[mark.index("^")] == "="
    assert line.isprintable()


def test_what_is_not_known_stays_as_it_is() -> None:
    """On one line."""
    assert problems("INTERNAL: something\nelse") == []
    assert one_line("INTERNAL: something\nelse [INTERNAL]") == "something else"
    assert show("abc", Problem(1, 2, "odd")) == "character 2:\n    abc\n     ^\nodd"
    assert problems("ERROR: <input>:-1:-1: x\nERROR: <input>:2:1: b\nERROR: <input>:1:0: a [X]") == [
        Problem(1, 1, "a"),
        Problem(2, 1, "b"),
    ]


def test_types_are_read_one_by_one() -> None:
    """Also those inside others."""
    text = "found no matching overload for '_==_' applied to '(map(string, int), list(list(double)))'"
    assert Problem(1, 1, text).overload == ("_==_", ("map(string, int)", "list(list(double))"))
    assert Problem(1, 1, "else").overload is None
    assert "`==` cannot be applied to a map and a list of lists of numbers with a fraction" in show(
        "x", Problem(1, 1, text)
    )
