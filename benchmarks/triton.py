"""Triton as a peer: its Python backend alone, and an ensemble of four such models, without any gateway.

The server comes from the `nvidia-pytriton` wheel (Linux x86-64), which runs on a CPU; `python -m benchmarks.triton`
puts it into an environment of its own. Configured as its documentation has it: one instance a model, gRPC only, no
batching (each request is one array), response cache off, log of warnings.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.calls import grpc_call
from benchmarks.scenarios import Scenario
from benchmarks.servers import ServerFailed, System, listening, start
from graphmesh.cli.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["available", "install", "peers"]

_WHEEL = "nvidia-pytriton==0.7.0"
_HOME = Path(__file__).resolve().parents[1] / ".peers" / "triton"
_STEPS = 4

_MODEL = """
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        one = np.float32(1)
        return [
            pb.InferenceResponse([pb.Tensor("y", pb.get_input_tensor_by_name(request, "x").as_numpy() + one)])
            for request in requests
        ]
"""

_CONFIG = """
name: "{name}"
{what}
max_batch_size: 0
input [{{name: "x" data_type: TYPE_FP32 dims: [-1]}}]
output [{{name: "y" data_type: TYPE_FP32 dims: [-1]}}]
"""


def available() -> bool:
    """Return whether the wheel has a server for this machine and a backend for this Python."""
    machine = (platform.system(), platform.machine(), platform.libc_ver()[0])
    return machine == ("Linux", "x86_64", "glibc") and sys.version_info[:2] <= (3, 13)


def install() -> None:
    """Make the environment, if it is not there yet."""
    done = _HOME / ".installed"
    if done.exists():
        return
    shutil.rmtree(_HOME, ignore_errors=True)
    venv.create(_HOME, with_pip=True)
    pip = [str(_HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "numpy<2"], check=True)  # with numpy 2 its answers have empty tensors
    subprocess.run([*pip, "--no-deps", _WHEEL], check=True)  # of its Python half nothing is used
    server, version = _server(), f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, server / "backends" / "python" / stub.name)
    for binary in (server / "bin" / "tritonserver", server / "backends" / "python" / stub.name):
        binary.chmod(0o755)
    done.touch()


def _server() -> Path:
    return _packages() / "pytriton" / "tritonserver"


def _packages() -> Path:
    return _HOME / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


@contextlib.asynccontextmanager
async def peers(folder: Path) -> AsyncIterator[list[Scenario]]:
    """Run Triton and yield a scenario for one Python model and for an ensemble of four."""
    if not available():
        yield []
        return
    await asyncio.to_thread(install)
    repository, port = folder / "repository", free_port()
    _write(repository)
    server = _server()
    command = [
        *("/usr/bin/env", f"PATH={_HOME / 'bin'}:{os.environ['PATH']}", f"PYTHONPATH={_packages()}"),
        *(str(server / "bin" / "tritonserver"), f"--model-repository={repository}"),
        *(f"--backend-directory={server / 'backends'}", "--allow-http=false", "--allow-metrics=false"),
        *("--grpc-address=127.0.0.1", f"--grpc-port={port}", "--log-info=false"),
    ]
    address = f"127.0.0.1:{port}"
    async with start("triton", command, folder=folder) as process:
        alone, ensemble = grpc_call(address, "step-1"), grpc_call(address, "chain", steps=_STEPS)
        await process.wait(listening(port))
        system = System(parts={"triton": (process.root,)})
        yield [
            Scenario(name="triton-python", title="Triton alone, Python model", system=system, calls=(alone,)),
            Scenario(
                name="triton-ensemble",
                title=f"Triton alone, ensemble of {_STEPS} Python models",
                system=system,
                calls=(ensemble,),
            ),
        ]


def _write(repository: Path) -> None:
    names = [f"step-{number}" for number in range(1, _STEPS + 1)]
    for name in names:
        (repository / name / "1").mkdir(parents=True)
        what = 'backend: "python"\ninstance_group [{kind: KIND_CPU count: 1}]'
        (repository / name / "config.pbtxt").write_text(_CONFIG.format(name=name, what=what))
        (repository / name / "1" / "model.py").write_text(_MODEL)
    (repository / "chain" / "1").mkdir(parents=True)
    tensors = ["x", *(f"after-{name}" for name in names[:-1]), "y"]
    steps = ",\n".join(
        f'{{model_name: "{name}" model_version: -1 input_map {{key: "x" value: "{source}"}} '
        f'output_map {{key: "y" value: "{result}"}}}}'
        for name, source, result in zip(names, tensors[:-1], tensors[1:], strict=True)
    )
    config = (
        _CONFIG.format(name="chain", what='platform: "ensemble"') + f"ensemble_scheduling {{ step [\n{steps}\n] }}\n"
    )
    (repository / "chain" / "config.pbtxt").write_text(config)


if __name__ == "__main__":
    if not available():
        raise ServerFailed("the nvidia-pytriton wheel has no server for this machine")
    install()
