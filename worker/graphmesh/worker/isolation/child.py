"""The process of one isolated model: ``python -P -m graphmesh.worker.isolation.child FD PARENT``.

It loads what the first message says, then runs calls: each lane is a thread that takes one call at a time, an async
`predict` runs on one event loop for all lanes. It ends when it is told to, and whenever the worker is gone: then the
control connection ends, and where Linux offers it the kernel kills a process too stuck to notice.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading

from graphmesh.core.errors import GraphmeshError, InvalidRequest
from graphmesh.core.logs import log_handler
from graphmesh.worker.backends import LoadedModel, load_model
from graphmesh.worker.hosting.sources import resolve
from graphmesh.worker.isolation.connection import Connection, Lost
from graphmesh.worker.isolation.host import Host
from graphmesh.worker.isolation.messages import (
    Cancel,
    Lane,
    Load,
    Loaded,
    Refused,
    Resolved,
    Unload,
    from_parent,
    lane_from_parent,
)
from graphmesh.worker.isolation.wire import batching_to_wire, config_from_wire, config_to_wire, encode_signature

__all__ = ["main"]

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run until told to end, or until the worker is gone."""
    number, parent = map(int, sys.argv[1:3])
    _end_with(parent)
    _log()
    faulthandler.enable()
    control: Connection[Load | Lane | Cancel | Unload] = Connection(socket.socket(fileno=number), from_parent())
    try:
        message, _ = control.receive()
        assert isinstance(message, Load), "the first message must be what to load"  # noqa: S101
        loaded = _begin(control, message)
        if loaded is not None:
            _serve(control, Host(loaded))
    except Lost:
        pass
    os._exit(0)  # a thread that hangs in the model must not keep the process


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent, whatever the model is doing then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _log() -> None:
    level = os.environ.get("GRAPHMESH_LOG_LEVEL", "INFO").upper()
    try:
        handler = log_handler(os.environ.get("GRAPHMESH_LOG_FORMAT", ""))
    except InvalidRequest:  # the worker was not started by our command, which checks it
        handler = log_handler()
    known = level if level in logging.getLevelNamesMapping() else "INFO"
    logging.basicConfig(level=known, handlers=[handler])


def _begin(control: Connection[Load | Lane | Cancel | Unload], message: Load) -> LoadedModel | None:
    """Load the model, or only read its source; None if nothing is to be run."""
    try:
        config = config_from_wire(message.config)
        if message.resolve:
            control.send(Resolved([config_to_wire(found) for found in resolve(config)]))
            return None
        loaded = load_model(config)
        control.send(_described(loaded))
    except GraphmeshError as error:
        control.send(Refused(error.message))
        return None
    return loaded


def _described(loaded: LoadedModel) -> Loaded:
    return Loaded(
        encode_signature(loaded.signature),
        loaded.platform,
        loaded.is_async,
        loaded.wants_context,
        batching_to_wire(loaded.batching),
    )


def _serve(control: Connection[Load | Lane | Cancel | Unload], host: Host) -> None:
    while True:
        message, fds = control.receive()
        if isinstance(message, Lane):
            lane = Connection(socket.socket(fileno=fds[0]), lane_from_parent())
            threading.Thread(target=host.serve, args=(lane,), daemon=True).start()
        elif isinstance(message, Cancel):
            host.cancel(message.call)
        elif isinstance(message, Unload):
            host.unload()
            return


if __name__ == "__main__":
    main()
