"""Signatures: what a model or graph takes and gives, and whether tensors or other signatures fit.

A dimension is a number, a name (equal names in one signature have equal sizes) or None for any size.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from graphmesh.core.errors import InvalidRequest, SignatureMismatch
from graphmesh.core.names import check_tensor_name, close_names
from graphmesh.core.tensor import BYTES, DTYPES, Tensor, datatype_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

__all__ = ["Dimension", "Signature", "TensorSpec", "parse_dimension", "parse_type", "show_dimension"]

Dimension: TypeAlias = int | str | None
"""A fixed size, a name, or None for any size."""

_DIMENSION_SIZE = re.compile(r"[0-9]{1,18}")
_DIMENSION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def parse_dimension(text: str) -> Dimension:
    """Return the dimension that ``3``, ``N`` or ``?`` (also ``-1``) stands for, or raise InvalidRequest."""
    text = text.strip()
    if text in {"?", "-1"}:
        return None
    if _DIMENSION_SIZE.fullmatch(text):
        return int(text)
    if _DIMENSION_NAME.fullmatch(text):
        return text
    raise InvalidRequest(f"a dimension must be a number, a name or ?, got {text[:70]!r}")


def show_dimension(dimension: Dimension) -> str:
    """Return the text that `parse_dimension` reads."""
    return "?" if dimension is None else str(dimension)


_TYPE = re.compile(r"\s*([A-Za-z0-9]+)\s*(?:\(([^()]*)\))?\s*")
_NUMPY = {str(dtype): name for name, dtype in DTYPES.items() if name != BYTES}
_SPELLINGS = {**{name: name for name in DTYPES}, **_NUMPY, "TEXT": "TEXT", "str": "TEXT", "bytes": BYTES}


def parse_type(text: str) -> tuple[str, tuple[Dimension, ...], bool]:
    """Return datatype, shape and whether it is text, for ``FP32 (N, 3)``; numpy's spelling (``float32``) will do.

    TEXT is BYTES that is text. Without a shape it is a scalar.

    Raises:
        InvalidRequest: not of that form, or an unknown datatype (INVALID_ARGUMENT, retry: no).
    """
    match = _TYPE.fullmatch(text)
    datatype = (_SPELLINGS.get(match[1]) or _SPELLINGS.get(match[1].upper())) if match else None
    if match is None or datatype is None:
        raise InvalidRequest(
            f"a type must look like FP32 (N, 3), TEXT (N,) or INT64 (), of {', '.join(DTYPES)}; got {text[:140]!r}"
        )
    shape = tuple(parse_dimension(entry) for entry in (match[2] or "").split(",") if entry.strip())
    return (BYTES, shape, True) if datatype == "TEXT" else (datatype, shape, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One named tensor of a signature."""

    name: str
    """Unique among the signature's inputs or outputs."""
    datatype: str
    """A key of `tensor.DTYPES`."""
    shape: tuple[Dimension, ...] = ()
    """Outermost first; empty is a scalar."""
    text: bool = False
    """The elements of a BYTES tensor are UTF-8 text."""
    description: str = ""
    """For people."""

    def __post_init__(self) -> None:
        check_tensor_name(self.name)
        if self.datatype not in DTYPES:
            raise InvalidRequest(
                f"tensor {self.name!r}: datatype must be one of {', '.join(DTYPES)}, got {self.datatype!r}"
            )
        if self.text and self.datatype != BYTES:
            raise InvalidRequest(f"tensor {self.name!r}: only BYTES can be text, got {self.datatype}")

    def __str__(self) -> str:
        """Return ``name: FP32 (N, 3)``."""
        return f"{self.name}: {self.type}"

    @property
    def type(self) -> str:
        """Return ``FP32 (N, 3)``; text tensors say TEXT."""
        inner = ", ".join(map(show_dimension, self.shape))
        return f"{'TEXT' if self.text else self.datatype} ({inner}{',' if len(self.shape) == 1 else ''})"


