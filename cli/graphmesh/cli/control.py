"""How commands ask a running mesh: one call of its control services, from synchronous code."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from google.protobuf.json_format import MessageToDict

from graphmesh.cli.state import read_state
from graphmesh.client import ControlClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

__all__ = ["as_document", "ask", "ask_for_all", "gateway_option"]

_USUAL = "127.0.0.1:8000"


def _gateway() -> str:
    """Return the gateway of the mesh that runs from the working folder, else where one usually is."""
    state = read_state(Path(".graphmesh"))
    return _USUAL if state is None or state.phase == "failed" else state.gateway


gateway_option: Callable[[Any], Any] = click.option(
    "--gateway",
    default=_gateway,
    show_default=_USUAL,
    metavar="HOST:PORT",
    help="The mesh's gateway; default: that of the mesh in this folder's .graphmesh, if there is one.",
    envvar="GRAPHMESH_GATEWAY_ADDRESS",
)


def as_document(message: Message) -> dict[str, Any]:
    """Return a message as `-o json` and `-o yaml` show it: the protocol's own field names, nothing left out."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def ask(gateway: str, method: Callable[[ControlClient], Any], request: Message) -> Any:
    """Return the answer of the method that ``method`` picks from a client; raises as `ControlClient.call`."""

    async def answer() -> Any:
        async with ControlClient(gateway) as client:
            return await client.call(method(client), request)

    return asyncio.run(answer())


def ask_for_all(gateway: str, method: Callable[[ControlClient], Any], request: Message, field: str) -> list[Any]:
    """Return the items of ``field`` over all pages of a List method; raises as `ControlClient.call`."""

    async def items() -> list[Any]:
        async with ControlClient(gateway) as client:
            return [item async for item in client.pages(method(client), request, field)]

    return asyncio.run(items())
