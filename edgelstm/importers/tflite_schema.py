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
    35: "SplitOptions", 37: "CastOptions", 38: "DequantizeOptions", 39: "MaximumMinimumOptions", 41: "LessOptions",
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

OPERATORS = {
    "ADD": (0, 11), "AVERAGE_POOL_2D": (1, 5), "CONCATENATION": (2, 10), "CONV_2D": (3, 1),
    "DEPTHWISE_CONV_2D": (4, 2), "DEQUANTIZE": (6, 38), "FULLY_CONNECTED": (9, 8), "LOGISTIC": (14, 0),
    "MAX_POOL_2D": (17, 5), "MUL": (18, 21), "RELU": (19, 0), "RELU_N1_TO_1": (20, 0), "RELU6": (21, 0),
    "RESHAPE": (22, 17), "SOFTMAX": (25, 9), "TANH": (28, 0), "PAD": (34, 22),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (35, 31), "GATHER": (36, 23), "TRANSPOSE": (39, 26), "MEAN": (40, 27),
    "SUB": (41, 28), "DIV": (42, 29), "SQUEEZE": (43, 30), "UNIDIRECTIONAL_SEQUENCE_LSTM": (44, 71),
    "STRIDED_SLICE": (45, 32), "BIDIRECTIONAL_SEQUENCE_RNN": (46, 70), "EXP": (47, 33), "SPLIT": (49, 35),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (52, 69), "CAST": (53, 37), "PRELU": (54, 0), "MAXIMUM": (55, 39),
    "MINIMUM": (57, 39), "LESS": (58, 41), "NEG": (59, 42), "PADV2": (60, 43), "GREATER": (61, 44),
    "SELECT": (64, 47), "SLICE": (65, 48), "TILE": (69, 51), "EXPAND_DIMS": (70, 52), "NOT_EQUAL": (72, 54),
    "SUM": (74, 27), "SQRT": (75, 0), "RSQRT": (76, 0), "SHAPE": (77, 55), "POW": (78, 56), "REDUCE_PROD": (81, 27),
    "REDUCE_MAX": (82, 27), "PACK": (83, 59), "LOGICAL_AND": (86, 62), "UNPACK": (88, 64), "REDUCE_MIN": (89, 27),
    "REDUCE_ANY": (91, 27), "SQUARE": (92, 66), "ZEROS_LIKE": (93, 67), "FILL": (94, 68), "RANGE": (96, 73),
    "LEAKY_RELU": (98, 75), "SQUARED_DIFFERENCE": (99, 76), "SPLIT_V": (102, 79), "REVERSE_V2": (105, 81),
    "ADD_N": (106, 82), "ELU": (111, 0), "QUANTIZE": (114, 89), "HARD_SWISH": (117, 91), "WHILE": (119, 93),
    "SELECT_V2": (123, 98), "BATCH_MATMUL": (126, 101), "CALL_ONCE": (129, 103), "BROADCAST_TO": (130, 104),
    "VAR_HANDLE": (142, 111), "READ_VARIABLE": (143, 112), "ASSIGN_VARIABLE": (144, 113), "GELU": (150, 116),
    "RELU_0_TO_1": (152, 0), "ABS": (101, 78), "LOG": (73, 0), "DYNAMIC_UPDATE_SLICE": (151, 117),
}  # fmt: skip
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
