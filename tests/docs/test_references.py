"""What documents list is what the code has."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from graphmesh.cli.main import cli, exit_code
from graphmesh.cli.mesh_file import MeshFile, load_mesh_file
from graphmesh.core import errors
from graphmesh.worker import Batching, Context
from graphmesh.worker.hosting.sources import ENDINGS
from tests.docs.reference import REFERENCES, commands, written

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("document", REFERENCES, ids=lambda path: path.name)
def test_the_reference_is_what_the_code_says(document: Path) -> None:
    """Every field, option, default and meaning is in the document, word for word."""
    assert document.read_text() == written(document), "update it with: python -m tests.docs.reference"


def test_every_command_is_listed() -> None:
    """Each command has a section, also those of the group `graph`."""
    sections = re.findall(r"^### `(graphmesh(?: [a-z]+)+)", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    assert sections == [name for name, _ in commands()]
    assert {"graphmesh up", "graphmesh infer", "graphmesh graph apply"} <= set(sections)


def test_the_exit_codes_are_those_of_the_command() -> None:
    """The table of exit codes covers every error and says what the command's own help says."""
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "docs/cli.md").read_text(), re.MULTILINE))
    raised = {exit_code(getattr(errors, name)("")) for name in errors.__all__ if name not in {"Code", "from_code"}}
    assert {str(code) for code in raised} == table.keys() - {"0", "130"}
    help_text = " ".join((cli.help or "").split())
    assert all(f"{code} {meaning}" in help_text for code, meaning in table.items())


def test_the_example_mesh_is_valid(tmp_path: Path) -> None:
    """The example at the top of docs/mesh-yaml.md is accepted, and uses every section."""
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/mesh-yaml.md").read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs/describe.yaml").write_text("")
    (tmp_path / "mesh.yaml").write_text(found[1])
    assert load_mesh_file(tmp_path / "mesh.yaml").models().keys() == {"spelling", "classes"}
    assert yaml.safe_load(found[1]).keys() == set(MeshFile.__struct_fields__)


def test_the_knobs_of_batching_are_listed() -> None:
    """docs/batching.md has every knob that an author or operator can turn, in the code's order."""
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", (ROOT / "docs/batching.md").read_text(), re.MULTILINE)
    assert listed == [field.name for field in dataclasses.fields(Batching)]


def test_all_of_the_context_is_listed() -> None:
    """docs/models.md has everything that an author can read of a call or do to it."""
    listed = set(re.findall(r"`context\.(\w+)", (ROOT / "docs/models.md").read_text()))
    workers = {"cancel", "inputs", "listen", "response_headers"}
    assert listed == {name for name in dir(Context) if not name.startswith("_")} - workers


def test_the_kinds_of_model_files_are_listed() -> None:
    """docs/model-files.md has every ending with the backend that loads it, and its extra is one of the package's."""
    rows = re.findall(
        r"^\| (`\.[^|]+) \| `(\w+)` \| `?(\w*)`? ?\|", (ROOT / "docs/model-files.md").read_text(), re.MULTILINE
    )
    listed = {ending: backend for endings, backend, _ in rows for ending in re.findall(r"`(\.\w+)`", endings)}
    assert listed == ENDINGS
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for *_, extra in rows} <= {*extras, ""}
