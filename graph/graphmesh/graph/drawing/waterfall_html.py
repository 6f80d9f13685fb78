"""A waterfall as a web page: one file without script, which loads nothing.

Times are a table, so that it can be read without seeing the bars. What there is to know of a step shows where the
pointer rests on its bar or the keyboard's focus is. Colours follow what the reader's system prefers; parts of a bar
differ in pattern as well as in colour.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from graphmesh.graph.drawing.waterfall import waterfall
from graphmesh.graph.running.ending import CANCELLED
from graphmesh.graph.running.timing import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.graph.drawing.waterfall import Row

__all__ = ["waterfall_to_html"]

_NESTED = 16
_NOT_FAILED = frozenset({"ok", CANCELLED})
_STYLE = """
:root { color-scheme: light dark; --text: #1c2430; --dim: #566173; --page: #ffffff; --line: #e3e7ed; --tip: #f7f8fa;
  --queue: #e0a422; --batch: #c2571a; --compute: #2f6fde; --serialise: #8a5bd6; --network: #11998e; --other: #aab3c0;
  --critical: #c43b52; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --dim: #a3aebd; --page: #12161c; --line: #2a323d;
  --tip: #1c222b; --queue: #d9a93a; --batch: #d9743a; --compute: #5b92f0; --serialise: #a57fe8; --network: #2bb5a8;
  --other: #596473; --critical: #f07086; } }
body { margin: 2rem auto; max-width: 90rem; padding: 0 1.5rem; background: var(--page); color: var(--text);
  font: 14px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .2rem; } p { margin: .2rem 0; color: var(--dim); }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
th { text-align: left; font-weight: 600; color: var(--dim); white-space: nowrap; }
th, td { padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.step { white-space: nowrap; max-width: 22rem; overflow: hidden; text-overflow: ellipsis; }
td.step b { font-weight: 600; }
td small { color: var(--dim); display: block; overflow: hidden; text-overflow: ellipsis; }
td.where { white-space: nowrap; color: var(--dim); }
td.time { width: 50%; position: relative; padding-right: 0; }
.critical b::before { content: "\\25cf\\00a0"; color: var(--critical); }
.failed b { color: var(--critical); }
.bar { position: relative; height: 16px; margin-left: var(--from); width: max(2px, var(--size)); display: flex;
  border-radius: 3px; overflow: hidden; background: var(--other); }
.bar.around { height: 4px; border-radius: 0; border: 0 solid var(--other); border-width: 0 2px; }
.bar:focus-visible { outline: 2px solid var(--compute); outline-offset: 2px; }
.queue { background: repeating-linear-gradient(45deg, var(--queue) 0 4px, transparent 4px 6px), var(--page); }
.batch { background: repeating-linear-gradient(90deg, var(--batch) 0 4px, transparent 4px 6px), var(--page); }
.compute { background: var(--compute); }
.serialise { background: repeating-linear-gradient(-45deg, var(--serialise) 0 4px, transparent 4px 6px), var(--page); }
.network { background: repeating-linear-gradient(0deg, var(--network) 0 3px, transparent 3px 5px), var(--page); }
.other { background: var(--other); }
.tip { display: none; position: absolute; z-index: 1; right: 0; top: 100%; padding: .5rem .8rem; background: var(--tip);
  border: 1px solid var(--line); border-radius: 6px; box-shadow: 0 4px 14px rgb(0 0 0 / 25%); white-space: pre-line; }
td.time:hover .tip, .bar:focus + .tip { display: block; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; margin: .8rem 0 0; list-style: none; }
.legend i { display: inline-block; width: 22px; height: 11px; border-radius: 2px; margin-right: .4rem; }
details { margin-top: 1.5rem; } pre { overflow: auto; color: var(--dim); }
"""
_MEANING = {
    "queue": "waited for an instance",
    "batch": "waited for and joined with others",
    "compute": "the model ran",
    "serialise": "encoded and decoded",
    "network": "on its way",
}


def waterfall_to_html(document: Mapping[str, Any]) -> str:
    """Return a page of an `explain` document, of a graph or a model."""
    rows = waterfall(document, nested=_NESTED)
    name = escape(str(document.get("graph") or document.get("model") or "call"))
    total = max([float(document.get("duration_ms", 0.0)), *(row.start_ms + row.duration_ms for row in rows)])
    body = "\n".join(line for row in rows for line in _row(row, total or 1.0))
    source = escape(json.dumps(document, indent=2, ensure_ascii=False))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: {total:.1f} ms</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{name}: {total:.1f} ms</h1>
{"".join(f"<p>{line}</p>" for line in _head(document))}
<ul class="legend">{"".join(_legend())}</ul>
<table>
<caption hidden>What each step took, in the order that they began</caption>
<thead><tr><th scope="col">Step</th><th scope="col">Where</th><th scope="col" class="number">Calls</th>
<th scope="col" class="number">From, ms</th><th scope="col" class="number">Took, ms</th>
<th scope="col">0 to {total:.1f} ms</th></tr></thead>
<tbody>
{body}
</tbody>
</table>
<details><summary>The document</summary><pre>{source}</pre></details>
</body>
</html>
"""


def _head(document: Mapping[str, Any]) -> Iterator[str]:
    if "graph" in document:
        yield f"graph {escape(str(document['graph']))}, revision {escape(str(document.get('revision', '?')))}"
    if document.get("worker"):
        yield f"run by {escape(str(document['worker']))}"
    if document.get("critical_path"):
        yield f"critical path: {escape(' → '.join(map(str, document['critical_path'])))}"


def _legend() -> Iterator[str]:
    for part in PARTS:
        yield f'<li><i class="{part}"></i>{part}: {_MEANING[part]}</li>'
    yield '<li><i class="other"></i>anything else, and the time between calls</li>'
    yield '<li class="critical"><b></b>on the critical path</li>'


def _row(row: Row, total: float) -> Iterator[str]:
    marks = [*(["critical"] if row.critical else []), *(["failed"] if row.outcome not in _NOT_FAILED else [])]
    waited = "<span hidden> (on the critical path)</span>" if row.critical else ""
    notes = "; ".join([*([row.outcome] if row.outcome != "ok" else []), *row.notes])
    yield f'<tr class="{" ".join(marks)}">'
    yield (
        f'<td class="step" style="padding-left:{row.depth * 1.4:.1f}rem"><b>{escape(row.name)}</b>{waited} '
        f"{escape(row.target)}<small>{escape(notes)}</small></td>"
    )
    yield f'<td class="where">{escape(row.where)}</td><td class="number">{row.calls or ""}</td>'
    yield f'<td class="number">{row.start_ms:.2f}</td><td class="number">{row.duration_ms:.2f}</td>'
    yield f'<td class="time">{_bar(row, total)}<div class="tip" aria-hidden="true">{escape(_tip(row))}</div></td></tr>'


def _bar(row: Row, total: float) -> str:
    place = f"--from:{100 * row.start_ms / total:.3f}%;--size:{100 * row.duration_ms / total:.3f}%"
    label = escape(_tip(row).replace("\n", ", "))
    around = "" if row.calls else " around"
    parts = "".join(f'<span class="{name}" style="flex:0 0 {share * 100:.2f}%"></span>' for name, share in row.shares)
    return f'<div class="bar{around}" tabindex="0" role="img" aria-label="{label}" style="{place}">{parts}</div>'


def _tip(row: Row) -> str:
    lines = [f"{row.name}: {row.duration_ms:.3f} ms from {row.start_ms:.3f} ms", row.target]
    if row.where:
        lines.append(row.where)
    if row.calls > 1:
        lines.append(f"{row.calls} calls, together {row.calls_ms:.3f} ms")
    lines += [f"{name}: {ms:.3f} ms" for name, ms in row.parts]
    if row.outcome != "ok":
        lines.append(row.outcome)
    return "\n".join([*lines, *row.notes])
