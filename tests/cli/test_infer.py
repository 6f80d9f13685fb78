"""`graphmesh infer`: how arguments become JSON, and how answers and errors are shown."""

from __future__ import annotations

import io
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.cli.http import Answer, post_lines
from graphmesh.cli.infer import checked
from graphmesh.core.errors import Code, GraphmeshError, InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import FakeGateway

    Run = Callable[..., tuple[int, str, str]]

NODE = {
    "node": "read",
    "kind": "model",
    "target": "ocr-read",
    "worker": "w-1",
    "fused": False,
    "calls": 3,
    "start_ms": 0.0,
    "duration_ms": 12.34,
}


@pytest.fixture
def infer(graphmesh: Run, fake_gateway: FakeGateway) -> Run:
    """Return what runs `graphmesh infer` against a gateway that answers one output."""
    fake_gateway.answers({"model": "m", "outputs": {"y": [1.5]}})
    return lambda *arguments: graphmesh("infer", *arguments, "--gateway", fake_gateway.address)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x=[1, 2.5]", [1, 2.5]),
        ("x=3", 3),
        ("x=true", True),
        ('x="3"', "3"),
        ("x=hello", "hello"),
        ("x=hello world", "hello world"),
        ("x=a=b", "a=b"),
        ("x=", ""),
        ("x=[1,", "[1,"),
        ("x={}", {}),
    ],
)
def test_values_are_json_or_text(infer: Run, fake_gateway: FakeGateway, argument: str, value: object) -> None:
    """What parses as JSON is JSON, everything else is text."""
    assert infer("m", argument)[0] == 0
    assert fake_gateway.sent == {"x": value}


def test_files_are_sent_as_bytes(infer: Run, fake_gateway: FakeGateway, tmp_path: Path) -> None:
    """`@FILE` sends the bytes of a file, whatever they are."""
    (tmp_path / "scan.png").write_bytes(b"\x89PNG\x00")
    assert infer("m", f"image=@{tmp_path}/scan.png", "size=2")[0] == 0
    assert fake_gateway.sent == {"image": {"b64": "iVBORwA="}, "size": 2}


def test_no_inputs(infer: Run, fake_gateway: FakeGateway) -> None:
    """A model without inputs is called with none."""
    assert infer("m")[0] == 0
    assert fake_gateway.sent == {}


