"""Sources that are addresses: a model at another server of the Open Inference Protocol.

scheme://host:port/model            grpc, grpcs (TLS): the port must be named
scheme://host:port/model/version    http, https: 80 and 443 unless it is
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from graphmesh.core.errors import InvalidRequest

__all__ = ["Address", "is_address", "parse_address"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECURE = {"grpc": False, "grpcs": True, "http": False, "https": True}
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_EXPECTED = "an address must look like grpc://host:8001/model or http://host:8000/model/version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a model is."""

    rest: bool
    """Reached by HTTP and JSON; else by gRPC."""
    secure: bool
    """By TLS."""
    host: str
    """A name or an IP address, an IPv6 one without brackets."""
    port: int
    """1 to 65535."""
    model: str
    """Its name there, which need not follow our rules."""
    version: str = ""
    """Its version there; empty leaves the choice to the server."""

    @property
    def authority(self) -> str:
        """Return `host:port`, which is how messages name the server."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def what(self) -> str:
        """Return how messages name the model there."""
        return f"{self.model!r} version {self.version}" if self.version else repr(self.model)


def is_address(source: str) -> bool:
    """Return whether a source is meant as an address, good or bad."""
    return _SCHEME.match(source) is not None


def parse_address(source: str) -> Address:
    """Return what an address says.

    Raises:
        InvalidRequest: another scheme, no host, port or model, more than these, or credentials; the message repeats
            none of the latter (INVALID_ARGUMENT, retry: no).
    """
    try:
        parts = urlsplit(source)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidRequest(f"{_EXPECTED}; it cannot be read: {error}") from None
    if "@" in parts.netloc:
        raise InvalidRequest(
            "an address must not hold credentials, since sources are logged and shown; take out what is before the @"
        )
    if not scheme:
        raise InvalidRequest(f"{_EXPECTED}, got {source[:200]!r}")
    if scheme not in _SECURE:
        raise InvalidRequest(f"an address must begin with {', '.join(f'{one}://' for one in _SECURE)}, got {scheme}://")
    if parts.query or parts.fragment:
        raise InvalidRequest(f"{_EXPECTED}, without ? and #, got {source[:200]!r}")
    port = _PORTS.get(scheme) if port is None else port
    if not _HOST.fullmatch(host) or not port:
        raise InvalidRequest(f"{_EXPECTED}, with a host and a port, got {source[:200]!r}")
    model, version = _path(parts.path, source)
    return Address(rest=scheme in _PORTS, secure=_SECURE[scheme], host=host, port=port, model=model, version=version)


def _path(path: str, source: str) -> tuple[str, str]:
    """Return the model and the version of a path."""
    names = [unquote(name) for name in path.removeprefix("/").split("/")]
    model, version = (*names, "")[:2]
    if not model or len(names) > len(("model", "version")) or (len(names) > 1 and not version):
        raise InvalidRequest(f"{_EXPECTED}, with the model's name and perhaps a version after it, got {source[:200]!r}")
    if not (model + version).isprintable():
        raise InvalidRequest(f"{_EXPECTED}, with printable names, got {source[:200]!r}")
    return model, version
