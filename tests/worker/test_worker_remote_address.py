"""Addresses as sources: what they say, what is refused, and who else looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.cli.mesh_file import load_mesh_file
from graphmesh.core.errors import InvalidRequest
from graphmesh.worker import Isolation, ModelConfig
from graphmesh.worker.backends.remote_address import Address, is_address, parse_address
from graphmesh.worker.hosting.sources import resolve

if TYPE_CHECKING:
    from pathlib import Path


def _address(**fields: object) -> Address:
    return Address(**{"rest": False, "secure": False, "host": "h", "port": 8001, "model": "m", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("grpc://h:8001/m", _address()),
        ("grpcs://h.example:1/m/3", _address(secure=True, host="h.example", port=1, version="3")),
        ("http://h/m", _address(rest=True, port=80)),
        ("https://h/m", _address(rest=True, secure=True, port=443)),
        ("http://127.0.0.1:8080/m/v1", _address(rest=True, host="127.0.0.1", port=8080, version="v1")),
        ("grpc://[::1]:8001/m", _address(host="::1")),
        ("grpc://h:8001/Odd%2FName%20%C3%BC", _address(model="Odd/Name ü")),
        ("GRPC://H:8001/M", _address(model="M")),
    ],
)
def test_addresses(source: str, address: Address) -> None:
    """An address says how, where and what."""
    assert is_address(source)
    assert parse_address(source) == address


def test_authority() -> None:
    """Messages name the server by host and port, brackets around an IPv6 address."""
    assert parse_address("grpc://h:8001/m").authority == "h:8001"
    assert parse_address("http://[::1]/m").authority == "[::1]:80"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ftp://h:1/m", "must begin with grpc://, grpcs://, http://, https://, got ftp://"),
        ("grpc://h/m", "with a host and a port"),
        ("grpc://:8001/m", "with a host and a port"),
        ("grpc://h:0/m", "with a host and a port"),
        ("grpc://h:70000/m", "cannot be read"),
        ("grpc://h:x/m", "cannot be read"),
        ("grpc://[::1/m", "cannot be read"),
        ("grpc://a b:1/m", "with a host and a port"),
        ("grpc://h:1", "model's name"),
        ("grpc://h:1/", "model's name"),
        ("grpc://h:1/m/", "model's name"),
        ("grpc://h:1/m/1/infer", "model's name"),
        ("http://h/m?x=1", "without ? and #"),
        ("http://h/m#x", "without ? and #"),
        ("http://h/m%0d%0ax", "printable"),
    ],
)
def test_bad_addresses(source: str, said: str) -> None:
    """A bad address is refused where it is written, with what is expected."""
    with pytest.raises(InvalidRequest) as caught:
        ModelConfig(name="far", source=source)
    assert caught.value.message.startswith("model 'far': source: ")
    assert said in caught.value.message


def test_credentials_are_not_repeated() -> None:
    """Credentials are refused, and the message does not spread them."""
    with pytest.raises(InvalidRequest, match="must not hold credentials") as caught:
        ModelConfig(name="far", source="https://me:secret@h/m")
    assert "secret" not in caught.value.message


@given(model=st.text(min_size=1, max_size=40), version=st.text(max_size=10))
def test_names_round_trip(model: str, version: str) -> None:
    """Any printable name can be written into an address; others are refused."""
    source = "grpc://h:1/" + "/".join(quote(name, safe="") for name in (model, version) if name)
    if (model + version).isprintable():
        found = parse_address(source)
        assert (found.model, found.version) == (model, version)
    else:
        with pytest.raises(InvalidRequest):
            parse_address(source)


@pytest.mark.parametrize("source", ["model.onnx", "models.py:Add", "package.module:Add", "/abs/file.pt", "C:/x"])
def test_other_sources(source: str) -> None:
    """Files and classes are no addresses."""
    assert not is_address(source)


def test_resolved() -> None:
    """The backend is known without a call; a version there is ours if it can be, and the configuration wins."""
    for source, given_version, version in (
        ("grpc://h:1/m", "", "1"),
        ("grpc://h:1/m/3", "", "3"),
        ("grpc://h:1/m/3", "9", "9"),
        ("grpc://h:1/m/v3", "", "1"),
    ):
        (found,) = resolve(ModelConfig(name="far", source=source, version=given_version))
        assert (found.backend, found.version) == ("remote", version)


@pytest.mark.parametrize(
    ("name", "value"), [("sha256", "0" * 64), ("device", "cuda"), ("isolation", Isolation.PROCESS)]
)
def test_what_only_fits_models_here(name: str, value: object) -> None:
    """What makes no sense for a model elsewhere is refused, not ignored."""
    with pytest.raises(InvalidRequest, match=f"{name} is for models that run here"):
        ModelConfig(name="far", source="grpc://h:1/m", **{name: value})  # type: ignore[arg-type]


def test_mesh_file(tmp_path: Path) -> None:
    """mesh.yaml keeps an address as it is, and makes a path of the certificates beside it."""
    file = tmp_path / "mesh.yaml"
    text = "workers: [{name: w, models: [{name: far, source: SOURCE, parameters: {ca: ca.pem}}]}]"
    file.write_text(text.replace("SOURCE", '"grpcs://h:8001/m"'))
    (entry,) = load_mesh_file(file).workers[0].models
    assert (entry.source, entry.parameters) == ("grpcs://h:8001/m", {"ca": str(tmp_path / "ca.pem")})
    file.write_text(text.replace("SOURCE", '"grpcs://h/m"'))
    with pytest.raises(InvalidRequest, match=r"mesh.yaml: model 'far': source: an address must look like"):
        load_mesh_file(file)
