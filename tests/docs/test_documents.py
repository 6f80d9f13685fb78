"""README and docs: what they show is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.runner import matches, read_blocks

if TYPE_CHECKING:
    from tests.docs.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "deploy", "examples", "benchmarks")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
EXECUTED = [path for path in DOCUMENTS if "```console execute" in path.read_text()]


@pytest.mark.e2e
@pytest.mark.etcd
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("document", EXECUTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_document_is_true(document: Path, runner: Runner) -> None:
    """Every command of the document works in order and prints what the document says."""
    runner.run(document)


def test_the_tutorials_are_executed() -> None:
    """The README and both tutorials are among the documents that are run."""
    assert {ROOT / "README.md", ROOT / "docs/tutorial.md", ROOT / "docs/models.md"} <= set(EXECUTED)


@pytest.mark.parametrize("name", ["tutorial", "models"])
def test_the_files_of_a_document_are_in_examples(name: str) -> None:
    """A folder of examples holds exactly the files that its document shows."""
    shown = {block.title: block.text for block in read_blocks(ROOT / f"docs/{name}.md") if block.title}
    there = {path.name: path.read_text() for path in (ROOT / "examples" / name).iterdir() if path.is_file()}
    assert there == shown


def test_blocks_are_read(tmp_path: Path) -> None:
    """Files have titles; commands continue after a backslash and are followed by their output."""
    document = tmp_path / "doc.md"
    document.write_text(
        'text\n```python title="a.py"\nx = 1\n```\n```console execute\n$ one \\\n  two\nout\n$ three\n```\n'
    )
    file, console = read_blocks(document)
    assert (file.title, file.text) == ("a.py", "x = 1\n")
    assert console.steps == [("one \\\n  two", "out\n"), ("three", "")]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a ... c\n", "a b c\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("a ... c\n", "a b\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("[1.0]\n", "[1x0]\n", False),
    ],
)
def test_output_is_compared(expected: str, printed: str, *, same: bool) -> None:
    """Dots stand for anything in a line, or for any lines; everything else is literal."""
    assert matches(expected, printed) is same


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document names a file that exists."""
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
