"""The reference parts of documents, written from the code: `python -m tests.docs.reference`.

What the code says is authoritative: field docstrings of the mesh file's classes, click's options and help, and the
table of failures that the tests of graphs run. Documents carry the written text between two markers; everything around
them is prose.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from graphmesh.cli.main import cli
from graphmesh.cli.mesh_file import GatewayEntry, MeshFile, ModelEntry, WorkerEntry
from graphmesh.worker.config import Isolation
from graphmesh.worker.layouts.entry import BatchingEntry
from tests.graph.failure_table import failure_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["REFERENCES", "commands", "written"]

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- from the code: python -m tests.docs.reference -->\n", "<!-- end -->\n"

_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "The file": MeshFile,
    "gateway": GatewayEntry,
    "workers": WorkerEntry,
    "models": ModelEntry,
    "batching": BatchingEntry,
}
_TYPES: dict[Any, str] = {
    str: "text",
    int: "number",
    float: "number",
    Isolation: "`none` or `process`",
    dict[str, tuple[int, ...]]: "mapping of lists of numbers",
    list[dict[str, Any]] | str: "list of mappings, or text",
    BatchingEntry | None: "[batching](#batching)",
    list[str]: "list of text",
    dict[str, str]: "mapping of text",
    dict[str, Any]: "mapping",
    GatewayEntry: "[gateway](#gateway)",
    list[WorkerEntry]: "list of [workers](#workers)",
    list[ModelEntry]: "list of [models](#models)",
}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _meanings(struct: type) -> dict[str, str]:
    """Return the docstrings under the fields of a class and those it extends, each on one line."""
    if struct is msgspec.Struct:
        return {}
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(found, ast.ClassDef)
    meanings = _meanings(struct.__bases__[0])
    for field, doc in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
            meanings[field.target.id] = " ".join(ast.literal_eval(doc.value).split())
    return meanings


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is msgspec.NODEFAULT or isinstance(field.default, msgspec.Struct):
        return "empty" if not isinstance(field.default, msgspec.Struct) else "as below"
    return f"`{field.default}`" if field.default not in {"", None} else "empty"


def mesh_file_reference() -> str:
    """Return a section with a table of fields for each part of a mesh file, required ones first."""
    sections = []
    for title, struct in _SECTIONS.items():
        meanings = _meanings(struct)
        rows = [
            (f"`{field.name}`", _TYPES[field.type], _default(field), meanings[field.name])
            for field in sorted(msgspec.structs.fields(struct), key=lambda field: not field.required)
        ]
        doc = inspect.getdoc(struct) or ""
        heading = title if struct is MeshFile else f"`{title}`"
        sections.append(f"## {heading}\n\n{doc}\n\n{_table(('Field', 'Type', 'Default', 'Meaning'), rows)}")
    return "\n".join(sections)


def commands(group: click.Group = cli, prefix: str = "graphmesh") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, in alphabetical order."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _type(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if option.metavar:
        return option.metavar
    kind = option.type
    if isinstance(kind, click.Choice):
        return "|".join(map(str, kind.choices))
    return "PATH" if isinstance(kind, click.Path) else "NUMBER" if kind.name != "text" else "TEXT"


def _option(option: click.Option) -> tuple[str, str, str]:
    said = option.show_default if isinstance(option.show_default, str) else option.default
    default = "" if said in (None, "") or said is False or not option.show_default else f"`{said}`"
    return f"`{', '.join(sorted(option.opts))} {_type(option)}".rstrip() + "`", default, option.help or ""


def _command(name: str, command: click.Command) -> str:
    arguments = [
        argument.metavar
        or f"{'' if argument.required else '['}{(argument.name or '').upper()}{'' if argument.required else ']'}"
        for argument in command.params
        if isinstance(argument, click.Argument)
    ]
    help_text = inspect.cleandoc(command.help or "")
    paragraphs = [
        f"```console\n{part.removeprefix(chr(8)).strip()}\n```" if part.startswith("\b") else " ".join(part.split())
        for part in help_text.split("\n\n")
    ]
    options = [_option(option) for option in command.params if isinstance(option, click.Option)]
    table = f"\n{_table(('Option', 'Default', 'Meaning'), options)}" if options else ""
    title = " ".join([name, *arguments])
    return f"### `{title}`\n\n{(chr(10) * 2).join(paragraphs)}\n{table}"


def cli_reference() -> str:
    """Return a section for each command."""
    return "\n".join(_command(name, command) for name, command in commands())


REFERENCES = {
    ROOT / "docs/mesh-yaml.md": mesh_file_reference,
    ROOT / "docs/cli.md": cli_reference,
    ROOT / "docs/graphs.md": failure_reference,
}


def written(document: Path) -> str:
    """Return a document's text as it should be: its prose, and its reference part from the code."""
    text = document.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{document} must have the line {BEGIN}"
    assert end, f"{document} must have the line {END}"
    return f"{before}{begin}\n{REFERENCES[document]()}\n{end}{after}"


if __name__ == "__main__":
    for path in REFERENCES:
        path.write_text(written(path))
