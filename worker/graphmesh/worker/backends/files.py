"""Model files, read once: the bytes that were checked are the bytes that are loaded.

A file is read whole before anything looks at it, so nobody can change it between the check of its digest and its use.
That takes its size in memory twice while it is loaded. Formats that can carry code are read only if the configuration
names their digest: whoever wrote it down has decided to trust this very file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from graphmesh.core.errors import LoadFailed

if TYPE_CHECKING:
    from graphmesh.worker.config import ModelConfig

__all__ = ["check_memory", "read_file", "read_model"]


def read_model(config: ModelConfig, *, code: str = "") -> bytes:
    """Return the model file's bytes, once they are known to be the ones that are meant.

    Args:
        config: Whose `source` is a file; its `sha256`, if there is one, must match.
        code: The format's name if loading it can run code; then `sha256` is required.

    Raises:
        LoadFailed: no such file, another digest, or none although the format can carry code.
    """
    data = read_file(Path(config.source))
    if not config.sha256 and not code:
        return data
    digest = hashlib.sha256(data).hexdigest()
    if not config.sha256:
        raise LoadFailed(
            f"loading {code} can run any code that is in it; if you trust this file, add this line to the model in "
            f"mesh.yaml: sha256: {digest}"
        )
    if digest != config.sha256:
        raise LoadFailed(
            f"sha256 must be {config.sha256}, got {digest}: this is not the file that was meant; restore it, or check "
            "the new one and name its digest"
        )
    return data


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        LoadFailed: there is none, it cannot be read, or it is larger than this machine's memory.
    """
    try:
        # A pipe would block the open until somebody writes.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise LoadFailed("source must be a regular file")
            check_memory(status.st_size)
            return file.read()
    except FileNotFoundError:
        raise LoadFailed("there is no such file") from None
    except OSError as error:
        raise LoadFailed(f"the file cannot be read: {error.strerror}") from error


def check_memory(size: int) -> None:
    """Refuse what no machine like this one can load; a sparse file can claim any size.

    Raises:
        LoadFailed: ``size``, bytes, is more than this machine's memory.
    """
    most = psutil.virtual_memory().total
    if size > most:
        raise LoadFailed(f"the model claims {size} bytes, more than this machine's memory of {most} bytes")
