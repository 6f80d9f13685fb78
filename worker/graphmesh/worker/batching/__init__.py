"""Calls gathered into batches, and the bounded queue in front of every model that runs one batch at a time.

Axis 0 of every input and output is the batch: a call brings one row or more, a batch is the calls' rows one below the
other, and each call gets its own rows back. An instance that is idle takes a call at once; while all are busy, calls
gather. A model that is not batched has the same queue; its batches are single calls.

    call, queue, waiting, costs, assemble    what is decided: no I/O, no clock
    driver, threads, tasks                   callers, instances, time
"""

from graphmesh.worker.batching.settings import Batching

__all__ = ["Batching"]
