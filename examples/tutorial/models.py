import re
from typing import TypedDict


class Feeling(TypedDict):
    label: list[str]
    score: list[float]


class Clean:
    """Lower case, letters and blanks only."""

    def predict(self, text: list[str]) -> list[str]:
        return [re.sub(r"[^a-z ]", "", line.lower()) for line in text]


class Mood:
    """Good words against bad ones."""

    def __init__(self, good: list[str], bad: list[str]) -> None:
        self.weights = dict.fromkeys(good, 1.0) | dict.fromkeys(bad, -1.0)

    def predict(self, words: list[str]) -> Feeling:
        scores = [sum(self.weights.get(word, 0.0) for word in line.split()) for line in words]
        return {"label": ["good" if score > 0 else "bad" for score in scores], "score": scores}
