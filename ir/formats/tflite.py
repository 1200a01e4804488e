"""What of TFLite's schema is read: the numbers of operators and element types, and the fields of their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

MARK = b"TFL3"

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN
EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2
GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG
SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT
UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE
MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND
SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D
IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE
READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
"""

OPERATORS = tuple(_NAMES.split())
"""The names of the built-in operators by their numbers; those from 162 on are StableHLO's."""

CUSTOM = OPERATORS.index("CUSTOM")

ELEMENTS = {
    0: "<f4",
    1: "<f2",
    2: "<i4",
    3: "u1",
    4: "<i8",
    6: "?",
    7: "<i2",
    9: "i1",
    10: "<f8",
    12: "<u8",
    15: "<u4",
    16: "<u2",
    17: "i4",
}
"""The element types by their numbers; four-bit integers are "i4", two in a byte."""

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")

_CONV = "padding:i8 stride_w:i32 stride_h:i32"
_DILATION = "dilation_w:i32=1 dilation_h:i32=1"
_POOL = f"{_CONV} window_w:i32 window_h:i32 fused:i8"
_AXES = "keep:bool"

_OPTIONS = {
    "ADD": "fused:i8",
    "AVERAGE_POOL_2D": _POOL,
    "BATCH_MATMUL": "adjoint_x:bool adjoint_y:bool",
    "CONCATENATION": "axis:i32 fused:i8",
    "CONV_2D": f"{_CONV} fused:i8 {_DILATION}",
    "CUMSUM": "exclusive:bool reverse:bool",
    "DEPTHWISE_CONV_2D": f"{_CONV} multiplier:i32 fused:i8 {_DILATION}",
    "DEPTH_TO_SPACE": "block:i32",
    "DIV": "fused:i8",
    "FULLY_CONNECTED": "fused:i8 format:i8 keep:bool",
    "GATHER": "axis:i32 batch:i32",
    "GELU": "approximate:bool",
    "L2_NORMALIZATION": "fused:i8",
    "L2_POOL_2D": _POOL,
    "LEAKY_RELU": "alpha:f32",
    "LOCAL_RESPONSE_NORMALIZATION": "radius:i32 bias:f32 alpha:f32 beta:f32",
    "MAX_POOL_2D": _POOL,
    "MEAN": _AXES,
    "MIRROR_PAD": "mode:i8",
    "MUL": "fused:i8",
    "ONE_HOT": "axis:i32",
    "PACK": "count:i32 axis:i32",
    "REDUCE_ALL": _AXES,
    "REDUCE_ANY": _AXES,
    "REDUCE_MAX": _AXES,
    "REDUCE_MIN": _AXES,
    "REDUCE_PROD": _AXES,
    "RESHAPE": "shape:i32s",
    "RESIZE_BILINEAR": "old_height:i32 old_width:i32 align:bool half:bool",
    "RESIZE_NEAREST_NEIGHBOR": "align:bool half:bool",
    "SOFTMAX": "beta:f32",
    "SPACE_TO_DEPTH": "block:i32",
    "SQUEEZE": "axes:i32s",
    "STRIDED_SLICE": "begin:i32 end:i32 ellipsis:i32 new:i32 shrink:i32 offset:bool",
    "SUB": "fused:i8",
    "SUM": _AXES,
    "TRANSPOSE_CONV": f"{_CONV} fused:i8",
    "UNPACK": "count:i32 axis:i32",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table: its slot, its type ("i32s" is a vector of i32), and what it is where the file lacks it."""

    slot: int
    type: str
    default: int = 0


@cache
def options_of(operator: str) -> Mapping[str, Field]:
    """The fields of an operator's options by our names for them."""
    found = {}
    for slot, entry in enumerate(_OPTIONS.get(operator, "").split()):
        name, _, rest = entry.partition(":")
        type_, _, default = rest.partition("=")
        found[name] = Field(slot, type_, int(default or 0))
    return found
