"""Generate the Python modules and descriptor sets under `protos/gen` from the `.proto` files.

`graphmesh/v1` is ordinary generated code. The Open Inference Protocol goes to `graphmesh/oip` with one change: its
messages live in a descriptor pool of their own, because other packages that carry the same protocol (tritonclient,
kserve, mlserver) register the same symbols in the default pool, which refuses a second registration.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import google.api

ROOT = Path(__file__).resolve().parent
GOOGLEAPIS = Path(next(iter(google.api.__path__))).parents[1]


def _protoc(*arguments: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", f"-I{GOOGLEAPIS}", *arguments]
    subprocess.run(command, check=True)  # noqa: S603 - our own arguments


def generate(out: Path) -> None:
    """Write every generated file below ``out``, replacing what is there."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    own = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "graphmesh/v1").glob("*.proto"))
    outputs = (f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}")
    _protoc(*outputs, *own)
    oip = f"-Igraphmesh/oip={ROOT / 'inference'}"
    _protoc(oip, *outputs, "graphmesh/oip/open_inference.proto")
    module = out / "graphmesh/oip/open_inference_pb2.py"
    text = module.read_text()
    if text.count("_descriptor_pool.Default()") != 1:
        message = f"{module} must use the default pool exactly once; the generator's output has changed"
        raise RuntimeError(message)
    module.write_text(text.replace("_descriptor_pool.Default()", "_descriptor_pool.DescriptorPool()"))
    for package, doc in (
        ("v1", "graphmesh's own protocol, generated."),
        ("oip", "Open Inference Protocol, generated."),
    ):
        (out / "graphmesh" / package / "__init__.py").write_text(f'"""{doc}"""\n')
    # What the gateway gives to Envoy: every service with its http rules, and all that they import.
    descriptors = out / "graphmesh/v1/services.binpb"
    _protoc("--include_imports", f"--descriptor_set_out={descriptors}", *own, "inference/open_inference.proto")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "gen")
