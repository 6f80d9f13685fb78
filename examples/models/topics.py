import zlib
from typing import Annotated, TypedDict

import numpy as np

from graphmesh.worker import batched, model

Rows = Annotated[np.ndarray, "FP32 (N)"]


class Topic(TypedDict):
    topic: Annotated[np.ndarray, "TEXT (N)"]
    score: Rows


@model(version="2", instances=1)
class Topics:
    """Which topic a text is about, by the words that it has in common with each."""

    def __init__(self, topics: dict[str, str], buckets: int = 4096) -> None:
        self.topics = topics
        self.buckets = buckets

    def load(self) -> None:
        self.names = np.array(list(self.topics), dtype=object)
        self.weights = np.stack([self.features(words) for words in self.topics.values()], axis=1)

    def warmup(self) -> None:
        self.predict(np.array(["hello"], dtype=object))

    @batched(max_batch_size=64)
    def predict(self, text: Annotated[np.ndarray, "TEXT (N)"]) -> Topic:
        scores = np.stack([self.features(line) for line in text]) @ self.weights
        best = scores.argmax(axis=1)
        return {"topic": self.names[best], "score": scores.max(axis=1)}

    def unload(self) -> None:
        del self.weights

    def features(self, text: str) -> np.ndarray:
        found = np.zeros(self.buckets, dtype=np.float32)
        for word in text.lower().split():
            found[zlib.crc32(word.encode()) % self.buckets] += 1
        return found
