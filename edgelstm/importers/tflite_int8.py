"""Full-int8 .tflite graphs: TFLite's own integers as the layers of tfl8.py, every scale and zero point kept.

Views cost nothing here either: they are followed as in float graphs, and a tensor keeps what its integers stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..layers import Combine, Conv1d, Pool1d, Reduce
from ..model import Array
from ..model import Tensor as ModelTensor
from ..tfl8 import (
    BYTE_MOVERS,
    REDUCTIONS,
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Conv1d,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Lstm,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
    Tfl8Tensor,
)
from . import onnx_joins, onnx_windows
from .onnx_build import MAX_DIAGONAL, Build
from .onnx_file import Node
from .onnx_fold import optional, text
from .onnx_joins import data_of
from .onnx_ops import OPERATIONS, Operation
from .onnx_settings import Settings
from .onnx_values import Atom, Data, Value, places
from .tflite_cells import Cell, sequence_of, state_of
from .tflite_file import Operator, Quantization, Subgraph, Tensor
from .tflite_lower import Lowering, Method
from .tflite_ops import METHODS, window_of
from .tflite_scales import MOVERS
from .tflite_schema import ACTIVATIONS

ADVICE = "import the float .tflite file or the checkpoint instead, and quantize that"
_FINEST, _COARSEST = -15, -9  # exponents of a cell state's scale that TFLite has a tanh for

Params = tuple[str, float, int]
"""What a tensor's numbers are: "f32", "s8" or "s16", scale and zero point."""

FLOATS: Params = ("f32", 1.0, 0)
IDS: Params = ("s16", 1.0, 0)


def is_integer(subgraph: Subgraph) -> bool:
    """Whether a graph computes with integers: it takes, makes or gives such, tables that become floats apart."""
    ports = [subgraph.tensors[k] for k in (*subgraph.inputs, *subgraph.outputs)]
    made = [subgraph.tensors[k] for o in subgraph.operators if o.op not in MOVERS | {"DEQUANTIZE"} for k in o.outputs]
    return any(t.dtype in ("int8", "uint8", "int16") and t.quantization is not None for t in (*ports, *made))


def params_of(tensor: Tensor, where: str) -> Params:
    """What a tensor's numbers are. CheckpointError where the integers are not int8."""
    if tensor.dtype in ("float32", "int32", "int64"):
        return FLOATS if tensor.dtype == "float32" else IDS
    quantization = tensor.quantization
    if tensor.dtype not in ("int8", "int16") or quantization is None or not quantization.plain:
        kind = f"{tensor.dtype}{'' if quantization is not None else ' without a scale'}"
        raise CheckpointError(f"{where}: activations of kind {kind}, expected int8; {ADVICE}")
    scale, zero = float(quantization.scales[0]), int(quantization.zeros[0])
    return ("s8" if tensor.dtype == "int8" else "s16", scale, zero)


