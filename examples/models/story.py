import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from graphmesh.core.errors import InvalidRequest
from graphmesh.worker import Context


class Story:
    """Goes on with a text, word by word, the way the text it learned from goes on."""

    def __init__(self, learn: str) -> None:
        self.after: defaultdict[str, list[str]] = defaultdict(list)
        for word, following in pairwise(learn.split()):
            self.after[word].append(following)

    def predict(self, prompt: str, words: int, context: Context) -> Iterator[str]:
        if not 0 < words <= 1000:
            raise InvalidRequest(f"words must be from 1 to 1000, got {words}")
        context.set_header("x-story-seed", str(context.parameters.get("seed", 0)))
        choose = random.Random(context.parameters.get("seed", 0))
        word = prompt.rpartition(" ")[2]
        for _ in range(words):
            context.check()
            word = choose.choice(self.after.get(word) or list(self.after))
            yield word
