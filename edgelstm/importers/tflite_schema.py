"""What the tables of a .tflite file hold, as TensorFlow's schema 3 numbers their fields, and the operators' numbers."""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """A field of a table. kind: a NumPy number ("i4"), "text", "bytes", "there" (only whether it is), a table's name,
    and any number or table in brackets for a vector of such."""

    name: str
    kind: str
    default: int | float = 0


Table = dict[int, Field]

_ACTIVATION = Field("activation", "i1")

TABLES: dict[str, Table] = {
    "Model": {
        0: Field("version", "u4"),
        1: Field("codes", "[OperatorCode]"),
        2: Field("subgraphs", "[SubGraph]"),
        3: Field("description", "text"),
        4: Field("buffers", "[Buffer]"),
        5: Field("metadata_buffer", "[i4]"),
        6: Field("metadata", "there"),
        7: Field("signatures", "[SignatureDef]"),
        8: Field("external_groups", "there"),
        9: Field("external_buffers", "there"),
    },
    "OperatorCode": {
        0: Field("old_code", "i1"),
        1: Field("custom", "text"),
        2: Field("version", "i4", 1),
        3: Field("code", "i4"),
    },
    "SubGraph": {
        0: Field("tensors", "[Tensor]"),
        1: Field("inputs", "[i4]"),
        2: Field("outputs", "[i4]"),
        3: Field("operators", "[Operator]"),
        4: Field("name", "text"),
        5: Field("debug", "i4", -1),
    },
    "Tensor": {
        0: Field("shape", "[i4]"),
        1: Field("type", "i1"),
        2: Field("buffer", "u4"),
        3: Field("name", "text"),
        4: Field("quantization", "QuantizationParameters"),
        5: Field("variable", "u1"),
        6: Field("sparsity", "there"),
        7: Field("signature", "[i4]"),
        8: Field("has_rank", "u1"),
        9: Field("variants", "there"),
        10: Field("external_buffer", "u4"),
    },
    "QuantizationParameters": {
        0: Field("min", "[f4]"),
        1: Field("max", "[f4]"),
        2: Field("scale", "[f4]"),
        3: Field("zero", "[i8]"),
        4: Field("details_type", "u1"),
        5: Field("details", "there"),
        6: Field("axis", "i4"),
    },
    "Operator": {
        0: Field("code", "u4"),
        1: Field("inputs", "[i4]"),
        2: Field("outputs", "[i4]"),
        3: Field("options_type", "u1"),
        4: Field("options", "there"),
        5: Field("custom", "there"),
        6: Field("custom_format", "i1"),
        7: Field("mutated", "[u1]"),
        8: Field("intermediates", "[i4]"),
        9: Field("large_offset", "u8"),
        10: Field("large_size", "u8"),
        11: Field("options2_type", "u1"),
        12: Field("options2", "there"),
        13: Field("debug", "i4", -1),
    },
    "Buffer": {0: Field("data", "bytes"), 1: Field("offset", "u8"), 2: Field("size", "u8")},
    "SignatureDef": {
        0: Field("inputs", "[TensorMap]"),
        1: Field("outputs", "[TensorMap]"),
        2: Field("key", "text"),
        4: Field("subgraph", "u4"),
    },
    "TensorMap": {0: Field("name", "text"), 1: Field("tensor", "u4")},
    # ---- options ----
    "Conv2DOptions": {
        0: Field("padding", "i1"),
        1: Field("stride_w", "i4"),
        2: Field("stride_h", "i4"),
        3: _ACTIVATION,
        4: Field("dilation_w", "i4", 1),
        5: Field("dilation_h", "i4", 1),
        6: Field("bias_type", "i1"),
    },
    "DepthwiseConv2DOptions": {
        0: Field("padding", "i1"),
        1: Field("stride_w", "i4"),
        2: Field("stride_h", "i4"),
        3: Field("multiplier", "i4"),
        4: _ACTIVATION,
        5: Field("dilation_w", "i4", 1),
        6: Field("dilation_h", "i4", 1),
    },
    "Pool2DOptions": {
        0: Field("padding", "i1"),
        1: Field("stride_w", "i4"),
        2: Field("stride_h", "i4"),
        3: Field("width", "i4"),
        4: Field("height", "i4"),
        5: _ACTIVATION,
    },
    "FullyConnectedOptions": {
        0: _ACTIVATION,
        1: Field("weights_format", "i1"),
        2: Field("keep_dims", "u1"),
        3: Field("asymmetric", "u1"),
        4: Field("bias_type", "i1"),
        5: Field("quant_spec", "[u1]"),
    },
    "SoftmaxOptions": {0: Field("beta", "f4")},
    "ConcatenationOptions": {0: Field("axis", "i4"), 1: _ACTIVATION},
    "AddOptions": {0: _ACTIVATION, 1: Field("pot_scale", "u1", 1)},
    "SubOptions": {0: _ACTIVATION, 1: Field("pot_scale", "u1", 1)},
    "MulOptions": {0: _ACTIVATION},
    "DivOptions": {0: _ACTIVATION},
    "ReshapeOptions": {0: Field("shape", "[i4]")},
    "GatherOptions": {0: Field("axis", "i4"), 1: Field("batch_dims", "i4")},
    "ReducerOptions": {0: Field("keep_dims", "u1")},
    "SqueezeOptions": {0: Field("axes", "[i4]")},
    "SequenceRNNOptions": {0: Field("time_major", "u1"), 1: _ACTIVATION, 2: Field("asymmetric", "u1")},
    "SplitOptions": {0: Field("count", "i4")},
    "SplitVOptions": {0: Field("count", "i4")},
    "StridedSliceOptions": {
        0: Field("begin_mask", "i4"),
        1: Field("end_mask", "i4"),
        2: Field("ellipsis_mask", "i4"),
        3: Field("new_axis_mask", "i4"),
        4: Field("shrink_mask", "i4"),
        5: Field("offset", "u1"),
    },
    "CastOptions": {0: Field("from", "i1"), 1: Field("to", "i1")},
    "ShapeOptions": {0: Field("type", "i1")},
    "PackOptions": {0: Field("count", "i4"), 1: Field("axis", "i4")},
    "UnpackOptions": {0: Field("count", "i4"), 1: Field("axis", "i4")},
    "LeakyReluOptions": {0: Field("alpha", "f4")},
    "GeluOptions": {0: Field("approximate", "u1")},
    "BatchMatMulOptions": {0: Field("adj_x", "u1"), 1: Field("adj_y", "u1"), 2: Field("asymmetric", "u1")},
    "WhileOptions": {0: Field("condition", "i4"), 1: Field("body", "i4")},
    "CallOnceOptions": {0: Field("subgraph", "i4")},
    "VarHandleOptions": {0: Field("container", "text"), 1: Field("shared_name", "text")},
    "UnidirectionalSequenceLSTMOptions": {
        0: _ACTIVATION,
        1: Field("cell_clip", "f4"),
        2: Field("proj_clip", "f4"),
        3: Field("time_major", "u1"),
        4: Field("asymmetric", "u1"),
        5: Field("diagonal", "u1"),
    },
    "BidirectionalSequenceLSTMOptions": {
        0: _ACTIVATION,
        1: Field("cell_clip", "f4"),
        2: Field("proj_clip", "f4"),
        3: Field("merge", "u1"),
        4: Field("time_major", "u1", 1),
        5: Field("asymmetric", "u1"),
    },
    "BidirectionalSequenceRNNOptions": {
        0: Field("time_major", "u1"),
        1: _ACTIVATION,
        2: Field("merge", "u1"),
        3: Field("asymmetric", "u1"),
    },
}
"""Fields by their slots. What a table has beyond these is refused."""

