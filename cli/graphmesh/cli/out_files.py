"""Files that commands write: never over what is there already, unless that was asked for, and refused in good time."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import click

from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["check_writable", "force_option", "write_file"]


def force_option(flag: str) -> Callable[[Any], Any]:
    """Return the option that lets the file of another option be replaced."""
    return click.option("--force", is_flag=True, help=f"Replace the file of {flag} if it is there already.")


def check_writable(path: Path, *, force: bool) -> None:
    """Refuse a file before the work that it is for; nothing is written yet.

    Raises:
        InvalidRequest: it is there already and is not to be replaced, or could not be written (INVALID_ARGUMENT).
    """
    if path.exists() and not force:
        raise InvalidRequest(f"{path}: is there already; choose another name, or replace it with --force")
    if not path.parent.is_dir():
        raise InvalidRequest(f"{path}: cannot be written: {os.strerror(errno.ENOENT)}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidRequest(f"{path}: cannot be written: {os.strerror(errno.EACCES)}")


def write_file(path: Path, text: str, *, force: bool) -> None:
    """Write a file as UTF-8; raises as above."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidRequest(f"{path}: is there already; choose another name, or replace it with --force") from None
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be written: {error.strerror}") from None