class Build8(Build):
    """The model under construction; every tensor has its kind, scale and zero point."""

    def __init__(self, opset: int) -> None:
        super().__init__(opset)
        self.params: dict[str, Params] = {}

    def emit_all(
        self, form: Any, node: Node, reads: Sequence[str], widths: Sequence[int], suffix: str = "", /, **fields: Any
    ) -> list[str]:
        fused = {"activation": node.attributes.get("fused", "none")}
        if form is Combine:
            form, fields = Tfl8Combine, {**fields, **fused}
            if fields["kind"] in ("concatenate", "add", "subtract", "multiply"):
                return self._tfl8(form, node, reads, widths, suffix, fields)
        elif form is Conv1d:
            fields = {**fields, **fused, **node.attributes["fields"]}
            if fields["groups"] == 1 or fields["kernel"].shape[2] == 1:
                return self._tfl8(Tfl8Conv1d, node, reads, widths, suffix, fields)
        elif form is Pool1d and not fields.pop("count_padding"):
            return self._tfl8(Tfl8Pool1d, node, reads, widths, suffix, {**fields, **fused})
        elif form is Reduce and fields["kind"] in REDUCTIONS:
            return self._tfl8(Tfl8Reduce, node, reads, widths, suffix, fields)
        elif form in BYTE_MOVERS or form.__name__.startswith("Tfl8"):
            return self._tfl8(form, node, reads, widths, suffix, fields)
        raise CheckpointError(f"{node.label}: {form.__name__} of integers, which no layer does; {ADVICE}")

    def _tfl8(
        self, form: Any, node: Node, reads: Sequence[str], widths: Sequence[int], suffix: str, fields: dict[str, Any]
    ) -> list[str]:
        kept = form in BYTE_MOVERS or fields.get("kind") in ("concatenate", "max") or form is Tfl8Pool1d
        given: Params = self.params[reads[0]] if kept else node.attributes["params"]
        if kept and any(self.params[name] != given for name in reads):
            raise CheckpointError(f"{node.label}: it joins integers of different scales or zero points; {ADVICE}")
        written = super().emit_all(form, node, reads, widths, suffix, **fields)
        self.params.update(dict.fromkeys(written, given))
        return written

    def held(self, node: Node, x: str, row: Array, params: Params) -> str:
        """A row that the file holds."""
        written = super().emit_all(Tfl8Constant, node, (self._source(x),), (len(row),), ".constant", value=row)
        self.params[written[0]] = params
        return written[0]

    def _taken(self, node: Node, data: Data, indices: Array) -> str:
        """Some of a tensor's values: rows of the product that makes them, else a product that copies bytes: with
        weights of 0 and 1, whose scale is 1, each rounding rule gives x itself."""
        return self._some(node, self.read(node, data), data.width, indices)

    def _some(self, node: Node, tensor: str, width: int, indices: Array) -> str:
        before = self.writers.get(tensor)
        if isinstance(before, Tfl8Dequantize):
            reads = (self._some(node, before.reads[0], width, indices),)
            (written,) = super().emit_all(Tfl8Dequantize, node, reads, (len(indices),), ".values")
            self.params[written] = FLOATS
            return written
        if isinstance(before, Tfl8Dense):
            reads, scales = before.reads, before.kernel_scale
            fields = {"kernel": before.kernel[indices], "bias": before.bias[indices], "activation": before.activation}
            fields["kernel_scale"] = scales if len(scales) == 1 else scales[indices]
        else:
            if self.params[tensor][0] != "s8" or max(len(indices), width) > MAX_DIAGONAL:
                raise CheckpointError(f"{node.label}: it takes some of {width} values, which no layer does; {ADVICE}")
            reads, kernel = (tensor,), np.zeros((len(indices), width), np.int8)
            kernel[np.arange(len(indices)), indices] = 1
            fields = {
                "kernel": kernel,
                "bias": np.zeros(len(indices), np.int32),
                "kernel_scale": np.ones(1, np.float32),
            }
        (written,) = super().emit_all(Tfl8Dense, node, reads, (len(indices),), ".rows", **fields)
        self.params[written] = self.params[tensor]
        return written

    def _source(self, tensor: str) -> str:
        """The input that a tensor comes from."""
        while tensor in self.writers:
            tensor = self.writers[tensor].reads[0]
        return tensor

    def renamed(self, tensor: str, name: str) -> str:
        name = super().renamed(tensor, name)
        self.params[name] = self.params[tensor]
        return name

    def tensor8(self, tensor: ModelTensor) -> Tfl8Tensor:
        """A tensor with what its numbers are."""
        return Tfl8Tensor(tensor.name, tensor.width, *self.params[tensor.name], tensor.single)


# ---- operators to nodes ----


def _layer(form: Any, *inputs: int, fields: Callable[[Lowering, Operator, dict[str, Any]], dict[str, Any]]) -> Method:
    """An operator that is one layer."""

    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        for k in inputs:
            _read(low, operator, k)
        found = fields(low, operator, options)
        node = {"form": form, "fields": found, "params": _written(low, operator)}
        reads = [low.name(operator.inputs[k]) for k in inputs]
        low.emit(operator, "Layer8", reads, low.name(operator.outputs[0]), **node)

    return made


def _read(low: Lowering, operator: Operator, index: int) -> Params:
    """What the int8 of an input stand for."""
    label = low.label(operator)
    found = params_of(low.tensor(operator, index), label)
    if found[0] != "s8":
        kind = low.tensor(operator, index).dtype
        raise CheckpointError(f"{label}: it computes with {kind} among integers, which no layer does; {ADVICE}")
    return found


def _written(low: Lowering, operator: Operator) -> Params:
    return _meant(low, operator.outputs[0], low.label(operator))


