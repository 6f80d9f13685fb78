"""A worker hosts models, executes graphs and answers calls by gRPC and HTTP.

`run_worker` runs one as a process; `Worker` is the same as an object with a lifetime.
"""

from graphmesh.worker.config import ModelConfig, WorkerConfig
from graphmesh.worker.process import run_worker
from graphmesh.worker.worker import Worker

__all__ = ["ModelConfig", "Worker", "WorkerConfig", "run_worker"]