def test_the_whole_body(infer: Run, fake_gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json` sends a document as it is: written out, from a file, or from standard input."""
    (tmp_path / "body.json").write_text('{"from": "file"}')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"from": "stdin"}')))
    for value, source in (('{"from": "flag"}', "flag"), (f"@{tmp_path}/body.json", "file"), ("-", "stdin")):
        assert infer("m", "--json", value)[0] == 0
        assert fake_gateway.sent == {"from": source}


def test_what_is_asked_of_the_gateway(infer: Run, fake_gateway: FakeGateway) -> None:
    """Model and version are in the path, the time limit and the wish for timings in headers."""
    infer("ocr", "--version", "2", "--timeout", "1.5", "--explain")
    path, headers, _ = fake_gateway.requests[-1]
    assert path == "/v1/models/ocr/versions/2:predict"
    assert headers["x-graphmesh-timeout-ms"] == "1500"
    assert headers["x-graphmesh-explain"] == "1"
    infer("ocr")
    path, headers, _ = fake_gateway.requests[-1]
    assert path == "/v1/models/ocr:predict"
    assert "x-graphmesh-explain" not in headers


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("m", "hello"), "an input must be NAME=VALUE, got 'hello'"),
        (("m", "x=1", "x=2"), "each input must be given once, got x, x"),
        (("m", "x=1", "--json", "{}"), "give either inputs or --json, got both"),
        (("m", "x=@/no/such/file"), "/no/such/file: cannot be read: No such file"),
        (("m", "--json", "@/no/such/file"), "/no/such/file: cannot be read: No such file"),
        (("M",), "a model or graph name must match"),
        (("../v2",), "a model or graph name must match"),
        (("m", "--version", "one"), "a version must match"),
        (("m", "--timeout", "0"), "graphmesh: --timeout must be from 0.001 to 1000000 seconds, got 0\n"),
        (("m", "--timeout", "inf"), "graphmesh: --timeout must be from 0.001 to 1000000 seconds, got inf\n"),
    ],
)
def test_mistakes_are_found_before_calling(
    infer: Run, fake_gateway: FakeGateway, arguments: tuple[str, ...], complaint: str
) -> None:
    """Wrong arguments end with exit code 2 and a message; nothing is sent."""
    code, out, err = infer(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err
    assert fake_gateway.requests == []


def test_outputs_are_a_table(infer: Run, fake_gateway: FakeGateway) -> None:
    """Each output is a line; text is shown as text, long values are cut."""
    fake_gateway.answers({"outputs": {"text": "schön", "list": ["ä"], "long": list(range(100))}})
    code, out, _ = infer("m")
    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == "Output  Value"
    assert lines[1:3] == ["text    schön", 'list    ["ä"]']
    assert lines[3].endswith("...")
    assert len(lines[3]) == 108


def test_json_output_is_the_answer(infer: Run, fake_gateway: FakeGateway) -> None:
    """`-o json` prints the whole answer, nothing cut."""
    answer = {"model": "m", "outputs": {"long": list(range(100))}, "explain": {"nodes": [NODE]}}
    fake_gateway.answers(answer)
    assert json.loads(infer("m", "--explain", "-o", "json")[1]) == answer


def test_a_waterfall_is_drawn_on_request(infer: Run, fake_gateway: FakeGateway) -> None:
    """`--explain` adds a row for each step; an answer that explains nothing is no error."""
    fake_gateway.answers({"outputs": {"y": 1}, "explain": {"duration_ms": 12.34, "nodes": [NODE]}})
    drawn = infer("m", "--explain")[1]
    assert ["read", "model", "ocr-read", "remote", "w-1", "3", "12.3", "-" * 44] in [
        line.split() for line in drawn.splitlines()
    ]
    fake_gateway.answers({"outputs": {"y": 1}})
    code, out, _ = infer("m", "--explain")
    assert (code, out.splitlines()[0].split()) == (0, ["Output", "Value"])


def test_a_waterfall_is_written_on_request(infer: Run, fake_gateway: FakeGateway, tmp_path: Path) -> None:
    """`--explain-html` asks for an explanation, writes it as a page, and says where; what cannot be written is said."""
    fake_gateway.answers({"outputs": {"y": 1}, "explain": {"graph": "g", "duration_ms": 12.34, "nodes": [NODE]}})
    code, out, err = infer("m", "--explain-html", str(tmp_path / "call.html"))
    assert (code, "Step" in out, err) == (0, False, f"waterfall: {tmp_path}/call.html\n")
    assert fake_gateway.requests[-1][1]["x-graphmesh-explain"] == "1"
    assert "<b>read</b>" in (tmp_path / "call.html").read_text()


def test_what_cannot_be_written_is_said_before_the_call(infer: Run, fake_gateway: FakeGateway, tmp_path: Path) -> None:
    """A file that is there already is replaced only with --force; nothing is sent otherwise."""
    page = tmp_path / "call.html"
    page.write_text("mine")
    for file, why in ((page, "is there already"), (tmp_path / "none" / "x", "cannot be written: No such file")):
        code, _, err = infer("m", "--explain-html", str(file))
        assert (code, err.startswith(f"graphmesh: {file}: {why}")) == (2, True)
    assert infer("m", "--record", str(tmp_path / "none" / "x"))[0] == 2
    assert (fake_gateway.requests, page.read_text()) == ([], "mine")
    fake_gateway.answers({"outputs": {"y": 1}, "explain": {"graph": "g", "duration_ms": 1.0, "nodes": [NODE]}})
    assert infer("m", "--explain-html", str(page), "--force")[0] == 0
    assert "<b>read</b>" in page.read_text()


@pytest.mark.parametrize(
    ("body", "kind", "code", "message"),
    [
        ({"error": "no model 'm'; close: mm", "code": 5}, NotFound, Code.NOT_FOUND, "no model 'm'; close: mm"),
        ({"error": "x: expected FP32", "code": 3}, InvalidRequest, Code.INVALID_ARGUMENT, "x: expected FP32"),
        ({"error": "later", "code": 14}, Unavailable, Code.UNAVAILABLE, "later"),
        ({"error": "odd", "code": 99}, GraphmeshError, Code.UNKNOWN, "odd"),
        ({"error": "odd"}, GraphmeshError, Code.UNKNOWN, "odd"),
    ],
)
def test_errors_of_the_mesh(body: dict[str, Any], kind: type[GraphmeshError], code: Code, message: str) -> None:
    """The JSON of an error becomes the error that it stands for, with its message."""
    with pytest.raises(kind) as caught:
        checked(Answer(400, json.dumps(body).encode()), "gw:1")
    assert (caught.value.code, caught.value.message) == (code, message)


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (404, b""), (200, b"[]"), (200, b"{}"), (503, b'"no"'), (404, b'{"x": 1}')]
)
def test_something_else_answers(status: int, body: bytes) -> None:
    """What does not answer as a gateway does is said to be none."""
    with pytest.raises(Unavailable, match=rf"gw:1 answered {status} without the expected JSON"):
        checked(Answer(status, body), "gw:1")


def test_nothing_answers() -> None:
    """If nothing listens, the message says how to start a mesh."""
    with pytest.raises(Unavailable, match=r"no mesh answers at gw:1 \(refused\); start one with: graphmesh up"):
        checked(Answer(0, b"refused"), "gw:1")


def test_recorded_requests(infer: Run, fake_gateway: FakeGateway, tmp_path: Path) -> None:
    """Requests that were answered are appended to a file, one line each; those that were not are not."""
    record = tmp_path / "calls.jsonl"
    fake_gateway.answers({"model": "m", "outputs": {}})
    infer("m", "--json", '{\n "x": [1,\n 2]}', "--record", str(record))
    infer("m", "x=a b", "--record", str(record))
    fake_gateway.answers({"error": "no", "code": 3}, status=400)
    infer("m", "x=1", "--record", str(record))
    assert record.read_text() == '{"x":[1,2]}\n{"x":"a b"}\n'


STREAMS = {"error": "model 'm' streams; call it by ...", "code": 12}


@pytest.fixture
def streaming(infer: Run, fake_gateway: FakeGateway) -> Callable[..., tuple[int, str, str]]:
    """Return what runs `graphmesh infer` of a model that gives these answers, one after the other."""

    def run(answers: list[object], *arguments: str) -> tuple[int, str, str]:
        fake_gateway.answers(STREAMS, status=501)
        lines = "".join(json.dumps(answer) + "\n" for answer in answers)
        fake_gateway.elsewhere[":predictStream"] = (200, lines.encode())
        return infer("m", "x=1", *arguments)

    return run


def test_answers_of_a_stream(streaming: Run, fake_gateway: FakeGateway, tmp_path: Path) -> None:
    """Each answer is printed by itself: a line for an output, a line of JSON, a document of YAML; it is recorded."""
    answers: list[object] = [{"model": "m", "outputs": {"y": 1, "text": "ä"}}, {"model": "m", "outputs": {"y": 2}}]
    assert streaming(answers, "--record", f"{tmp_path}/calls") == (0, "y  1\ntext  ä\ny  2\n", "")
    path, headers, body = fake_gateway.requests[-1]
    assert (path, headers["accept"], body) == ("/v1/models/m:predictStream", "application/x-ndjson", b'{"x": 1}')
    assert (tmp_path / "calls").read_text() == '{"x":1}\n'
    code, out, _ = streaming(answers, "-o", "json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, answers)
    assert streaming(answers[1:], "-o", "yaml")[1] == "---\nmodel: m\noutputs:\n  y: 2\n"


def test_a_stream_without_answers(streaming: Run) -> None:
    """It is said, beside the output, which stays empty."""
    assert streaming([]) == (0, "", "0 answers\n")
    assert streaming([], "-o", "json") == (0, "", "")


def test_a_stream_that_fails(streaming: Run, fake_gateway: FakeGateway) -> None:
    """What came is printed, then the error, with its code; an error before the first answer likewise."""
    answers: list[object] = [{"outputs": {"y": 1}}, {"error": "it broke", "code": 13}]
    assert streaming(answers) == (1, "y  1\n", "graphmesh: it broke\n")
    assert streaming([{"error": "words: no", "code": 3}]) == (2, "", "graphmesh: words: no\n")


def test_answers_come_as_they_are_made() -> None:
    """A line is handed on before the next one is there."""
    more = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1\n")
            assert more.wait(10)
            self.wfile.write(b"2\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the interface's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        lines = post_lines(f"http://127.0.0.1:{server.server_port}/", b"{}", headers={}, timeout_s=10)
        assert next(lines).body == b"1\n"
        more.set()
        assert [line.body for line in lines] == [b"2\n"]
        server.shutdown()
        thread.join()


def test_a_call_that_takes_too_long(infer: Run, fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gave up, Envoy or the worker: what was called, the time and the option are named."""
    clock = itertools.count(step=1.6)
    monkeypatch.setattr("graphmesh.cli.infer.time", SimpleNamespace(monotonic=lambda: next(clock)))
    fake_gateway.answers({"error": "downstream duration timeout", "code": 4}, status=504)
    assert infer("slow", "--timeout", "1.5") == (
        1,
        "",
        "graphmesh: 'slow' did not answer within 1.5 s; give it longer with --timeout\n",
    )


def test_a_time_limit_inside_the_mesh(infer: Run, fake_gateway: FakeGateway) -> None:
    """A step's own limit, which passed long before this command's, is told as it is."""
    fake_gateway.answers({"error": "graph g, node a: it may take 0.005 s, and took longer", "code": 4}, status=504)
    told = "graphmesh: graph g, node a: it may take 0.005 s, and took longer\n"
    assert infer("g", "--timeout", "600") == (1, "", told)


def test_degraded_answers_say_so(infer: Run, fake_gateway: FakeGateway) -> None:
    """Beside the table, for people; programs find it in the answer."""
    answer = {"outputs": {"y": 1}, "degraded": ["s", "t/u"]}
    fake_gateway.answers(answer)
    code, out, errors = infer("safe")
    assert (code, "degraded" in out, errors) == (0, False, "degraded: s, t/u\n")
    code, out, errors = infer("safe", "-o", "json")
    assert (code, json.loads(out), errors) == (0, answer, "")


def test_headers_are_sent_along(infer: Run, fake_gateway: FakeGateway) -> None:
    """`--header NAME=VALUE` may be repeated; a value may hold `=`."""
    assert infer("m", "--header", "X-Tenant=a=b", "--header", "x-request-id=7")[0] == 0
    _, headers, _ = fake_gateway.requests[-1]
    assert (headers["x-tenant"], headers["x-request-id"]) == ("a=b", "7")
    code, _, errors = infer("m", "--header", "x-tenant")
    assert (code, errors) == (2, "graphmesh: --header must be NAME=VALUE, got 'x-tenant'\n")


def test_text_that_looks_like_a_number(infer: Run, fake_gateway: FakeGateway) -> None:
    """If the mesh wants text where JSON was understood, the error says how to quote it; no other error does."""
    wanted = 'input \'text\': BYTES elements must be strings or {"b64": "..."}, got a number'
    fake_gateway.answers({"error": wanted, "code": 3}, status=400)
    code, _, errors = infer("m", "n=1", "text=123")
    assert (code, errors) == (2, f"graphmesh: {wanted}; if 123 is meant as text, quote it: text='\"123\"'\n")
    assert "quote" not in infer("m", "n=1")[2]


def test_the_mesh_was_reached(infer: Run, fake_gateway: FakeGateway) -> None:
    """A model that cannot answer now is exit code 1, not 3; the command is named rather than its REST path."""
    fake_gateway.answers({"error": "model 'm' is not ready; see GET /v1/models", "code": 14}, status=503)
    assert infer("m") == (1, "", "graphmesh: model 'm' is not ready; see graphmesh models\n")
