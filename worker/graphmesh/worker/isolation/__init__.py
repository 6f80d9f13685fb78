"""Models in processes of their own: a crash, a leak or a hang of one leaves the worker and its other models alone.

    worker                                        the model's process
    IsolatedModel    strikes, restarts
    ModelProcess     LoadedModel, starts it       child     loads the model
    Lane             one call at a time   <-->    ServedLane, Host

Small tensors travel inside the messages, large ones through memory that both processes map (`arena`).
"""

from graphmesh.worker.isolation.model import IsolatedModel
from graphmesh.worker.isolation.process import resolve_apart

__all__ = ["IsolatedModel", "resolve_apart"]
