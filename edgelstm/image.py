"""A model as bytes (docs/format.md)."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import reference, reference_s8
from .description import (
    GROUP,
    HEADER_SIZE,
    KINDS,
    LAYOUT,
    MAGIC,
    NUMBER_TYPES,
    S16_FUNCTIONS,
    SECTIONS,
    TENSOR_TYPES,
    VERSION,
    checksum,
)
from .files import write_whole
from .layers import ACTIVATIONS, Activate, Activation, Dense, Last, Lstm
from .model import Array, Model, Port, QuantizedModel
from .quantized import QuantizedActivate, QuantizedActivation, QuantizedDense, QuantizedLstm

EXAMPLE_STEPS = 8


def pack(model: Model | QuantizedModel) -> bytes:
    """The image of a model, with an example of a few steps whose answers the reference gives."""
    index = {t.name: k for k, t in enumerate(_in_order(model))}
    weights = _Weights()
    ops = b"".join(_op(model, layer, index, weights) for layer in model.layers)
    ports = b"".join(struct.pack("<IIII", index[name], _scaler(port, weights), 0, 0) for name, port in _ports(model))
    tensors = b"".join(
        struct.pack("<BBHIfI", TENSOR_TYPES[kind], single, 0, width, scale, 0)
        for kind, single, width, scale in _tensor_rows(model)
    )
    meta = json.dumps(_meta(model), ensure_ascii=False, separators=(",", ":")).encode()
    blobs = (tensors, ops, ports, bytes(weights.data), meta, _example(model))
    table, body, end = b"", b"", HEADER_SIZE
    for blob in blobs:
        start = -(-end // 64) * 64
        table += struct.pack("<II", start, len(blob))
        body += bytes(start - end) + blob
        end = start + len(blob)
    number_type = NUMBER_TYPES["s8" if isinstance(model, QuantizedModel) else "f32"]
    counts = struct.pack("<HHHH", len(model.inputs), len(model.outputs), len(index), len(model.layers))
    header = struct.pack("<8sHHII", MAGIC, VERSION, number_type, end, 0)
    header += struct.pack("<I8s", len(SECTIONS), LAYOUT) + counts
    header = header.ljust(64, b"\0") + table
    image = bytearray(header.ljust(HEADER_SIZE, b"\0") + body)
    struct.pack_into("<I", image, 16, checksum(image))
    return bytes(image)


def save(model: Model | QuantizedModel, path: str | os.PathLike[str]) -> int:
    """Write a model's image to a file, whole or not at all; returns its size in bytes."""
    image = pack(model)
    write_whole(path, image)
    return len(image)


