"""`graphmesh graph validate`: by the mesh, or by files without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.core.wire import signature_to_wire
from graphmesh.v1 import graph_service_pb2
from tests.worker.onnx_models import identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.protobuf.message import Message

    Run = Callable[..., tuple[int, str, str]]

NOWHERE = ("--gateway", "127.0.0.1:1")
MESH = """
workers:
  - name: w
    models:
      - {name: clean, source: "models.py:Clean"}
      - {name: mood, source: "models.py:Mood"}
      - {name: net, source: net.onnx}
      - {name: far, source: "grpc://127.0.0.1:1/far"}
      - {name: broken, source: "models.py:Nobody"}
graphs: [inner.yaml, outer.yaml]
"""
MODELS = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
class Clean:
    def __init__(self):
        raise RuntimeError("must not be made")
    def predict(self, text: list[str]) -> list[str]:
        return text
class Mood:
    @staticmethod
    def predict(words: list[str]) -> list[float]:
        return []
"""
INNER = """
name: inner
inputs: [text]
nodes: {clean: {model: clean, inputs: {text: text}}}
outputs: {text: clean.output}
"""
OUTER = """
name: outer
inputs: [text]
nodes:
  inner: {graph: inner, inputs: {text: text}}
  mood: {model: mood, inputs: {words: inner.text}}
outputs: {score: mood.output}
"""
PARTIAL = """
name: partial
inputs: [text, other]
nodes:
  clean: {model: clean, inputs: {text: text}}
  far: {model: far, inputs: {a: clean.output, b: other}}
  mood: {model: mood, inputs: {words: far.y}}
outputs: {text: clean.output, score: mood.output}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a mesh.yaml, its models and its graphs, which commands are run in."""
    files = {"mesh.yaml": MESH, "models.py": MODELS, "inner.yaml": INNER, "outer.yaml": OUTER, "partial.yaml": PARTIAL}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    identity(tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHMESH_GATEWAY_ADDRESS", raising=False)
    return tmp_path


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the usual gateway be one that nobody listens at."""
    monkeypatch.setattr("graphmesh.cli.gateway._USUAL", NOWHERE[1])


def rows(table: str) -> list[list[str]]:
    """Return a table's rows, each cell by itself, without the head."""
    return [line.split(maxsplit=3) for line in table.splitlines()[1:]]


@pytest.mark.usefixtures("away")
def test_no_mesh_is_up(graphmesh: Run, folder: Path) -> None:
    """The mesh.yaml of the folder is taken then, said so; nested graphs are those beside it, classes are not made."""
    code, out, errors = graphmesh("graph", "validate", "outer.yaml")
    assert (code, errors) == (0, "no mesh answers at 127.0.0.1:1\nchecked against mesh.yaml\n")
    assert [[cell.strip() for cell in row] for row in rows(out)] == [
        ["outer", "input", "text", "TEXT (?,)"],
        ["outer", "output", "score", "FP64 (?,)"],
    ]
    assert (folder / "imported").exists()


def test_a_gateway_that_is_named_is_asked(graphmesh: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nobody answers there, no file is taken instead and nothing is imported: exit code 3."""
    code, _, errors = graphmesh("graph", "validate", "outer.yaml", *NOWHERE)
    assert code == 3
    assert "or check against files with --mesh-file or --models" in errors
    monkeypatch.setenv("GRAPHMESH_GATEWAY_ADDRESS", NOWHERE[1])
    assert graphmesh("graph", "validate", "outer.yaml")[0] == 3
    assert not (folder / "imported").exists()


@pytest.mark.usefixtures("away")
def test_neither_mesh_nor_file(graphmesh: Run, folder: Path) -> None:
    """Without a mesh.yaml in the folder the mesh that does not answer is the error."""
    (folder / "mesh.yaml").unlink()
    code, _, errors = graphmesh("graph", "validate", "outer.yaml")
    assert (code, errors.count("\n")) == (3, 1)


def test_the_mesh_is_asked(graphmesh: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh that answers decides, callees first; no model is read."""
    asked: list[str] = []

    def answer(_gateway: str, _method: object, request: Message) -> Message:
        assert isinstance(request, graph_service_pb2.ValidateGraphRequest)
        asked.append(request.graph.name)
        signature = Signature((TensorSpec(name="x", datatype="FP32"),), (TensorSpec(name="y", datatype="FP32"),))
        return graph_service_pb2.ValidateGraphResponse(signature=signature_to_wire(signature))

    monkeypatch.setattr("graphmesh.cli.graph_validate.ask", answer)
    code, out, errors = graphmesh("graph", "validate", "outer.yaml", "inner.yaml", "--gateway", "mesh:1")
    assert (code, asked, errors) == (0, ["inner", "outer"], "checked against the mesh at mesh:1\n")
    assert [row[:3] for row in rows(out)] == [
        [graph, what, name] for graph in ("inner", "outer") for what, name in (("input", "x"), ("output", "y"))
    ]
    assert not (folder / "imported").exists()


def test_a_mistake(graphmesh: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names file and edge, exit code 2; so does a model that there is not. With --mesh-file no mesh is asked."""
    monkeypatch.setattr("graphmesh.cli.graph_validate.ask", None)
    (folder / "bad.yaml").write_text(OUTER.replace("inner.text", "inner.txet").replace("name: outer", "name: bad"))
    code, _, errors = graphmesh("graph", "validate", "bad.yaml", "--mesh-file", "mesh.yaml")
    assert code == 2
    assert errors.startswith("graphmesh: bad.yaml: edge inner.txet -> mood.words: ")
    (folder / "bad.yaml").write_text(INNER.replace("model: clean", "model: claen").replace("name: inner", "name: bad"))
    code, _, errors = graphmesh("graph", "validate", "bad.yaml", "--mesh-file", "mesh.yaml")
    mistake, against = errors.splitlines()
    assert (code, against) == (2, "checked against mesh.yaml")
    assert mistake == "graphmesh: bad.yaml: node clean: there is no model 'claen'; did you mean 'clean'?"


def test_types_that_are_not_known(graphmesh: Run, folder: Path) -> None:
    """What calls such a model, and what reads from there, is unchecked and said so; that is no error."""
    code, out, errors = graphmesh("graph", "validate", "partial.yaml", "--mesh-file", "mesh.yaml")
    assert code == 0
    assert [[cell.strip() for cell in row] for row in rows(out)] == [
        ["partial", "input", "text", "TEXT (?,)"],
        ["partial", "input", "other", "not known"],
        ["partial", "output", "text", "TEXT (?,)"],
        ["partial", "output", "score", "not known"],
        ["partial", "unchecked", "far", "calls model far"],
        ["partial", "unchecked", "mood", "reads far.y"],
    ]
    assert "types not known for certain: model far version 1: it is at another server" in errors
    code, out, _ = graphmesh("graph", "validate", "partial.yaml", "--mesh-file", "mesh.yaml", "-o", "json")
    document: Any = json.loads(out)
    assert (code, document["against"], len(document["notes"])) == (0, "mesh.yaml", 1)
    (graph,) = document["graphs"]
    assert list(graph["unchecked"]) == ["far", "mood"]
    assert [spec["name"] for spec in graph["signature"]["outputs"]] == ["text"]
    (folder / "partial.yaml").write_text(PARTIAL.replace("a: clean.output", "a: clean.outptu"))
    code, _, errors = graphmesh("graph", "validate", "partial.yaml", "--mesh-file", "mesh.yaml")
    assert (code, "clean.outptu" in errors, "far.a" in errors) == (2, True, True)


def test_an_input_that_a_step_which_is_not_checked_gives_its_type(graphmesh: Run, folder: Path) -> None:
    """What a transform reads then is not known either, and no mistake."""
    (folder / "open.yaml").write_text("""
        name: open
        inputs: [x]
        nodes:
          call: {model: far, inputs: {x: x}}
          other: {transform: [{softmax: -1, inputs: x, outputs: y}], inputs: {x: x}}
        outputs: {a: call.y, b: other.y}
    """)
    code, out, _ = graphmesh("graph", "validate", "open.yaml", "--mesh-file", "mesh.yaml", "-o", "json")
    assert code == 0
    assert json.loads(out)["graphs"][0]["unchecked"] == {
        "call": "calls model far",
        "other": "reads x, typed by an unchecked step",
    }


def test_nothing_is_known(graphmesh: Run, folder: Path) -> None:
    """A graph of which no step can be checked passes with that note, and so does one that calls it."""
    (folder / "net.onnx").write_text("version https://git-lfs")
    (folder / "inner.yaml").write_text(INNER.replace("model: clean, inputs: {text", "model: net, inputs: {x"))
    code, out, errors = graphmesh("graph", "validate", "outer.yaml", "inner.yaml", "--mesh-file", "mesh.yaml")
    assert code == 0
    unchecked = [row for row in rows(out) if row[1] == "unchecked"]
    assert [[cell.strip() for cell in row] for row in unchecked] == [
        ["inner", "unchecked", "clean", "calls model net"],
        ["outer", "unchecked", "inner", "calls graph inner"],
        ["outer", "unchecked", "mood", "reads inner.text"],
    ]
    assert "model net version 1: net.onnx: " in errors


def test_models_that_no_worker_could_load(graphmesh: Run, folder: Path) -> None:
    """They are mistakes, exit code 2, each reason once; also against an import that fails there is no traceback."""
    (folder / "gone.py").write_text("import os\nimport no_such_module\n")
    (folder / "odd.py").write_text("class Odd:\n    def predict(self, x: float, k=2) -> float: return x\n")
    sources = ["gone.py:A", "gone.py:B", "odd.py:Odd", "models.py:Claen", "absent.py:A", "absent.onnx"]
    models = ", ".join(f'{{name: m{number}, source: "{source}"}}' for number, source in enumerate(sources))
    steps = ", ".join(f"s{number}: {{model: m{number}, inputs: {{x: x}}}}" for number in range(len(sources)))
    outputs = ", ".join(f"y{number}: s{number}.y" for number in range(len(sources)))
    (folder / "mesh.yaml").write_text(f"workers: [{{name: w, models: [{models}]}}]")
    (folder / "g.yaml").write_text(f"{{name: g, inputs: [x], nodes: {{{steps}}}, outputs: {{{outputs}}}}}")
    code, _, errors = graphmesh("graph", "validate", "g.yaml", "--mesh-file", "mesh.yaml")
    lead = "graphmesh: mesh.yaml: model"
    first, second, third, fourth, fifth, last = errors.splitlines()
    reason = "gone.py, line 2: ModuleNotFoundError: No module named 'no_such_module'"
    assert (code, last) == (2, "checked against mesh.yaml")
    assert first == f"{lead}s 'm0', 'm1' cannot be served: {reason}"
    assert second.startswith(f"{lead} 'm2' cannot be served: odd.py:Odd: 'k' of predict must have no default")
    assert "'m3' cannot be served: models.py:Claen: 'Claen' must be a class" in third
    assert third.endswith("did you mean 'Clean'?")
    assert fourth == f"{lead} 'm4' cannot be served: absent.py:A: there is no file absent.py"
    assert fifth.startswith(f"{lead} 'm5' cannot be served: absent.onnx: ")


def test_all_mistakes_of_all_files(graphmesh: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By files or by the mesh, each file is named with its mistakes, several of them as a list; good ones are shown."""
    several = "name: two\ninputs: [x]\nnodes:\n  a: {modle: clean}\n  b: {modle: mood}\noutputs: {y: a.y}\n"
    (folder / "two.yaml").write_text(several)
    (folder / "lost.yaml").write_text(
        INNER.replace("model: clean", "model: claen").replace("name: inner", "name: lost")
    )
    files = ("two.yaml", "absent.yaml", "lost.yaml", "inner.yaml")
    lost = "node clean: there is no model 'claen'"
    code, out, errors = graphmesh("graph", "validate", *files, "--mesh-file", "mesh.yaml")
    assert (code, {row[0] for row in rows(out)}) == (2, {"inner"})
    assert "graphmesh: two.yaml: 2 mistakes\n- " in errors
    assert "graphmesh: absent.yaml: cannot be read: No such file or directory\n" in errors
    assert f"graphmesh: lost.yaml: {lost}; did you mean 'clean'?\n" in errors
    assert errors.endswith("\nchecked against mesh.yaml\n")

    def answer(_gateway: str, _method: object, request: Message) -> Message:
        assert isinstance(request, graph_service_pb2.ValidateGraphRequest)
        if request.graph.name == "lost":
            raise InvalidRequest(lost)
        return graph_service_pb2.ValidateGraphResponse()

    monkeypatch.setattr("graphmesh.cli.graph_validate.ask", answer)
    code, out, errors = graphmesh("graph", "validate", *files, "--gateway", "mesh:1", "-o", "json")
    document: Any = json.loads(out)
    assert (code, [graph["file"] for graph in document["graphs"]]) == (2, ["inner.yaml"])
    assert document["mistakes"][-1] == f"lost.yaml: {lost}"
    assert errors.endswith(f"\ngraphmesh: lost.yaml: {lost}\nchecked against the mesh at mesh:1\n")
    code, _, errors = graphmesh("graph", "apply", "two.yaml", "--gateway", "mesh:1")
    assert (code, errors.startswith("graphmesh: two.yaml: 2 mistakes\n- ")) == (2, True)


def test_a_model_file(graphmesh: Run, folder: Path) -> None:
    """A model's file is opened for its types; nothing else is, as nothing else is called."""
    (folder / "g.yaml").write_text(
        "{name: g, inputs: [x], nodes: {net: {model: net, inputs: {x: x}}}, outputs: {y: net.y}}"
    )
    code, out, errors = graphmesh("graph", "validate", "g.yaml", "--mesh-file", "mesh.yaml")
    assert (code, errors) == (0, "checked against mesh.yaml\n")
    assert rows(out)[0] == ["g", "input", "x", "FP32 (N, 4)"]
    assert not (folder / "imported").exists()


def test_a_description_stands_for_a_file(graphmesh: Run, folder: Path) -> None:
    """A file that cannot be opened is taken at the word of the config.pbtxt beside it, with a note."""
    (folder / "t" / "1").mkdir(parents=True)
    (folder / "t" / "1" / "model.onnx").write_text("version https://git-lfs")
    (folder / "t" / "config.pbtxt").write_text(
        'backend: "onnxruntime"\n'
        'input [{name: "x", data_type: TYPE_FP32, dims: [2]}]\noutput [{name: "y", data_type: TYPE_INT8, dims: [1]}]'
    )
    (folder / "mesh.yaml").write_text("workers: [{name: w, models: [{name: t, source: t}]}]")
    (folder / "g.yaml").write_text("{name: g, inputs: [x], nodes: {t: {model: t, inputs: {x: x}}}, outputs: {y: t.y}}")
    code, out, errors = graphmesh("graph", "validate", "g.yaml", "--mesh-file", "mesh.yaml")
    assert code == 0
    assert [row[3].strip() for row in rows(out)] == ["FP32 (2,)", "INT8 (1,)"]
    assert "model t version 1: taken from its description: " in errors


def test_a_caller_that_would_break(graphmesh: Run, folder: Path) -> None:
    """A graph of the mesh.yaml that calls the one in question is checked with it, and named by its file."""
    (folder / "new.yaml").write_text(INNER.replace("{text: clean.output}", "{cleaned: clean.output}"))
    code, _, errors = graphmesh("graph", "validate", "new.yaml", "--mesh-file", "mesh.yaml")
    assert code == 2
    assert f"{folder / 'outer.yaml'}: edge inner.text -> mood.words" in errors


def test_a_circle(graphmesh: Run, folder: Path) -> None:
    """Graphs that call one another are refused as that."""
    (folder / "inner.yaml").write_text(
        "{name: inner, inputs: [text], nodes: {o: {graph: outer, inputs: {text: text}}}, outputs: {text: o.score}}"
    )
    code, _, errors = graphmesh("graph", "validate", "inner.yaml", "--mesh-file", "mesh.yaml")
    assert (code, "cycle, got inner -> outer" in errors) == (2, True)


def test_names_that_are_taken(graphmesh: Run, folder: Path) -> None:
    """Two files with one graph's name, and a graph named as a model is, are refused."""
    (folder / "twin.yaml").write_text(INNER)
    code, _, errors = graphmesh("graph", "validate", "inner.yaml", "twin.yaml", "--mesh-file", "mesh.yaml")
    assert (code, "both have a graph 'inner'" in errors) == (2, True)
    (folder / "twin.yaml").write_text(INNER.replace("name: inner", "name: mood"))
    code, _, errors = graphmesh("graph", "validate", "twin.yaml", "--mesh-file", "mesh.yaml")
    assert (code, "'mood' is a model's name already" in errors) == (2, True)


def saved(**other: Any) -> str:  # noqa: ANN401 - JSON
    """Return what `graphmesh models -o json` prints of a mesh with some models, and what else is given by name."""

    def spec(name: str, datatype: str) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": [], "text": False, "description": ""}

    far = {"inputs": [spec("a", "BYTES"), spec("b", "FP32")], "outputs": [spec("y", "BYTES")], "streaming": False}
    models: list[dict[str, Any]] = [
        {"name": "far", "graph": False, "signature": far, "replicas": [], "revision": 0},
        {"name": "lost", "graph": False, "replicas": [{"worker_id": "w", "model": {"version": "3", "message": "no"}}]},
        {"name": "done", "graph": True, "signature": far, "replicas": [{"worker_id": "w", "model": {}}]},
    ]
    return json.dumps({"models": [{**model, **other.get(model["name"], {})} for model in models]})


def test_saved_models(graphmesh: Run, folder: Path) -> None:
    """What a mesh printed is enough, of graphs too; models without types are unchecked, unknown ones an error."""
    (folder / "saved.json").write_text(saved())
    step = "{{name: g, inputs: [a, b], nodes: {{n: {{{}, inputs: {{a: a, b: b}}}}}}, outputs: {{y: n.y}}}}"
    for called, last in (
        ("model: far", "BYTES ()"),
        ("graph: done", "BYTES ()"),
        ("model: lost", "calls model lost"),
        ("model: {name: lost, version: 3}", "calls model lost@3"),
    ):
        (folder / "g.yaml").write_text(step.format(called))
        code, out, errors = graphmesh("graph", "validate", "g.yaml", "--models", "saved.json")
        assert (code, rows(out)[-1][3].strip()) == (0, last)
        assert errors.endswith("checked against saved.json\n")
        assert ("model lost version 3: no" in errors) is ("lost" in called)
    (folder / "g.yaml").write_text(step.format("model: clean"))
    code, _, errors = graphmesh("graph", "validate", "g.yaml", "--models", "saved.json")
    assert (code, "there is no model 'clean'" in errors) == (2, True)
    assert not (folder / "imported").exists()


def test_saved_models_go_first(graphmesh: Run, folder: Path) -> None:
    """Together with a mesh.yaml they say what its files do not."""
    (folder / "saved.json").write_text(saved())
    text = PARTIAL.replace("a: clean.output", "a: one.y").replace("mood: {model: mood, inputs: {words: far.y}}", "")
    text = text.replace("clean: {model: clean, inputs: {text: text}}", "one: {model: far, inputs: {a: text, b: other}}")
    text = text.replace("{text: clean.output, score: mood.output}", "{score: far.y}")
    (folder / "g.yaml").write_text(text)
    code, out, errors = graphmesh("graph", "validate", "g.yaml", "--models", "saved.json", "--mesh-file", "mesh.yaml")
    assert (code, errors) == (0, "checked against saved.json and mesh.yaml\n")
    assert [row[3].strip() for row in rows(out)] == ["BYTES ()", "FP32 ()", "BYTES ()"]


def test_versions(graphmesh: Run, folder: Path) -> None:
    """The printed types are those of the version that has their digest; others are not known, or not there."""
    signature = Signature((TensorSpec(name="a", datatype="FP32"),), (TensorSpec(name="y", datatype="FP32"),))
    replicas = [{"model": {"version": v, "signature_digest": d}} for v, d in (("1", "old"), ("2", signature.digest))]
    spec = {"datatype": "FP32", "shape": []}
    printed = {"inputs": [{"name": "a", **spec}], "outputs": [{"name": "y", **spec}]}
    (folder / "saved.json").write_text(saved(far={"signature": printed, "replicas": replicas}))
    first = "{name: far, version: 1}"
    for called, expected in (("far", 0), ("{name: far, version: 2}", 0), (first, 0), ("{name: far, version: 3}", 2)):
        (folder / "g.yaml").write_text(
            f"{{name: g, inputs: [a], nodes: {{n: {{model: {called}, inputs: {{a: a}}}}}}, outputs: {{y: n.y}}}}"
        )
        code, out, errors = graphmesh("graph", "validate", "g.yaml", "--models", "saved.json")
        assert code == expected, errors
        assert ("calls model far@1" in out) is (called is first)


@pytest.mark.parametrize("text", ["", "[1]", '{"models": 1}', '{"models": [{"name": 1}]}', '{"name": "m", "graph": 2}'])
def test_files_that_are_no_models(graphmesh: Run, folder: Path, text: str) -> None:
    """They are refused by name, with what is expected."""
    (folder / "saved.json").write_text(text)
    code, _, errors = graphmesh("graph", "validate", "inner.yaml", "--models", "saved.json")
    assert (code, errors.startswith("graphmesh: saved.json: must be what `graphmesh models -o json` prints")) == (
        2,
        True,
    )


def test_a_file_that_is_not_there(graphmesh: Run, folder: Path) -> None:
    """It is named."""
    code, _, errors = graphmesh("graph", "validate", "inner.yaml", "--models", str(folder / "no.json"))
    assert (code, "no.json: cannot be read" in errors) == (2, True)