@dataclass(frozen=True)
class Signature:
    """What a model or graph takes and gives."""

    inputs: tuple[TensorSpec, ...]
    """Every one of them is required."""
    outputs: tuple[TensorSpec, ...]
    """In the order answers carry them."""
    streaming: bool = False
    """Whether one request is answered by any number of messages, each of which carries all outputs."""

    def __post_init__(self) -> None:
        for kind, specs in (("input", self.inputs), ("output", self.outputs)):
            names = [spec.name for spec in specs]
            if len(set(names)) != len(names):
                raise InvalidRequest(f"{kind} names must be unique, got {names}")

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, lower-case hex, of the canonical form, which is all but the descriptions."""
        form: list[object] = [
            [[spec.name, spec.datatype, [show_dimension(d) for d in spec.shape], spec.text] for spec in specs]
            for specs in (self.inputs, self.outputs)
        ]
        if self.streaming:
            form.append("streaming")
        return hashlib.sha256(orjson.dumps(form)).hexdigest()

    @functools.cached_property
    def _inputs_by_name(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.inputs}

    @functools.cached_property
    def _outputs_by_name(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.outputs}

    @functools.cached_property
    def _input_rules(self) -> tuple[_Rule, ...]:
        return _rules(self.inputs)

    @functools.cached_property
    def _output_rules(self) -> tuple[_Rule, ...]:
        return _rules(self.outputs)

    def input(self, name: str) -> TensorSpec:
        """Return an input by name, or raise SignatureMismatch with close names."""
        return _named("input", name, self._inputs_by_name)

    def output(self, name: str) -> TensorSpec:
        """Return an output by name, or raise SignatureMismatch with close names."""
        return _named("output", name, self._outputs_by_name)

    def check_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Check a request's tensors.

        Raises:
            SignatureMismatch: a missing or unknown name, another datatype, or a shape that does not fit; names the
                tensor, what was expected and what came (INVALID_ARGUMENT, retry: no).
        """
        if not _fits(tensors, self._input_rules):
            _check("input", tensors, self._inputs_by_name)

    def check_outputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Check what a model gave, as `check_inputs` does for what it takes."""
        if not _fits(tensors, self._output_rules):
            _check("output", tensors, self._outputs_by_name)


class _Rule(NamedTuple):
    """What a tensor must be, in the form that is quickest to check; every request passes here several times."""

    name: str
    dtype: np.dtype[Any]
    rank: int
    fixed: tuple[tuple[int, int], ...]
    """Axes with a number, and the number."""
    named: tuple[tuple[int, str], ...]
    """Axes with a name that occurs more than once, and the name."""


def _rules(specs: tuple[TensorSpec, ...]) -> tuple[_Rule, ...]:
    names = [dimension for spec in specs for dimension in spec.shape if isinstance(dimension, str)]
    return tuple(
        _Rule(
            spec.name,
            DTYPES[spec.datatype],
            len(spec.shape),
            tuple((axis, size) for axis, size in enumerate(spec.shape) if isinstance(size, int)),
            tuple((axis, n) for axis, n in enumerate(spec.shape) if isinstance(n, str) and names.count(n) > 1),
        )
        for spec in specs
    )


def _fits(tensors: Mapping[str, Tensor], rules: tuple[_Rule, ...]) -> bool:
    """Return whether tensors certainly fit; if not, `_check` finds out what is wrong, if anything is."""
    if len(tensors) != len(rules):
        return False
    sizes: dict[str, int] = {}
    for name, dtype, rank, fixed, named in rules:
        array = tensors.get(name)
        if array is None or array.dtype is not dtype or array.ndim != rank:
            return False
        for axis, size in fixed:
            if array.shape[axis] != size:
                return False
        for axis, dimension in named:
            if sizes.setdefault(dimension, array.shape[axis]) != array.shape[axis]:
                return False
    return True


def _named(kind: str, name: str, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    spec = specs.get(name)
    if spec is None:
        near = close_names(name, specs)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SignatureMismatch(f"no {kind} is named {name[:140]!r}, there are {list(specs)}{hint}")
    return spec


def _check(kind: str, tensors: Mapping[str, Tensor], specs: Mapping[str, TensorSpec]) -> None:
    if tensors.keys() != specs.keys():
        for name in tensors:
            _named(kind, name, specs)
        missing = [name for name in specs if name not in tensors]
        raise SignatureMismatch(f"{kind} {missing[0]!r} is missing; required are {', '.join(specs)}")
    sizes: dict[str, tuple[int, str]] = {}
    for name, array in tensors.items():
        spec = specs[name]
        datatype = datatype_of(array)
        if datatype != spec.datatype:
            raise SignatureMismatch(f"{kind} {name!r} must be {spec.type}, got datatype {datatype}")
        _check_shape(kind, spec, array.shape, sizes)


def _check_shape(kind: str, spec: TensorSpec, shape: Sequence[int], sizes: dict[str, tuple[int, str]]) -> None:
    if len(shape) != len(spec.shape):
        raise SignatureMismatch(f"{kind} {spec.name!r} must be {spec.type}, got {len(shape)} dimensions: {list(shape)}")
    for axis, (size, dimension) in enumerate(zip(shape, spec.shape, strict=True)):
        if dimension is None:
            continue
        if isinstance(dimension, int):
            if size != dimension:
                raise SignatureMismatch(f"{kind} {spec.name!r} must be {spec.type}, got {size} at axis {axis}")
            continue
        known, owner = sizes.setdefault(dimension, (size, spec.name))
        if known != size:
            raise SignatureMismatch(
                f"{kind} {spec.name!r}: {dimension} is {size} here but {known} in {owner!r}; they must be equal"
            )
