"""Memory that two processes share.

One side makes an arena and writes to it, the other maps it read-only and makes arrays of what is there: one copy a
way. The arrays keep the mapping alive by themselves, so nothing here can free memory that somebody still looks at. What
must not happen is that the writer writes again while the reader's arrays live; the reader tells by `held`, which asks
numpy's own bookkeeping: every array made from a mapping refers to its `root`.

The reader trusts no size: an arena must be as large as is said and sealed against shrinking (elsewhere than on Linux
there are no seals), or reading it could kill the process. Arenas are made on demand and grow by doubling.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile

import numpy as np

if sys.platform == "linux":
    import fcntl

__all__ = ["Arena", "attach", "create"]

_LEAST = 1 << 18
_OWN_REFERENCES = 2  # the arena's, and the argument of getrefcount


class Arena:
    """A mapping of shared memory; `root` is all of it as bytes."""

    __slots__ = ("fd", "root")

    def __init__(self, fd: int, size: int, *, writable: bool) -> None:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self.fd = fd
        """The file it maps; -1 once it was closed."""
        self.root = np.frombuffer(mmap.mmap(fd, size, access=access), dtype=np.uint8)
        """Every byte; arrays made from it refer to it."""

    def __len__(self) -> int:
        """Return its size in bytes."""
        return len(self.root)

    @property
    def held(self) -> bool:
        """Whether arrays made from it are alive."""
        return sys.getrefcount(self.root) > _OWN_REFERENCES

    def close(self) -> None:
        """Close the file; the mapping lives as long as arrays made from it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def create(size: int) -> Arena:
    """Return an arena of at least this size, to write to."""
    rounded = max(_LEAST, 1 << (size - 1).bit_length())
    if sys.platform == "linux":
        fd = os.memfd_create("graphmesh-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, rounded)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
        os.ftruncate(fd, rounded)
    return Arena(fd, rounded, writable=True)


def attach(fd: int) -> Arena:
    """Return another process's arena, to read from; the file is closed.

    Raises:
        ValueError: it could shrink under the reader's hands.
    """
    try:
        if sys.platform == "linux" and not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise ValueError("an arena must be sealed against shrinking")
        arena = Arena(fd, os.fstat(fd).st_size, writable=False)
    finally:
        os.close(fd)
    arena.fd = -1
    return arena
