"""Operations as frozen values: what the author of a transform step wrote, nothing checked.

Their fields are those of the messages of `graphmesh.v1.Operation`, where each is explained with its source; `wire` and
`yaml_form` rely on the names and defaults being the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "KINDS",
    "Argmax",
    "Cast",
    "Compare",
    "Concat",
    "Copy",
    "Format",
    "Gather",
    "JoinText",
    "JsonRead",
    "JsonWrite",
    "Length",
    "Lower",
    "Normalize",
    "Operation",
    "Pad",
    "Replace",
    "Reshape",
    "Slice",
    "Softmax",
    "Squeeze",
    "Stack",
    "Strip",
    "TopK",
    "Transpose",
    "Truncate",
    "Unsqueeze",
    "Upper",
    "What",
]


@dataclass(frozen=True, slots=True)
class Copy:
    """The same tensor under another name."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Each element in another datatype."""

    datatype: str = ""
    """A datatype's name, or ``TEXT``."""


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in another shape."""

    shape: tuple[int, ...] = ()
    """Sizes; -1 stands for what is left, 0 keeps the size of the same axis."""


@dataclass(frozen=True, slots=True)
class Squeeze:
    """Axes of size 1 taken away."""

    axes: tuple[int, ...] = ()
    """Which."""


@dataclass(frozen=True, slots=True)
class Unsqueeze:
    """Axes of size 1 put in."""

    axes: tuple[int, ...] = ()
    """Where they are in the result."""


@dataclass(frozen=True, slots=True)
class Transpose:
    """Axes in another order."""

    axes: tuple[int, ...] = ()
    """For each axis of the result the one it comes from; empty reverses all."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a tensor."""

    index: str = ""
    """What numpy takes between brackets: ``:, 0:3``."""


@dataclass(frozen=True, slots=True)
class Gather:
    """The elements at some places of an axis."""

    axis: int = 0
    """Which axis."""
    indices: tuple[int, ...] = ()
    """The places; empty: the second input holds them."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Tensors one after the other."""

    axis: int = 0
    """Which axis."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Tensors of one shape along a new axis."""

    axis: int = 0
    """Where it is in the result."""


@dataclass(frozen=True, slots=True)
class Pad:
    """Elements put around a tensor."""

    before: tuple[int, ...] = ()
    """How many before the first of each axis; empty: none."""
    after: tuple[int, ...] = ()
    """How many after the last of each axis; empty: none."""
    value: float = 0.0
    """What is put there."""


@dataclass(frozen=True, slots=True)
class Normalize:
    """Numbers scaled to what a model was trained with: (x * scale - mean) / std."""

    axis: int = -1
    """The axis of the channels."""
    scale: float = 1.0
    """What everything is multiplied with."""
    mean: tuple[float, ...] = ()
    """One number, or one for each channel; empty means 0."""
    std: tuple[float, ...] = ()
    """Likewise; empty means 1."""


@dataclass(frozen=True, slots=True)
class Softmax:
    """Scores as probabilities."""

    axis: int = -1
    """Along which they add up to 1."""


@dataclass(frozen=True, slots=True)
class Argmax:
    """Where the largest element is."""

    axis: int = -1
    """Along which axis."""
    keepdims: bool = False
    """Keep the axis, with size 1."""


@dataclass(frozen=True, slots=True)
class TopK:
    """The largest elements and where they are."""

    k: int = 0
    """How many."""
    axis: int = -1
    """Along which axis."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Elements compared: with a second input, or with one of `value` and `text`."""

    operator: str = ""
    """As numpy names it: ``less_equal``."""
    value: float | None = None
    """For numbers."""
    text: str | None = None
    """For text."""


@dataclass(frozen=True, slots=True)
class Lower:
    """Text in lower case."""


@dataclass(frozen=True, slots=True)
class Upper:
    """Text in upper case."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Text without what is around it."""

    characters: str = ""
    """What is taken away; empty means white space."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Text with each occurrence of a part replaced."""

    old: str = ""
    """What is looked for."""
    new: str = ""
    """What takes its place."""


@dataclass(frozen=True, slots=True)
class Length:
    """How many characters a text has."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """The first characters of a text."""

    length: int = 0
    """At most how many."""


@dataclass(frozen=True, slots=True)
class JoinText:
    """Several texts as one, element by element."""

    separator: str = ""
    """What is put between them."""


@dataclass(frozen=True, slots=True)
class Format:
    """A text made of others, element by element."""

    template: str = ""
    """``{name}`` stands for an input's text, ``{{`` and ``}}`` for braces."""


@dataclass(frozen=True, slots=True)
class JsonRead:
    """A value out of JSON text, for each element."""

    pointer: str = ""
    """A JSON pointer (RFC 6901)."""
    type: str = ""
    """What is there: ``INT64``, ``FP32 (3)``, ``TEXT (?)``."""
    default: str | None = None
    """JSON that is taken if nothing or ``null`` is there; None makes that an error."""


@dataclass(frozen=True, slots=True)
class JsonWrite:
    """Tensors as one JSON object."""

    names: tuple[str, ...] = ()
    """Members' names; empty means the inputs' names."""


What: TypeAlias = (
    Copy
    | Cast
    | Reshape
    | Squeeze
    | Unsqueeze
    | Transpose
    | Slice
    | Gather
    | Concat
    | Stack
    | Pad
    | Normalize
    | Softmax
    | Argmax
    | TopK
    | Compare
    | Lower
    | Upper
    | Strip
    | Replace
    | Length
    | Truncate
    | JoinText
    | Format
    | JsonRead
    | JsonWrite
)
"""What an operation does."""

KINDS: dict[str, type[What]] = {
    "copy": Copy,
    "cast": Cast,
    "reshape": Reshape,
    "squeeze": Squeeze,
    "unsqueeze": Unsqueeze,
    "transpose": Transpose,
    "slice": Slice,
    "gather": Gather,
    "concat": Concat,
    "stack": Stack,
    "pad": Pad,
    "normalize": Normalize,
    "softmax": Softmax,
    "argmax": Argmax,
    "top_k": TopK,
    "compare": Compare,
    "lower": Lower,
    "upper": Upper,
    "strip": Strip,
    "replace": Replace,
    "length": Length,
    "truncate": Truncate,
    "join": JoinText,
    "format": Format,
    "json_read": JsonRead,
    "json_write": JsonWrite,
}
"""Operations by the names they are written with."""

_NAMES = {what: name for name, what in KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a transform step."""

    what: What
    """What it does."""
    inputs: tuple[str, ...]
    """Tensors that it reads, in its own order."""
    outputs: tuple[str, ...]
    """Names for what it gives."""

    @property
    def kind(self) -> str:
        """The operation's name as it is written, ``top_k``."""
        return _NAMES[type(self.what)]
