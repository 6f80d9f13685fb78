"""KServe's conditions, GJSON paths over a body, as CEL: comparisons of one field with a constant, which are most."""

from __future__ import annotations

import re

__all__ = ["read_condition"]

_COMPARISON = re.compile(
    r"""(?:\[@this\]\.)?\#\(\s*
        (?P<field>[A-Za-z_][A-Za-z0-9_]*)(?P<places>(?:\.[0-9]{1,6})*)\s*
        (?P<operator>==|!=|<=|>=|<|>)\s*
        (?P<value>"[^"\\]*"|-?[0-9]{1,18}(?:\.[0-9]{1,18})?|true|false)\s*
        \)""",
    re.VERBOSE,
)


def read_condition(written: str, step: str, tensor: str, notes: list[str]) -> str:
    """Return a CEL condition; one that cannot be carried over never holds.

    Args:
        written: As KServe has it, ``[@this].#(predictions.0=="cat")``.
        step: The step that it is of, for notes.
        tensor: The input that stands for the body's `instances` or `predictions`.
        notes: Where to say what means something else here.
    """
    match = _COMPARISON.fullmatch(written.strip())
    if match is None:
        notes.append(
            f"step {step}: the condition {written[:140]!r} is not carried over and never holds; write it in CEL"
        )
        return "false"
    comparison = f"{match['operator']} {match['value']}"
    if match["field"] not in {"instances", "predictions"}:
        notes.append(f"step {step}: the field {match['field']!r} of its condition must be sent as a parameter")
        return f"has(params.{match['field']}) && params.{match['field']} {comparison}"
    places = match["places"].split(".")[1:]
    if any(place != "0" for place in places):
        return f"inputs.{tensor}{''.join(f'[{place}]' for place in places)} {comparison}"
    notes.append(f"step {step}: its condition is for requests with a single item")
    return f"inputs.{tensor} {comparison}"
