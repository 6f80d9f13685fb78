"""The mesh's graphs, executed on this worker.

A graph is called like a model. Steps whose model is available here run in this process, tensors handed over as they
are; so do nested graphs all of whose steps do. The rest is called through the mesh. A run takes no model's instance
itself, so that graphs waiting for steps cannot block them. It sees one snapshot of the registry from start to end.

`catalog` compiles graphs, `choosing` finds out which versions of its models a graph works with, `versions` says where
each call goes, `hosted` answers requests, `host` makes the calls of a run.
"""

from graphmesh.worker.graphs.catalog import GraphCatalog
from graphmesh.worker.graphs.hosted import HostedGraph

__all__ = ["GraphCatalog", "HostedGraph"]
