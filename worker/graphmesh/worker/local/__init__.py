"""Models and whole graphs in one process, without etcd, Envoy or sockets: for unit tests.

    async with LocalMesh(models={"upper": Upper}, graphs=["shout.yaml"]) as mesh:
        assert await mesh.predict("shout", text="hi") == {"text": "HI!"}

What runs a call is what runs it in a worker: the same signatures, checks, threads, batches, deadlines and errors. Not
there: encoding, the network, other replicas and so retries; and processes of models' own (`isolation: process`).
"""

from graphmesh.worker.local.mesh import LocalMesh
from graphmesh.worker.local.sync import SyncLocalMesh
from graphmesh.worker.local.values import Outputs

__all__ = ["LocalMesh", "Outputs", "SyncLocalMesh"]
