"""Optimised graphs, kept between loads: a network of many nodes loads in half the time or less from here.

What the runtime makes of a file depends on the file, the runtime's version, the processor, the providers and the
options; all of them are in an entry's name. An entry carries a checksum, so that a damaged one is not loaded. The
folder belongs to this user alone; one that does not is not used. Entries appear whole or not at all (written beside,
then renamed), and go when nobody has used them for a month.

Anything that goes wrong here means loading without the cache, and is told at debug level.
Not kept: models with external data, since those files are not part of the name.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import stat
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed
from graphmesh.worker.backends.files import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["beside", "cache_folder", "entry_path", "keep", "kept"]

logger = logging.getLogger(__name__)

_CHECKSUM_BYTES = 4
_UNUSED_S = 30 * 24 * 3600.0


def cache_folder() -> Path | None:
    """Return this user's folder for optimised graphs, made if need be; None if there can be none."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "graphmesh" / "onnx"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        logger.debug("no cache for optimised graphs error=%s", error)
        return None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        logger.debug("no cache for optimised graphs: it must belong to this user alone")
        return None
    return folder


def entry_path(folder: Path, data: bytes, circumstances: str) -> Path:
    """Return where the optimised graph of a model is kept, if it is."""
    digest = hashlib.sha256(data)
    digest.update(f"\n{circumstances}\n{_processor()}".encode())
    return folder / f"{digest.hexdigest()}.graph"


def kept(entry: Path) -> bytes | None:
    """Return an optimised model; None if there is none that can be trusted."""
    try:
        data = read_file(entry)
        model, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        sound = _checksum(model) == checksum and entry.lstat().st_uid == os.getuid()
        os.utime(entry)
    except (OSError, LoadFailed) as error:
        logger.debug("optimised graph not used entry=%s error=%s", entry.name, error)
        return None
    return model if sound else None


def keep(entry: Path, optimised: Path) -> None:
    """Keep what the runtime wrote to a file, and let go of what nobody uses."""
    try:
        with optimised.open("r+b") as file:
            file.write(_checksum(file.read()))
        optimised.chmod(0o600)
        optimised.replace(entry)
        oldest = time.time() - _UNUSED_S
        for other in entry.parent.iterdir():
            if other.stat().st_mtime < oldest:
                other.unlink()
    except OSError as error:
        logger.debug("optimised graph not kept entry=%s error=%s", entry.name, error)


@contextlib.contextmanager
def beside(entry: Path) -> Iterator[Path]:
    """Give a path next to an entry for the runtime to write to; nothing stays there."""
    path = entry.with_name(f"{entry.stem}.{os.getpid()}-{time.monotonic_ns()}.tmp")
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _checksum(model: bytes) -> bytes:
    return zlib.crc32(model).to_bytes(_CHECKSUM_BYTES, "big")


def _processor() -> str:
    """Return what the runtime's choice of kernels depends on: the instructions this processor has."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()} {flags}"