def _meant(low: Lowering, k: int, where: str) -> Params:
    """What a tensor's integers stand for. Those of a cell's h stand for what the next operator takes them for: behind
    one that only moves them converters write another scale than before it."""
    writer = low.writers.get(k)
    for _ in range(8):
        readers = [o for o in low.subgraph.operators if k in o.inputs]
        moved = len(readers) == 1 and readers[0].op in _VIEWS and len(readers[0].outputs) == 1
        if writer is None or writer.op != "UNIDIRECTIONAL_SEQUENCE_LSTM" or not moved or k in low.subgraph.outputs:
            break
        k = readers[0].outputs[0]
    return params_of(low.subgraph.tensors[k], where)


def _scale(low: Lowering, operator: Operator, index: int) -> Quantization:
    tensor = low.tensor(operator, index)
    quantization = tensor.quantization
    if tensor.data is None or tensor.dtype != "int8" or quantization is None or quantization.zeros.any():
        raise CheckpointError(f"{low.label(operator)}: input {index} is no constant of symmetric int8")
    return quantization


def _fused(low: Lowering, operator: Operator, options: dict[str, Any]) -> str:
    name = ACTIVATIONS.get(options.pop("activation", 0), "unknown")
    if name not in ("none", "relu", "relu6", "relu_n1_to_1"):
        raise CheckpointError(f"{low.label(operator)}: a fused activation {name}, which no layer does")
    return name


def _bias(low: Lowering, operator: Operator, index: int, units: int, scales: Array, x: Params) -> Array:
    """A bias of int32, whose scale is that of the products."""
    if index >= len(operator.inputs) or operator.inputs[index] < 0:
        return np.zeros(units, np.int32)
    tensor = low.tensor(operator, index)
    array = tensor.array()
    if array.dtype != np.int32 or array.shape != (units,):
        raise CheckpointError(f"{low.label(operator)}: a bias of kind {tensor.dtype} and shape {text(array.shape)}")
    if tensor.quantization is not None:
        expected = scales.astype(np.float64) * x[1]
        if (np.abs(tensor.quantization.scales - expected) > 0.01 * expected).any():
            raise CheckpointError(f"{low.label(operator)}: the scale of its bias is not that of its products")
    return array


