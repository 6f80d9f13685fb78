"""A worker hosts models, executes graphs and answers calls by gRPC and HTTP.

Here is what the classes that it hosts, and whoever configures it, need. The worker itself is `worker.Worker`, as a
process `process.run_worker`; they are not imported here, so that a model's class does not bring the servers along.
"""

from graphmesh.worker.batching import Batching
from graphmesh.worker.config import Isolation, ModelConfig, WorkerConfig
from graphmesh.worker.hosting.context import Context
from graphmesh.worker.hosting.declare import batched, model

__all__ = ["Batching", "Context", "Isolation", "ModelConfig", "WorkerConfig", "batched", "model"]
