"""What expressions see of one call: tensors, parameters and headers, converted for CEL.

`inputs` and `outputs` are tensors by name, of which only those are converted that the expression selects: one element
is a bool, number, string, or bytes if it is no UTF-8 or has a NUL, and more are lists of lists. A tensor with more than
1,024 elements or 64 KiB of text is left out, but its shape is in `shapes` (that of the output, where an input has its
name too). `params` and `headers` are those of the request, up to 8 KiB each; `iteration` counts a loop's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.tensor import BYTES, DTYPES, is_float

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphmesh.core.inference import Parameter
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.conditions.cost import Limits, Reading
    from graphmesh.graph.conditions.expressions import Expression

__all__ = ["Scope"]


@dataclass(slots=True, kw_only=True)
class Scope:
    """What expressions see of one call; conversions are kept, so that several share them."""

    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """The step's inputs."""
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    """A branch's answer."""
    iteration: int = 0
    """How many times a loop's body has run."""
    params: Mapping[str, Parameter] = field(default_factory=dict)
    """The request's parameters."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The request's headers, lower-case names."""
    _values: dict[tuple[str, str], object] = field(default_factory=dict, init=False, repr=False)

    def values(self, expression: Expression) -> dict[str, object]:
        """Return the variables that an expression reads, each with the members that it may read."""
        return {
            variable: self.iteration if variable == "iteration" else self._members(variable, asked, expression.limits)
            for variable, asked in expression.reading.items()
        }

    def _members(self, variable: str, asked: Reading, limits: Limits) -> dict[str, object]:
        there: Iterable[str] = self.inputs.keys() | self.outputs if variable == "shapes" else getattr(self, variable)
        names = filter(_whole, there) if asked.whole else asked.members.intersection(there)
        return {name: self._value(variable, name) for name in names if not self.too_large(variable, name, limits)}

    def _value(self, variable: str, name: str) -> object:
        if (variable, name) not in self._values:
            self._values[variable, name] = self._convert(variable, name)
        return self._values[variable, name]

    def _convert(self, variable: str, name: str) -> object:
        if variable == "shapes":
            return list((self.outputs[name] if name in self.outputs else self.inputs[name]).shape)
        value = getattr(self, variable)[name]
        if isinstance(value, np.ndarray):
            return _plain(value)
        return _text(value.encode(errors="surrogatepass")) if isinstance(value, str) else value

    def too_large(self, variable: str, name: str, limits: Limits) -> bool:
        """Return whether there is such a member, but larger than an expression sees."""
        value = None if variable in {"iteration", "shapes"} else getattr(self, variable).get(name)
        if isinstance(value, str):
            return len(value) > limits.parameter or len(value.encode(errors="surrogatepass")) > limits.parameter
        if not isinstance(value, np.ndarray):
            return False
        if value.size > limits.elements:
            return True
        return value.dtype == DTYPES[BYTES] and sum(map(len, value.flat)) > limits.text


def _plain(tensor: Tensor) -> object:
    """Return a tensor as CEL sees it."""
    if tensor.dtype == DTYPES[BYTES]:
        texts = np.empty(tensor.size, dtype=object)
        texts[:] = [_text(element) for element in tensor.flat]
        tensor = texts.reshape(tensor.shape)
    elif is_float(tensor.dtype):
        tensor = tensor.astype(np.float64)
    return tensor.item() if tensor.size == 1 else tensor.tolist()


def _text(element: bytes) -> str | bytearray:
    """Return UTF-8 as text and all else as bytes; so is text with a NUL, as the library would end it there."""
    try:
        text = element.decode()
    except UnicodeDecodeError:
        return bytearray(element)  # which the library takes whole, other than `bytes`
    return bytearray(element) if "\0" in text else text


def _whole(name: str) -> bool:
    """Return whether the library takes a name as it is."""
    return name.isprintable()
