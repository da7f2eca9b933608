"""ncnn's text and weights of a net, float and with int8 LSTM weights; the Dense on top stays float in both."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import nets

MAGIC = 7767517
FLOAT, INT8 = np.uint32(0).tobytes(), np.uint32(0x000D4B38).tobytes()
"""What stands before the weights of a layer."""
INT8_LSTM = 2
"""The layer's term for int8 weights with a scale a row."""


def make(folder: Path) -> None:
    net = nets.read(folder)
    for kind in ("float", "int8"):
        (folder / f"{kind}.param").write_text(text(net, kind), "utf-8")
        (folder / f"{kind}.bin").write_bytes(weights(net, kind))


def text(net: nets.Net, kind: str) -> str:
    lines = ["Input x 0 1 x"]
    value = "x"
    for k, layer in enumerate(net.layers):
        lines += [f"Input {name}{k} 0 1 {name}{k}" for name in "hc"]
        units, term = layer.units, INT8_LSTM if kind == "int8" else 0
        settings = f"0={units} 1={layer.kernel.size} 2=0 3={units} 8={term}"
        lines.append(f"LSTM lstm{k} 3 3 {value} h{k} c{k} y{k} h{k}_ c{k}_ {settings}")
        value = f"y{k}"
    if net.head is not None:
        lines.append(f"InnerProduct dense 1 1 {value} y 0={net.outputs} 1=1 2={net.head.kernel.size}")
    blobs = 1 + 5 * len(net.layers) + (net.head is not None)
    return "\n".join([str(MAGIC), f"{len(lines)} {blobs}", *lines, ""])


def weights(net: nets.Net, kind: str) -> bytes:
    data = bytearray()
    for layer in net.layers:
        kernel, recurrent, bias = layer.rows("ifog")
        if kind == "float":
            data += FLOAT + kernel.tobytes() + FLOAT + bias.tobytes() + FLOAT + recurrent.tobytes()
            continue
        scales = [np.float32(127) / np.abs(matrix).max(axis=1) for matrix in (kernel, recurrent)]
        data += rounded(kernel, scales[0]) + FLOAT + bias.tobytes() + rounded(recurrent, scales[1])
        data += scales[0].tobytes() + scales[1].tobytes()
    if net.head is not None:
        data += FLOAT + net.head.kernel.tobytes() + net.head.bias.tobytes()
    return bytes(data)


def rounded(matrix: np.ndarray, scale: np.ndarray) -> bytes:
    integers = np.rint(matrix * scale[:, None]).astype(np.int8).tobytes()
    return INT8 + integers + bytes(-len(integers) % 4)
