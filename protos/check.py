"""Check that `protos/gen` is what the `.proto` files generate, and that they pass buf's lint."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import generate


def _differences(left: Path, right: Path) -> list[str]:
    def files(root: Path) -> set[str]:
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts}

    names = files(left) | files(right)
    _, different, missing = filecmp.cmpfiles(left, right, sorted(names), shallow=False)
    return different + missing


def main() -> int:
    """Return 0 if all is well; say what is not on standard error."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "gen"
        generate.generate(fresh)
        different = _differences(generate.ROOT / "gen", fresh)
        if different:
            sys.stderr.write(f"protos/gen is stale, run `make gen`: {', '.join(different)}\n")
            return 1
        # buf resolves imports inside its module only, so it looks at a copy with Google's two files beside ours.
        copy = Path(folder) / "protos"
        shutil.copytree(generate.ROOT, copy, ignore=shutil.ignore_patterns("gen", "*.py", "__pycache__"))
        for name in ("annotations.proto", "http.proto", "httpbody.proto"):
            (copy / "google/api").mkdir(parents=True, exist_ok=True)
            shutil.copy(generate.GOOGLEAPIS / "google/api" / name, copy / "google/api" / name)
        buf = Path(sys.executable).with_name("buf")
        lint = subprocess.run([buf, "lint", "--exclude-path", "google"], cwd=copy, check=False)  # noqa: S603 - our tool
        return lint.returncode


if __name__ == "__main__":
    sys.exit(main())