class _Weights:
    """The weights section: arrays one after the other, in the order in which the records name them."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, array: Array, align: int) -> None:
        self.data += bytes(-len(self.data) % align) + array.tobytes()


def blocks_f32(matrix: Array) -> Array:
    """[gates, units, columns] to [groups, columns, gates, 8], units padded with zeros."""
    gates, units, columns = matrix.shape
    groups = -(-units // GROUP)
    padded = np.zeros((gates, groups * GROUP, columns), np.float32)
    padded[:, :units] = matrix
    return np.ascontiguousarray(padded.reshape(gates, groups, GROUP, columns).transpose(1, 3, 0, 2))


def blocks_s8(matrix: Array) -> Array:
    """[gates, units, columns] to [groups, quads, gates, 8, 4], units and columns padded with zeros."""
    gates, units, columns = matrix.shape
    groups, quads = -(-units // GROUP), -(-columns // 4)
    padded = np.zeros((gates, groups * GROUP, quads * 4), np.int8)
    padded[:, :units, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(gates, groups, GROUP, quads, 4).transpose(1, 3, 0, 2, 4))


def blocks_rows(values: Array) -> Array:
    """[gates, units] to [groups, gates, 8]: a number a row, in the order of a product's rows."""
    gates, units = values.shape
    groups = -(-units // GROUP)
    padded = np.zeros((gates, groups * GROUP), values.dtype)
    padded[:, :units] = values
    return np.ascontiguousarray(padded.reshape(gates, groups, GROUP).transpose(1, 0, 2))


def _op(model: Model | QuantizedModel, layer: Any, index: dict[str, int], weights: _Weights) -> bytes:
    match layer:
        case Lstm():
            kind = "lstm_f32"
            fields = struct.pack("<II", layer.units, layer.inputs)
            fields += _activation(layer.gate_activation) + _activation(layer.activation)
            fields += struct.pack("<f", layer.cell_clip or 0.0)
            weights.add(blocks_f32(layer.kernel), 64)
            weights.add(blocks_f32(layer.recurrent), 64)
            weights.add(blocks_rows(layer.bias), 16)
        case QuantizedLstm():
            kind = "lstm_s8"
            functions = (layer.gate, layer.candidate, layer.cell)
            fields = struct.pack("<II", layer.units, layer.inputs) + b"".join(map(_function, functions))
            fields += struct.pack(
                "<HHHHHf",
                layer.gate_exponent,
                layer.cell_multiplier,
                layer.cell_limit,
                layer.hidden_multiplier,
                0,
                layer.cell_scale,
            )
            weights.add(blocks_s8(layer.kernel), 64)
            weights.add(blocks_s8(layer.recurrent), 64)
            _rows(layer, weights, (4, layer.units))
            _tables(functions, weights)
        case Dense():
            kind = "dense_f32"
            fields = struct.pack("<II", layer.units, layer.inputs) + _activation(layer.activation)
            weights.add(blocks_f32(layer.kernel[None]), 64)
            weights.add(blocks_rows(layer.bias[None]), 16)
        case QuantizedDense():
            kind = "dense_s8"
            fields = struct.pack("<II", layer.units, layer.inputs) + _function(layer.activation) + bytes(2)
            weights.add(blocks_s8(layer.kernel[None]), 64)
            _rows(layer, weights, (1, layer.units))
            _tables((layer.activation,), weights)
        case Activate():
            kind, fields = "activate_f32", _activation(layer.activation)
        case QuantizedActivate():
            kind = "activate_s8"
            fields = _function(layer.activation) + struct.pack("<bBHH", layer.shift, 0, layer.multiplier, 0)
            _tables((layer.activation,), weights)
        case Last():
            kind, fields = "last", b""
    record = struct.pack("<BBH", 1, 1, 0) + struct.pack("<HH", index[layer.reads[0]], index[layer.writes[0]]) + fields
    return struct.pack("<HH", KINDS[kind], len(record) + 4) + record


def _rows(layer: QuantizedLstm | QuantizedDense, weights: _Weights, shape: tuple[int, int]) -> None:
    for values, dtype in (
        (layer.bias, np.int32),
        (layer.input_shift, np.int8),
        (layer.shift, np.int8),
        (layer.multiplier, np.int16),
    ):
        weights.add(blocks_rows(np.asarray(values, dtype).reshape(shape)), 16)


def _activation(activation: Activation) -> bytes:
    return struct.pack("<If", ACTIVATIONS.index(activation.name), activation.alpha)


def _function(function: QuantizedActivation) -> bytes:
    return struct.pack("<BB", S16_FUNCTIONS.index(function.kind), function.doublings)


def _tables(functions: Sequence[QuantizedActivation], weights: _Weights) -> None:
    for function in functions:
        if function.table is not None:
            weights.add(np.asarray(function.table, np.int16), 16)


def _in_order(model: Any) -> list[Any]:
    """Tensors as the image numbers them: the inputs, then each as it is written."""
    tensors = {t.name: t for t in model.tensors}
    return [tensors[name] for name in (*model.inputs, *(layer.writes[0] for layer in model.layers))]


def _tensor_rows(model: Any) -> list[tuple[str, int, int, float]]:
    single = set()
    for layer in model.layers:
        if isinstance(layer, Last) or layer.reads[0] in single:
            single.add(layer.writes[0])
    return [
        (getattr(t, "type", "f32"), int(t.name in single), t.width, getattr(t, "scale", 1.0)) for t in _in_order(model)
    ]


def _ports(model: Any) -> list[tuple[str, Port]]:
    inputs = model.meta.inputs or (Port(),) * len(model.inputs)
    outputs = model.meta.outputs or (Port(),) * len(model.outputs)
    return list(zip((*model.inputs, *model.outputs), (*inputs, *outputs), strict=True))


def _scaler(port: Port, weights: _Weights) -> int:
    if port.scaler is None:
        return 0
    weights.add(port.scaler.scale, 16)
    weights.add(port.scaler.offset, 16)
    return 1


def _meta(model: Any) -> dict[str, Any]:
    """What people read; the scalers stand in the weights section, where C finds them."""

    def port(name: str, p: Port) -> dict[str, Any]:
        lists = {"channels": p.channels, "units": p.units, "labels": p.labels}
        return {"name": name} | {key: list(values) for key, values in lists.items() if values}

    described = [port(name, p) for name, p in _ports(model)]
    source = {"format": model.source.format, "file": model.source.file, "sha256": model.source.sha256}
    meta: dict[str, Any] = {
        "inputs": described[: len(model.inputs)],
        "outputs": described[len(model.inputs) :],
        "layers": [layer.name for layer in model.layers],
        "source": source,
        "notes": list(model.notes),
    }
    if model.meta.window is not None:
        meta["window"] = model.meta.window
    if model.meta.hop is not None:
        meta["hop"] = model.meta.hop
    return meta


def _example(model: Any) -> bytes:
    """Steps, then the inputs' and the outputs' values, every step, each array padded to 4 bytes. Empty for a float
    model that overflows even on small inputs: there is nothing to compare then."""
    random = np.random.default_rng(0)
    shapes = [(1, EXAMPLE_STEPS, model.width(name)) for name in model.inputs]
    xs: list[Array]
    if isinstance(model, QuantizedModel):
        xs = [random.integers(-8000, 8001, shape).astype(np.int16) for shape in shapes]
        ys = [y.astype(np.int16) for y in reference_s8.run(model, xs, every_step=True)]
    else:
        noise = [random.standard_normal(shape) for shape in shapes]
        for size in (0.5, 0.05, 0.0):
            xs = [(size * x).astype(np.float32) for x in noise]
            with np.errstate(all="ignore"):
                ys = [y.astype(np.float32) for y in reference.run(model, xs, every_step=True)]
            if all(np.abs(y).max() < 1e6 for y in ys):  # false for NaN
                break
        else:
            return b""
    blobs = [array.tobytes() for array in (*xs, *ys)]
    return struct.pack("<II", EXAMPLE_STEPS, 0) + b"".join(blob + bytes(-len(blob) % 4) for blob in blobs)