OPTIONS = {
    1: "Conv2DOptions", 2: "DepthwiseConv2DOptions", 5: "Pool2DOptions", 8: "FullyConnectedOptions",
    9: "SoftmaxOptions", 10: "ConcatenationOptions", 11: "AddOptions", 17: "ReshapeOptions", 21: "MulOptions",
    22: "PadOptions", 23: "GatherOptions", 26: "TransposeOptions", 27: "ReducerOptions", 28: "SubOptions",
    29: "DivOptions", 30: "SqueezeOptions", 31: "SequenceRNNOptions", 32: "StridedSliceOptions", 33: "ExpOptions",
    35: "SplitOptions", 36: "LogSoftmaxOptions",
    37: "CastOptions", 38: "DequantizeOptions", 39: "MaximumMinimumOptions", 41: "LessOptions",
    42: "NegOptions", 43: "PadV2Options", 44: "GreaterOptions", 47: "SelectOptions", 48: "SliceOptions",
    51: "TileOptions", 52: "ExpandDimsOptions", 54: "NotEqualOptions", 55: "ShapeOptions", 56: "PowOptions",
    59: "PackOptions", 62: "LogicalAndOptions", 64: "UnpackOptions", 66: "SquareOptions", 67: "ZerosLikeOptions",
    68: "FillOptions", 69: "BidirectionalSequenceLSTMOptions", 70: "BidirectionalSequenceRNNOptions",
    71: "UnidirectionalSequenceLSTMOptions", 73: "RangeOptions", 75: "LeakyReluOptions",
    76: "SquaredDifferenceOptions", 78: "AbsOptions", 79: "SplitVOptions", 81: "ReverseV2Options", 82: "AddNOptions",
    89: "QuantizeOptions", 91: "HardSwishOptions", 93: "WhileOptions", 98: "SelectV2Options",
    101: "BatchMatMulOptions", 103: "CallOnceOptions", 104: "BroadcastToOptions", 111: "VarHandleOptions",
    117: "DynamicUpdateSliceOptions", 112: "ReadVariableOptions", 113: "AssignVariableOptions", 116: "GeluOptions",
}  # fmt: skip
"""Tables of options by number; those that are not in TABLES have no fields."""

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
"""
NAMES = tuple(_NAMES.split())
"""Operators by their builtin codes; those of StableHLO follow."""

_TABLES = {
    "ADD": 11, "AVERAGE_POOL_2D": 5, "CONCATENATION": 10, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 2, "DEQUANTIZE": 38,
    "FULLY_CONNECTED": 8, "LOGISTIC": 0, "MAX_POOL_2D": 5, "MUL": 21, "RELU": 0, "RELU_N1_TO_1": 0, "RELU6": 0,
    "RESHAPE": 17, "SOFTMAX": 9, "TANH": 0, "PAD": 22, "UNIDIRECTIONAL_SEQUENCE_RNN": 31, "GATHER": 23, "TRANSPOSE":
    26, "MEAN": 27, "SUB": 28, "DIV": 29, "SQUEEZE": 30, "UNIDIRECTIONAL_SEQUENCE_LSTM": 71, "STRIDED_SLICE": 32,
    "BIDIRECTIONAL_SEQUENCE_RNN": 70, "EXP": 33, "SPLIT": 35, "LOG_SOFTMAX": 36, "BIDIRECTIONAL_SEQUENCE_LSTM": 69,
    "CAST": 37, "PRELU": 0, "MAXIMUM": 39, "MINIMUM": 39, "LESS": 41, "NEG": 42, "PADV2": 43, "GREATER": 44,
    "SELECT": 47, "SLICE": 48, "TILE": 51, "EXPAND_DIMS": 52, "NOT_EQUAL": 54, "LOG": 0, "SUM": 27, "SQRT": 0,
    "RSQRT": 0, "SHAPE": 55, "POW": 56, "REDUCE_PROD": 27, "REDUCE_MAX": 27, "PACK": 59, "LOGICAL_AND": 62,
    "UNPACK": 64, "REDUCE_MIN": 27, "REDUCE_ANY": 27, "SQUARE": 66, "ZEROS_LIKE": 67, "FILL": 68, "RANGE": 73,
    "LEAKY_RELU": 75, "SQUARED_DIFFERENCE": 76, "ABS": 78, "SPLIT_V": 79, "REVERSE_V2": 81, "ADD_N": 82, "ELU": 0,
    "QUANTIZE": 89, "HARD_SWISH": 91, "WHILE": 93, "SELECT_V2": 98, "BATCH_MATMUL": 101, "CALL_ONCE": 103,
    "BROADCAST_TO": 104, "VAR_HANDLE": 111, "READ_VARIABLE": 112, "ASSIGN_VARIABLE": 113, "GELU": 116,
    "DYNAMIC_UPDATE_SLICE": 117, "RELU_0_TO_1": 0,
}  # fmt: skip

OPERATORS = {name: (NAMES.index(name), options) for name, options in _TABLES.items()}
"""Operators that something here knows: their builtin codes, and the numbers of their tables of options."""

ARITY = {
    "VAR_HANDLE": (0, 1), "CALL_ONCE": (0, 0), "ASSIGN_VARIABLE": (2, 0),
    **dict.fromkeys(("SPLIT_V", "SLICE", "SELECT", "SELECT_V2", "RANGE", "PADV2", "DYNAMIC_UPDATE_SLICE"), (3, 1)),
    **dict.fromkeys((
        "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "PAD",
        "GATHER", "TRANSPOSE", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "SPLIT",
        "EXPAND_DIMS", "TILE", "LESS", "GREATER", "NOT_EQUAL", "SQUARED_DIFFERENCE", "REVERSE_V2", "POW",
        "BATCH_MATMUL", "FILL", "BROADCAST_TO", "LOGICAL_AND", "PRELU",
    ), (2, 1)),
    "STRIDED_SLICE": (4, 1),
}  # fmt: skip
"""How many inputs, which cannot be left out, and outputs an operator has at least; one each unless told."""

EXACT = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SELECT", "SELECT_V2", "LESS", "NOT_EQUAL", "SPLIT"}
"""Operators that have no more inputs than that."""

TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool", 7: "int16",
    8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64", 13: "resource", 14: "variant",
    15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16", 19: "int2", 20: "uint4",
}  # fmt: skip

ACTIVATIONS = {0: "none", 1: "relu", 2: "relu_n1_to_1", 3: "relu6", 4: "tanh", 5: "sign_bit"}