def _dense(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    if options.pop("weights_format"):
        raise CheckpointError(f"{low.label(operator)}: its weights are shuffled, which is not read")
    _read(low, operator, 0)
    keep, quantization = options.pop("keep_dims"), _scale(low, operator, 1)
    kernel = low.tensor(operator, 1).array()
    if kernel.ndim != 2 or quantization.axis != 0:
        raise CheckpointError(f"{low.label(operator)}: weights of shape {text(kernel.shape)}")
    x = low.tensor(operator, 0)
    bias = _bias(low, operator, 2, len(kernel), quantization.scales, params_of(x, low.label(operator)))
    activation = _fused(low, operator, options)
    fields = {"kernel": kernel, "bias": bias, "kernel_scale": quantization.scales, "activation": activation}
    value = low.name(operator.inputs[0])
    if not keep and (len(x.shape) != 2 or x.shape[1] != kernel.shape[1]):
        value = low.emit(operator, "Reshape", [value, low.whole([-1, kernel.shape[1]])], allowzero=1)
    node = {"form": Tfl8Dense, "fields": fields, "params": _written(low, operator)}
    low.emit(operator, "Layer8", [value], low.name(operator.outputs[0]), **node)


def lstm8(compat: bool) -> Method:
    """With `compat` spoilt cells are read too."""
    return partial(_lstm, compat)


def _lstm(compat: bool, low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    label = low.label(operator)
    function = ACTIVATIONS.get(options.pop("activation"), "unknown")
    if function != "tanh" or options.pop("diagonal"):
        raise CheckpointError(f"{label}: int8 cells that compute {function}, or of diagonal weights; {ADVICE}")
    given = [k for k, tensor in enumerate(operator.inputs) if tensor >= 0]
    for places_, what in ((range(9, 12), "peepholes"), (range(16, 18), "a projection"), (range(20, 24), "layer norms")):
        if set(places_) & set(given):
            raise CheckpointError(f"{label}: int8 cells with {what}; {ADVICE}")
    coupled = 1 not in given
    gates = [k for k in range(4) if not (coupled and k == 0)]
    wanted = {0, 18, 19, *(first + k for first in (1, 5, 12) for k in gates)}
    if set(given) != wanted:
        raise CheckpointError(f"{label}: some of its weights, biases and states are missing")
    x = params_of(low.tensor(operator, 0), label)
    parts: dict[str, list[Any]] = {"kernel": [], "recurrent": [], "bias": [], "kernel_scale": [], "recurrent_scale": []}
    for k in gates:
        for name, first in (("kernel", 1), ("recurrent", 5)):
            quantization = _scale(low, operator, first + k)
            if not quantization.plain:
                raise CheckpointError(
                    f"{label}: {name} weights of one scale a row; TFLite's int8 cells have one a matrix"
                )
            parts[name].append(low.tensor(operator, first + k).array())
            parts[f"{name}_scale"].append(quantization.scales[0])
        units = len(parts["kernel"][-1])
        parts["bias"].append(_bias(low, operator, 12 + k, units, np.array(parts["kernel_scale"][-1:]), x))
    if coupled:
        for name, values in parts.items():
            values.insert(0, np.float32(1) if name.endswith("scale") else np.zeros_like(values[0]))
    for name in ("kernel", "recurrent", "bias"):
        if len({part.shape for part in parts[name]}) != 1:
            raise CheckpointError(f"{label}: {name}s of different shapes")
    fields: dict[str, Any] = {name: np.stack(values) for name, values in parts.items()}
    fields |= {"coupled": coupled} | _states(low, operator, compat)
    clip = options.pop("cell_clip")
    if options.pop("proj_clip") or not np.isfinite(clip) or clip < 0:
        raise CheckpointError(f"{label}: it clips a projection that it has not, or at {clip}")
    fields["cell_clip"] = float(clip)
    layout = 0 if options.pop("time_major") else 1
    starts = [low.state(operator, k) for k in (18, 19)]
    node = {
        "cell": Cell(Tfl8Lstm, fields),
        "layout": layout,
        "params": _written(low, operator),
        "spoilt": fields["bare"],
    }
    low.emit(operator, "Lstm8", [low.name(operator.inputs[0]), *starts], low.name(operator.outputs[0]), **node)


def _states(low: Lowering, operator: Operator, compat: bool) -> dict[str, Any]:
    """The three scales of h and that of c."""
    label = low.label(operator)
    if len(operator.intermediates) != 5 or operator.intermediates[4] < 0:
        raise CheckpointError(f"{label}: the scale that its h is quantized with is missing")
    h = params_of(low.tensor(operator, 18), label)
    hidden = params_of(low.subgraph.tensors[operator.intermediates[4]], label)
    c = low.tensor(operator, 19)
    if h[0] != "s8" or hidden[0] != "s8" or c.dtype != "int16" or c.quantization is None or not c.quantization.plain:
        raise CheckpointError(f"{label}: its states are not int8 and int16 with a scale")
    mantissa, exponent = np.frexp(np.float64(c.quantization.scales[0]))
    exponent = int(exponent) - 1
    if mantissa != 0.5 or c.quantization.zeros.any():
        raise CheckpointError(f"{label}: its cell state's scale {c.quantization.scales[0]:g} is no power of two")
    bare = exponent < _FINEST
    if bare and not compat:
        raise CheckpointError(
            f"{label}: its cell state has a scale of 2^{exponent}, as the converter writes where |c| stayed below 0.5. "
            f"TFLite has no tanh for scales below 2^{_FINEST}, leaves it out without a word and answers nonsense: the "
            f'file is spoilt; {ADVICE}; or take those answers byte for byte with --compat tflite (compat="tflite")'
        )
    if exponent > _COARSEST:
        raise CheckpointError(f"{label}: its cell state has a scale of 2^{exponent}, above 2^{_COARSEST}; {ADVICE}")
    names = ("state_scale", "state_zero", "hidden_scale", "hidden_zero")
    return dict(zip(names, (*h[1:], *hidden[1:]), strict=True)) | {"cell_exponent": exponent, "bare": bare}


def _quantize(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    x, y = (params_of(low.subgraph.tensors[k], low.label(operator)) for k in (operator.inputs[0], operator.outputs[0]))
    if y[0] != "s8" or x[0] not in ("f32", "s8"):
        raise CheckpointError(f"{low.label(operator)}: from {x[0]} to {y[0]}, which no layer does")
    form, fields = (Tfl8Quantize, {}) if x[0] == "f32" else (Tfl8Map, {"function": "rescale"})
    node = {"form": form, "fields": fields, "params": y}
    low.emit(operator, "Layer8", [low.name(operator.inputs[0])], low.name(operator.outputs[0]), **node)


def _conv(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    label, depthwise = low.label(operator), operator.op == "DEPTHWISE_CONV_2D"
    x, kernel, quantization = low.tensor(operator, 0), low.tensor(operator, 1).array(), _scale(low, operator, 1)
    if kernel.ndim != 4 or len(x.shape) != 4 or not (quantization.plain or quantization.axis == 3 * depthwise):
        raise CheckpointError(f"{label}: a kernel of shape {text(kernel.shape)}, or its scales along another axis")
    if depthwise:
        if kernel.shape[0] != 1 or kernel.shape[3] != x.shape[3] * options.pop("multiplier"):
            raise CheckpointError(f"{label}: a kernel of shape {text(kernel.shape)} for {x.shape[3]} values")
    elif kernel.shape[3] != x.shape[3]:
        raise CheckpointError(
            f"{label}: a convolution in groups, which runtimes' int8 kernels compute in ways of their own; {ADVICE}"
        )
    units = kernel.shape[3 if depthwise else 0]
    bias = _bias(low, operator, 2, units, quantization.scales, params_of(x, label))
    window = window_of(low, operator, options, x, (kernel.shape[1], kernel.shape[2]))
    weights = low.hold(kernel.transpose(3, 0, 1, 2) if depthwise else kernel.transpose(0, 3, 1, 2))
    value = low.emit(operator, "Transpose", [low.name(operator.inputs[0])], perm=[0, 3, 1, 2])
    node: dict[str, Any] = {
        "fields": {"bias": bias, "kernel_scale": quantization.scales},
        "fused": _fused(low, operator, options),
    }
    node |= {"group": x.shape[3] if depthwise else 1, "params": _written(low, operator)}
    value = low.emit(operator, "Conv8", [value, weights], **node, **window)
    low.emit(operator, "Transpose", [value], low.name(operator.outputs[0]), perm=[0, 2, 3, 1])


def _pool(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    _same(low, operator, operator.inputs)
    size, x = [options.pop("height"), options.pop("width")], low.tensor(operator, 0)
    if len(x.shape) != 4 or min(size) < 1:
        raise CheckpointError(f"{low.label(operator)}: windows of {text(size)} over {text(x.shape)}")
    window = window_of(low, operator, options, x, (size[0], size[1]))
    del window["dilations"]
    node = {"kernel_shape": size, "fused": _fused(low, operator, options), "params": _written(low, operator)}
    value = low.emit(operator, "Transpose", [low.name(operator.inputs[0])], perm=[0, 3, 1, 2])
    op = "MaxPool8" if operator.op == "MAX_POOL_2D" else "AveragePool8"
    value = low.emit(operator, op, [value], **node, **window)
    low.emit(operator, "Transpose", [value], low.name(operator.outputs[0]), perm=[0, 2, 3, 1])


def _reduce(op: str) -> Method:
    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        over, keep = low.constant(operator, 1), options.pop("keep_dims")
        if op == "ReduceMax8":
            _same(low, operator, operator.inputs[:1])
        elif keep and len(low.tensor(operator, 0).shape) == 4 and over is not None and over.size == 2:
            raise CheckpointError(
                f"{low.label(operator)}: a mean over two axes that stay, which runtimes' int8 kernels compute in ways "
                f"of their own; {ADVICE}"
            )
        inputs = [low.name(operator.inputs[0]), low.name(operator.inputs[1])]
        node = {"keepdims": int(keep), "params": _written(low, operator)}
        low.emit(operator, op, inputs, low.name(operator.outputs[0]), **node)

    return made


def _pad(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    _same(low, operator, operator.inputs[:1])
    METHODS["PAD"](low, operator, options)


def _embedding(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    table = low.tensor(operator, 0)
    if table.data is None:
        METHODS["GATHER"](low, operator, options)
        return
    if options.pop("axis") or options.pop("batch_dims"):
        raise CheckpointError(f"{low.label(operator)}: it looks values up along another axis than the rows of a table")
    if table.dtype != "int8" or params_of(table, low.label(operator)) != _written(low, operator):
        raise CheckpointError(f"{low.label(operator)}: its table is not int8 of the scale of what it writes")
    node = {"table": table.array(), "params": _written(low, operator)}
    low.emit(operator, "Embedding8", [low.name(operator.inputs[1])], low.name(operator.outputs[0]), **node)


def _joined(kind: str) -> Method:
    def made(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
        label, held = low.label(operator), {}
        for place, k in enumerate(operator.inputs):
            _read(low, operator, place)
            tensor = low.subgraph.tensors[k]
            if tensor.data is not None:
                held[place] = (tensor.array(), params_of(tensor, label))
        names = ["" if place in held else low.name(k) for place, k in enumerate(operator.inputs)]
        node = {"kind": kind, "fused": _fused(low, operator, options), "held": held, "params": _written(low, operator)}
        low.emit(operator, "Join8", names, low.name(operator.outputs[0]), **node)

    return made


def _concatenation(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    _same(low, operator, operator.inputs)
    METHODS["CONCATENATION"](low, operator, options)


def _view(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    """What moves bytes: its answer's integers stand for what they stood for."""
    index = 1 if operator.op == "SPLIT" else 0
    _same(low, operator, operator.inputs if operator.op == "PACK" else operator.inputs[index : index + 1])
    METHODS[operator.op](low, operator, options)


def _same(low: Lowering, operator: Operator, inputs: Sequence[int]) -> None:
    y = _written(low, operator)
    for k in inputs:
        if _meant(low, k, low.label(operator)) != y:
            raise CheckpointError(
                f"{low.label(operator)}: it writes another scale or zero point than it reads; {ADVICE}"
            )


def _none(low: Lowering, operator: Operator, options: dict[str, Any]) -> dict[str, Any]:
    return {}


def _map(function: str) -> Method:
    return _layer(Tfl8Map, 0, fields=lambda low, operator, options: {"function": function})


_VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "REVERSE_V2", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V")

METHODS8: dict[str, Method] = {
    **dict.fromkeys((*_VIEWS, "PACK", "UNPACK", "TILE", "BROADCAST_TO"), _view),
    **{name: METHODS[name] for name in ("SHAPE", "RANGE", "same", "FILL")},
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm8(compat=False),
    "FULLY_CONNECTED": _dense,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _layer(Tfl8Dequantize, 0, fields=_none),
    "SOFTMAX": _layer(Tfl8Softmax, 0, fields=lambda low, operator, options: {"beta": float(options.pop("beta"))}),
    "LOGISTIC": _map("logistic"),
    "TANH": _map("tanh"),
    "RELU": _map("relu"),
    "RELU6": _map("relu6"),
    "RELU_N1_TO_1": _map("relu_n1_to_1"),
    "LEAKY_RELU": _layer(
        Tfl8Map,
        0,
        fields=lambda low, operator, options: {"function": "leaky_relu", "alpha": float(options.pop("alpha"))},
    ),
    "GATHER": _embedding,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "MEAN": _reduce("ReduceMean8"),
    "REDUCE_MAX": _reduce("ReduceMax8"),
    "PAD": _pad,
    "CONCATENATION": _concatenation,
    "ADD": _joined("add"),
    "SUB": _joined("subtract"),
    "MUL": _joined("multiply"),
}
"""How each operator of an int8 graph becomes nodes."""


def _floats_alone(low: Lowering, operator: Operator, options: dict[str, Any]) -> None:
    raise CheckpointError(f"{low.label(operator)}: no layer does this operator with integers; {ADVICE}")


REFUSED8: dict[str, Method] = {name: _floats_alone for name in METHODS if name not in METHODS8}
"""Those that float graphs alone may have."""


# ---- nodes to layers ----


def _layer8(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """One layer, step by step; of a product or a softmax the values are those of the last axis."""
    form, fields, _ = (settings.any(key) for key in ("form", "fields", "params"))
    data = data_of(node, inputs[0])
    if form in (Tfl8Dense, Tfl8Softmax):
        data = build.settle(node, data, data.axes[-1])
        columns = places(data, [data.axes[-1]])
        if form is Tfl8Dense:
            if len(columns) != fields["kernel"].shape[1]:
                raise CheckpointError(f"{node.label}: weights of {fields['kernel'].shape[1]} values for {len(columns)}")
            if (columns != np.arange(len(columns))).any():
                fields = {**fields, "kernel": fields["kernel"][:, columns]}
    width = len(fields["kernel"]) if form is Tfl8Dense else data.width
    tensor = build.emit(form, node, (build.read(node, data),), width, **fields)
    if form is not Tfl8Dense:
        return replace(data, pieces=((tensor, 0),))
    made = Atom(width)
    return Data(((tensor, 0),), (*data.steps, made), data.split, ()).seen([*data.axes[:-1], (made,)])


def _lstm8(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    cell, layout, *_ = (settings.any(key) for key in ("cell", "layout", "params", "spoilt"))
    x = sequence_of(build, node, inputs[0], layout, cell)
    columns = places(x, [x.axes[2]])
    fields = dict(cell.fields)
    if (columns != np.arange(len(columns))).any():
        fields["kernel"] = fields["kernel"][..., columns]
    starts = [optional(inputs, k) for k in (1, 2)]
    if starts.count(None) == 1:
        raise CheckpointError(f"{node.label}: of its two states one is read and one is not")
    read = [state_of(build, node, value, cell.outputs, "") for value in starts if value is not None]
    reads = (build.read(node, x), *read)
    tensor = build.emit(Tfl8Lstm, node, reads, cell.outputs, **fields, initial=bool(read))
    values = (Atom(cell.outputs),)
    axes = ((build.batch,), x.axes[1], values) if layout else (x.axes[0], (build.batch,), values)
    return Data(((tensor, 0),), (*x.steps, *values), len(x.steps), ()).seen(axes)


def _embedding8(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    table, _ = settings.any("table"), settings.any("params")
    ids = data_of(node, inputs[0])
    if ids.kind != "whole" or table.ndim != 2:
        raise CheckpointError(f"{node.label}: it looks values up by numbers that are no whole ones of the model's")
    columns = Atom(table.shape[1])
    tensor = build.whole(node, ids).pieces[0][0]
    made = build.emit(Tfl8Embedding, node, (tensor,), ids.width * table.shape[1], table=table)
    return Data(((made, 0),), (*ids.order, columns), ids.split, ()).seen([*ids.axes, (columns,)])


def _join8(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value:
    """Two tensors value by value; one may be a row that the file holds."""
    kind, _, held, _ = (settings.any(key) for key in ("kind", "fused", "held", "params"))
    if not held:
        return onnx_joins.combined(build, node, [data_of(node, value) for value in inputs], kind)
    assert isinstance(build, Build8)
    if len(held) != 1:
        raise CheckpointError(f"{node.label}: it joins constants alone")
    ((place, (array, params)),) = held.items()
    data = data_of(node, inputs[1 - place])
    data = build.settle(node, data, data.axes[-1])
    columns = places(data, [data.axes[-1]])
    row = array.reshape(-1)
    if len(row) not in (1, len(columns)) or (len(row) > 1 and array.shape[-1] != len(row)):
        raise CheckpointError(f"{node.label}: a constant of shape {text(array.shape)} for {text(data.shape)}")
    x = build.read(node, data)
    constant = build.held(node, x, row if len(row) == 1 else row[columns], params)
    reads = (constant, x) if place == 0 else (x, constant)
    tensor = build.emit(Combine, node, reads, data.width, kind=kind)
    return replace(data, pieces=((tensor, 0),))


def _windows8(operation: Operation, *keys: str) -> Operation:
    """An operation over steps, whose layer `Build8` finds the integers of."""

    def made(build: Build, node: Node, settings: Settings, inputs: list[Value | None]) -> Value | list[Value]:
        for key in keys:
            settings.any(key)
        return operation(build, replace(node, op=node.op.removesuffix("8")), settings, inputs)

    return made


OPERATIONS8: dict[str, Operation] = {
    **{
        name: OPERATIONS[name]
        for name in ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather", "Concat")
    },
    **{name: OPERATIONS[name] for name in ("Expand", "Tile", "Shape")},
    "Layer8": _layer8,
    "Lstm8": _lstm8,
    "Embedding8": _embedding8,
    "Join8": _join8,
    "Conv8": _windows8(onnx_windows.conv, "fields", "fused", "params"),
    **dict.fromkeys(("MaxPool8", "AveragePool8"), _windows8(onnx_windows.pool, "fused", "params")),
    **dict.fromkeys(("ReduceMean8", "ReduceMax8"), _windows8(onnx_windows.reduce, "params")),
    "Pad": onnx_windows.pad,
}
"""How each node becomes layers."""
