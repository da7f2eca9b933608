"""What the integers of a float graph stand for: refused where runtimes take other numbers than the file says."""

from __future__ import annotations

from ..errors import CheckpointError
from .tflite_file import File, Operator, Quantization, Subgraph, Tensor
from .torch_pickle import shown

_ROWS = {"FULLY_CONNECTED": 0, "CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Operators whose weights may have a scale for each index of this axis."""

_PRODUCTS = {
    *_ROWS, "BATCH_MATMUL", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN",
}  # fmt: skip

MOVERS = {
    "GATHER", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "CONCATENATION", "PACK",
    "UNPACK", "SPLIT", "SPLIT_V", "REVERSE_V2", "TILE", "BROADCAST_TO",
}  # fmt: skip
"""Operators that copy numbers."""


def check(file: File) -> None:
    """CheckpointError for weights with a zero point, which products leave out; for scales along an axis that products
    do not have them along; and for integers that are copied to where they stand for other numbers."""
    for subgraph in file.subgraphs:
        for operator in subgraph.operators:
            if operator.op in _PRODUCTS:
                for k in operator.inputs:
                    if k >= 0:
                        _check_weights(operator, subgraph.tensors[k])
            elif operator.op in MOVERS:
                _check_copies(operator, subgraph)


def _check_weights(operator: Operator, tensor: Tensor) -> None:
    scales = tensor.quantization
    if tensor.data is None or scales is None or tensor.dtype not in ("int8", "uint8", "int16"):
        return
    where = f"{operator.op}: weights {shown(tensor.name)!r}"
    if scales.zeros.any():
        raise CheckpointError(f"{where} have a zero point, which runtimes leave out of products with floats")
    if not scales.plain and scales.axis != _ROWS.get(operator.op):
        raise CheckpointError(f"{where} have a scale for each index of axis {scales.axis}, which runtimes do not read")


def _check_copies(operator: Operator, subgraph: Subgraph) -> None:
    reads, writes = (
        [subgraph.tensors[k] for k in places if k >= 0 and subgraph.tensors[k].dtype in ("int8", "uint8", "int16")]
        for places in (operator.inputs, operator.outputs)
    )
    for x in reads:
        for y in writes:
            if not _same(x.quantization, y.quantization):
                raise CheckpointError(
                    f"{operator.op}: it copies the integers of {shown(x.name)!r} to {shown(y.name)!r}, "
                    "where they stand for other numbers"
                )


def _same(left: Quantization | None, right: Quantization | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.plain == right.plain and bool(
        (left.scales[:1] == right.scales[:1]).all() and (left.zeros[:1] == right.zeros[:1]).all()
    )
