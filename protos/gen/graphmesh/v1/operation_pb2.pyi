from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Operation(_message.Message):
    __slots__ = ("inputs", "outputs", "copy", "cast", "reshape", "squeeze", "unsqueeze", "transpose", "slice", "gather", "concat", "stack", "pad", "normalize", "softmax", "argmax", "top_k", "compare", "lower", "upper", "strip", "replace", "length", "truncate", "join", "format", "json_read", "json_write")
    class Copy(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Cast(_message.Message):
        __slots__ = ("datatype",)
        DATATYPE_FIELD_NUMBER: _ClassVar[int]
        datatype: str
        def __init__(self, datatype: _Optional[str] = ...) -> None: ...
    class Reshape(_message.Message):
        __slots__ = ("shape",)
        SHAPE_FIELD_NUMBER: _ClassVar[int]
        shape: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, shape: _Optional[_Iterable[int]] = ...) -> None: ...
    class Squeeze(_message.Message):
        __slots__ = ("axes",)
        AXES_FIELD_NUMBER: _ClassVar[int]
        axes: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, axes: _Optional[_Iterable[int]] = ...) -> None: ...
    class Unsqueeze(_message.Message):
        __slots__ = ("axes",)
        AXES_FIELD_NUMBER: _ClassVar[int]
        axes: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, axes: _Optional[_Iterable[int]] = ...) -> None: ...
    class Transpose(_message.Message):
        __slots__ = ("axes",)
        AXES_FIELD_NUMBER: _ClassVar[int]
        axes: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, axes: _Optional[_Iterable[int]] = ...) -> None: ...
    class Slice(_message.Message):
        __slots__ = ("index",)
        INDEX_FIELD_NUMBER: _ClassVar[int]
        index: str
        def __init__(self, index: _Optional[str] = ...) -> None: ...
    class Gather(_message.Message):
        __slots__ = ("axis", "indices")
        AXIS_FIELD_NUMBER: _ClassVar[int]
        INDICES_FIELD_NUMBER: _ClassVar[int]
        axis: int
        indices: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, axis: _Optional[int] = ..., indices: _Optional[_Iterable[int]] = ...) -> None: ...
    class Concat(_message.Message):
        __slots__ = ("axis",)
        AXIS_FIELD_NUMBER: _ClassVar[int]
        axis: int
        def __init__(self, axis: _Optional[int] = ...) -> None: ...
    class Stack(_message.Message):
        __slots__ = ("axis",)
        AXIS_FIELD_NUMBER: _ClassVar[int]
        axis: int
        def __init__(self, axis: _Optional[int] = ...) -> None: ...
    class Pad(_message.Message):
        __slots__ = ("before", "after", "value")
        BEFORE_FIELD_NUMBER: _ClassVar[int]
        AFTER_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        before: _containers.RepeatedScalarFieldContainer[int]
        after: _containers.RepeatedScalarFieldContainer[int]
        value: float
        def __init__(self, before: _Optional[_Iterable[int]] = ..., after: _Optional[_Iterable[int]] = ..., value: _Optional[float] = ...) -> None: ...
    class Normalize(_message.Message):
        __slots__ = ("axis", "scale", "mean", "std")
        AXIS_FIELD_NUMBER: _ClassVar[int]
        SCALE_FIELD_NUMBER: _ClassVar[int]
        MEAN_FIELD_NUMBER: _ClassVar[int]
        STD_FIELD_NUMBER: _ClassVar[int]
        axis: int
        scale: float
        mean: _containers.RepeatedScalarFieldContainer[float]
        std: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, axis: _Optional[int] = ..., scale: _Optional[float] = ..., mean: _Optional[_Iterable[float]] = ..., std: _Optional[_Iterable[float]] = ...) -> None: ...
    class Softmax(_message.Message):
        __slots__ = ("axis",)
        AXIS_FIELD_NUMBER: _ClassVar[int]
        axis: int
        def __init__(self, axis: _Optional[int] = ...) -> None: ...
    class Argmax(_message.Message):
        __slots__ = ("axis", "keepdims")
        AXIS_FIELD_NUMBER: _ClassVar[int]
        KEEPDIMS_FIELD_NUMBER: _ClassVar[int]
        axis: int
        keepdims: bool
        def __init__(self, axis: _Optional[int] = ..., keepdims: _Optional[bool] = ...) -> None: ...
    class TopK(_message.Message):
        __slots__ = ("k", "axis")
        K_FIELD_NUMBER: _ClassVar[int]
        AXIS_FIELD_NUMBER: _ClassVar[int]
        k: int
        axis: int
        def __init__(self, k: _Optional[int] = ..., axis: _Optional[int] = ...) -> None: ...
    class Compare(_message.Message):
        __slots__ = ("operator", "value", "text")
        OPERATOR_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        operator: str
        value: float
        text: str
        def __init__(self, operator: _Optional[str] = ..., value: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...
    class Lower(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Upper(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Strip(_message.Message):
        __slots__ = ("characters",)
        CHARACTERS_FIELD_NUMBER: _ClassVar[int]
        characters: str
        def __init__(self, characters: _Optional[str] = ...) -> None: ...
    class Replace(_message.Message):
        __slots__ = ("old", "new")
        OLD_FIELD_NUMBER: _ClassVar[int]
        NEW_FIELD_NUMBER: _ClassVar[int]
        old: str
        new: str
        def __init__(self, old: _Optional[str] = ..., new: _Optional[str] = ...) -> None: ...
    class Length(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Truncate(_message.Message):
        __slots__ = ("length",)
        LENGTH_FIELD_NUMBER: _ClassVar[int]
        length: int
        def __init__(self, length: _Optional[int] = ...) -> None: ...
    class JoinText(_message.Message):
        __slots__ = ("separator",)
        SEPARATOR_FIELD_NUMBER: _ClassVar[int]
        separator: str
        def __init__(self, separator: _Optional[str] = ...) -> None: ...
    class Format(_message.Message):
        __slots__ = ("template",)
        TEMPLATE_FIELD_NUMBER: _ClassVar[int]
        template: str
        def __init__(self, template: _Optional[str] = ...) -> None: ...
    class JsonRead(_message.Message):
        __slots__ = ("pointer", "type", "default")
        POINTER_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        DEFAULT_FIELD_NUMBER: _ClassVar[int]
        pointer: str
        type: str
        default: str
        def __init__(self, pointer: _Optional[str] = ..., type: _Optional[str] = ..., default: _Optional[str] = ...) -> None: ...
    class JsonWrite(_message.Message):
        __slots__ = ("names",)
        NAMES_FIELD_NUMBER: _ClassVar[int]
        names: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    CAST_FIELD_NUMBER: _ClassVar[int]
    RESHAPE_FIELD_NUMBER: _ClassVar[int]
    SQUEEZE_FIELD_NUMBER: _ClassVar[int]
    UNSQUEEZE_FIELD_NUMBER: _ClassVar[int]
    TRANSPOSE_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    GATHER_FIELD_NUMBER: _ClassVar[int]
    CONCAT_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    PAD_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    SOFTMAX_FIELD_NUMBER: _ClassVar[int]
    ARGMAX_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    STRIP_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    JSON_READ_FIELD_NUMBER: _ClassVar[int]
    JSON_WRITE_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedScalarFieldContainer[str]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    copy: Operation.Copy
    cast: Operation.Cast
    reshape: Operation.Reshape
    squeeze: Operation.Squeeze
    unsqueeze: Operation.Unsqueeze
    transpose: Operation.Transpose
    slice: Operation.Slice
    gather: Operation.Gather
    concat: Operation.Concat
    stack: Operation.Stack
    pad: Operation.Pad
    normalize: Operation.Normalize
    softmax: Operation.Softmax
    argmax: Operation.Argmax
    top_k: Operation.TopK
    compare: Operation.Compare
    lower: Operation.Lower
    upper: Operation.Upper
    strip: Operation.Strip
    replace: Operation.Replace
    length: Operation.Length
    truncate: Operation.Truncate
    join: Operation.JoinText
    format: Operation.Format
    json_read: Operation.JsonRead
    json_write: Operation.JsonWrite
    def __init__(self, inputs: _Optional[_Iterable[str]] = ..., outputs: _Optional[_Iterable[str]] = ..., copy: _Optional[_Union[Operation.Copy, _Mapping]] = ..., cast: _Optional[_Union[Operation.Cast, _Mapping]] = ..., reshape: _Optional[_Union[Operation.Reshape, _Mapping]] = ..., squeeze: _Optional[_Union[Operation.Squeeze, _Mapping]] = ..., unsqueeze: _Optional[_Union[Operation.Unsqueeze, _Mapping]] = ..., transpose: _Optional[_Union[Operation.Transpose, _Mapping]] = ..., slice: _Optional[_Union[Operation.Slice, _Mapping]] = ..., gather: _Optional[_Union[Operation.Gather, _Mapping]] = ..., concat: _Optional[_Union[Operation.Concat, _Mapping]] = ..., stack: _Optional[_Union[Operation.Stack, _Mapping]] = ..., pad: _Optional[_Union[Operation.Pad, _Mapping]] = ..., normalize: _Optional[_Union[Operation.Normalize, _Mapping]] = ..., softmax: _Optional[_Union[Operation.Softmax, _Mapping]] = ..., argmax: _Optional[_Union[Operation.Argmax, _Mapping]] = ..., top_k: _Optional[_Union[Operation.TopK, _Mapping]] = ..., compare: _Optional[_Union[Operation.Compare, _Mapping]] = ..., lower: _Optional[_Union[Operation.Lower, _Mapping]] = ..., upper: _Optional[_Union[Operation.Upper, _Mapping]] = ..., strip: _Optional[_Union[Operation.Strip, _Mapping]] = ..., replace: _Optional[_Union[Operation.Replace, _Mapping]] = ..., length: _Optional[_Union[Operation.Length, _Mapping]] = ..., truncate: _Optional[_Union[Operation.Truncate, _Mapping]] = ..., join: _Optional[_Union[Operation.JoinText, _Mapping]] = ..., format: _Optional[_Union[Operation.Format, _Mapping]] = ..., json_read: _Optional[_Union[Operation.JsonRead, _Mapping]] = ..., json_write: _Optional[_Union[Operation.JsonWrite, _Mapping]] = ...) -> None: ...
