"""What a hostile model file tries: to leave a mark on the disk when it is loaded."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Evil", "evil_pickle"]


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        """Return a call of `open`."""
        return open, (str(self._marker), "w")


def evil_pickle(marker: Path) -> bytes:
    """Return a pickle that creates ``marker``."""
    return pickle.dumps(Evil(marker))
