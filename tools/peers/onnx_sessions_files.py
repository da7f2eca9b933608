"""ONNX graphs of a net: float LSTM, and Microsoft's DynamicQuantizeLSTM with one scale a matrix or one a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from . import nets

KINDS = ("float", "tensor", "channel")


def make(folder: Path) -> None:
    for kind in KINDS:
        save(graph(nets.read(folder), kind), folder / f"{kind}.onnx")


def graph(net: nets.Net, kind: str):
    """x [steps, 1, inputs], h0, c0, h1, ... to y [steps, 1, outputs] and the new states h0_, c0_, ..."""
    arrays: dict[str, np.ndarray] = {}
    nodes, given, wanted = [], [port("x", "steps", 1, net.inputs)], [port("y", "steps", 1, net.outputs)]
    value = "x"
    for k, layer in enumerate(net.layers):
        kernel, recurrent, bias = layer.rows("iofg")
        bias_name = arrays_put(arrays, f"b{k}", np.concatenate([bias, np.zeros_like(bias)])[None])
        inputs = [value, f"w{k}", f"r{k}", bias_name, "", f"h{k}", f"c{k}"]
        domain, name = "", "LSTM"
        if kind == "float":
            arrays |= {f"w{k}": kernel[None], f"r{k}": recurrent[None]}
        else:
            domain, name = "com.microsoft", "DynamicQuantizeLSTM"
            inputs.append("")
            for letter, matrix in (("w", kernel), ("r", recurrent)):
                inputs += quantized(arrays, f"{letter}{k}", matrix, kind)
        outputs = [f"y{k}", f"h{k}_", f"c{k}_"]
        nodes.append(helper.make_node(name, inputs, outputs, domain=domain, hidden_size=layer.units))
        value = f"s{k}" if net.head is not None or layer is not net.layers[-1] else "y"
        nodes.append(helper.make_node("Squeeze", [f"y{k}", "direction"], [value]))
        given += [port(f"{letter}{k}", 1, 1, layer.units) for letter in "hc"]
        wanted += [port(f"{letter}{k}_", 1, 1, layer.units) for letter in "hc"]
    arrays["direction"] = np.array([1])
    if net.head is not None:
        nodes += head(arrays, net.head, value, kind)
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_graph(nodes, "net", given, wanted, constants)
    return helper.make_model(made, opset_imports=opsets, ir_version=9)


def port(name: str, *shape: int | str):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def arrays_put(arrays: dict[str, np.ndarray], name: str, array: np.ndarray) -> str:
    arrays[name] = array
    return name


def quantized(arrays: dict[str, np.ndarray], name: str, matrix: np.ndarray, kind: str) -> list[str]:
    """Puts int8 rows with their scales among the arrays, as columns; names of scales and zero points."""
    integers, scale = integers_of(matrix, kind)
    arrays[name] = np.ascontiguousarray(integers.T)[None]
    arrays[f"{name}_scale"] = np.atleast_1d(scale)[None] if kind == "channel" else np.atleast_1d(scale)
    arrays[f"{name}_zero"] = np.zeros(arrays[f"{name}_scale"].shape, np.int8)
    return [f"{name}_scale", f"{name}_zero"]


def integers_of(matrix: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    scale = np.abs(matrix).max(axis=1 if kind == "channel" else None) / np.float32(127)
    integers = np.rint(matrix / (scale[:, None] if kind == "channel" else scale)).astype(np.int8)
    return integers, scale.astype(np.float32)


def head(arrays: dict[str, np.ndarray], dense: nets.Head, value: str, kind: str) -> list:
    arrays["head_bias"] = dense.bias
    if kind == "float":
        arrays["head"] = np.ascontiguousarray(dense.kernel.T)
        product = helper.make_node("MatMul", [value, "head"], ["product"])
        return [product, helper.make_node("Add", ["product", "head_bias"], ["y"])]
    integers, scale = integers_of(dense.kernel, kind)
    arrays["head"] = np.ascontiguousarray(integers.T)
    arrays["head_scale"] = scale
    arrays["head_zero"] = np.zeros(scale.shape, np.int8)
    inputs = [value, "head", "head_scale", "head_zero", "head_bias"]
    return [helper.make_node("DynamicQuantizeMatMul", inputs, ["y"], domain="com.microsoft")]
