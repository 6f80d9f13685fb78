class Shout:
    """Says it louder."""

    def predict(self, text: str) -> str:
        return text.upper() + "!"
