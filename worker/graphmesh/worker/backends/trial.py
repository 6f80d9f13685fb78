"""A trial load in a process of its own, for runtimes that end the process when a file is damaged.

XGBoost and LightGBM call `std::terminate` on some truncated or altered files. A worker must outlive them, so a file is
first loaded by a child that nothing depends on. It costs the import of the framework once more for each load.

Not done: a guard against files that load and then crash in a prediction; `isolation: process` is for those.
"""

from __future__ import annotations

import subprocess
import sys

from graphmesh.core.errors import LoadFailed

__all__ = ["try_load"]

_SECONDS = 120.0
_REFUSED = 3
_CHILD = """
import sys
data = sys.stdin.buffer.read()
try:
{body}
except Exception as error:
    sys.stdout.write(f"{{type(error).__name__}}: {{error}}")
    sys.exit({refused})
"""


def try_load(code: str, data: bytes) -> None:
    """Run code that loads ``data`` in a child process.

    Args:
        code: Python statements; they find the bytes in `data`.
        data: The model file.

    Raises:
        LoadFailed: the code raised, ended the process, or took two minutes.
    """
    body = "\n".join(f"    {line}" for line in code.splitlines())
    script = _CHILD.format(body=body, refused=_REFUSED)
    try:
        child = subprocess.run(  # noqa: S603 - our own code; the file's bytes are its input only
            [sys.executable, "-P", "-c", script], input=data, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"its framework did not load it within {_SECONDS:.0f} s") from None
    if child.returncode == _REFUSED:
        raise LoadFailed(_first_line(child.stdout))
    if child.returncode != 0:
        raise LoadFailed("its framework crashed while it loaded this file: the file is damaged")


def _first_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else "its framework refused it"
