"""Models that a real MLServer hosts, in an environment of its own, for us to call."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class AddOne(MLModel):  # type: ignore[misc]  # not in this environment
    """Numbers to numbers."""

    async def load(self) -> bool:
        """Have nothing to load."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return ``x + 1``; refuse negative numbers, as MLServer refuses: with the type's own status."""
        x = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        if (x < 0).any():
            raise ValueError("x must not be negative")
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", x + 1)])


class Upper(MLModel):  # type: ignore[misc]  # not in this environment
    """Text to text."""

    async def load(self) -> bool:
        """Have nothing to load."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the texts in capitals."""
        lines = self.decode(payload.inputs[0], default_codec=StringCodec)
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("upper", [line.upper() for line in lines])]
        )
