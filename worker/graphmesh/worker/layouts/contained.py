"""Names in a folder's description that must stay inside the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import LoadFailed

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["contained"]


def contained(folder: Path, name: str) -> Path:
    """Return the path of something inside a folder; symbolic links must not lead out.

    Raises:
        LoadFailed: it is outside, the folder itself, or not there.
    """
    path = folder / name
    try:
        inside = path.resolve(strict=True).relative_to(folder.resolve())
    except ValueError:
        raise LoadFailed(f"{name!r} must be inside the model's folder") from None
    except (OSError, RuntimeError):
        raise LoadFailed(f"there is no {name!r} in the model's folder") from None
    if not inside.parts:
        raise LoadFailed(f"{name!r} must be inside the model's folder, not the folder itself")
    return path
